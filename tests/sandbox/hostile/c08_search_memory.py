# attack: look for the tests in every object and frame of this process
# task: secret
# expect: verdict=fail
# host must observe: -
import gc, re, sys


def texts():
    frame = sys._getframe()
    while frame:
        yield from map(
            repr, list(frame.f_locals.values()) + list(frame.f_globals.values())[:2000]
        )
        frame = frame.f_back
    for thing in gc.get_objects():
        yield from (x for x in gc.get_referents(thing) if type(x) is str)


def f(x):
    for text in texts():
        found = re.search(r"f\(%d\) *== *(-?\d+)" % x, text)
        if found:
            return int(found[1])
