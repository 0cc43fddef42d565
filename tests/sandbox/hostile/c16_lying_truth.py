# attack: decide bare asserts with an object's __bool__
# task: secret
# expect: verdict=fail
# host must observe: -
# tests: ["assert f(1)", "assert not f(2)", "assert f(3)"]
class Both:
    state = False

    def __bool__(self):
        Both.state = not Both.state
        return Both.state


both = Both()


def f(x):
    return both
