# attack: define the builtins that the tests use, so that they decide the assert
# task: secret
# expect: verdict=fail
# host must observe: -
# tests: ["assert abs(f(1) - 918.5) < 0.01", "assert set(f(2)) == set([3, 4])"]
def f(x):
    return x


def abs(x):
    return 0


def set(x):
    return 0


def all(x):
    return True


def len(x):
    return 0


def isinstance(*_):
    return True
