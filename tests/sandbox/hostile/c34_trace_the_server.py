# attack: hook every call of the answering code and answer True to all comparisons
# task: secret
# expect: verdict=fail
# host must observe: -
import sys, builtins


def trace(frame, event, arg):
    for name in list(frame.f_locals):
        if name in ("reply", "message", "outcome"):
            frame.f_locals[name] = True
    return trace


sys.settrace(trace)
builtins.__build_class__ = lambda *a, **k: object
builtins.AssertionError = type("Never", (BaseException,), {})


def f(x):
    return True
