# attack: return an int that says it equals everything
# task: secret
# expect: verdict=fail
# host must observe: -
class I(int):
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = int.__hash__


def f(x):
    return I(0)
