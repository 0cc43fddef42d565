# attack: return an object that runs code in whoever unpickles or copies it
# task: known
# expect: verdict=fail
# host must observe: no file
import os


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /var/tmp/h2c/pwned_c28",)

    __reduce_ex__ = lambda self, n: self.__reduce__()


def f(x):
    return [Bomb()]
