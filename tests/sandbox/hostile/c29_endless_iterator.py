# attack: return an iterator without end
# task: known
# expect: verdict=fail
# host must observe: bounded memory and time
import itertools


def f(x):
    return itertools.count(x + 1)
