# attack: return a number that is short to write and huge to convert
# task: secret
# expect: verdict=fail
# host must observe: bounded memory and time
# tests: ["assert int(f(1)) == 5"]
from decimal import Decimal


def f(x):
    return Decimal("1e999999999")
