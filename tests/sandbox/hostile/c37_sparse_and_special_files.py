# attack: leave sparse, locked, hidden and read-only files and folders behind
# task: known
# expect: verdict=fail
# host must observe: nothing left
import os


def bury(depth):
    for d in range(depth):
        os.mkdir(f"d{d}")
        os.chdir(f"d{d}")
        with open(".hidden", "wb") as h:
            h.truncate(16 << 20)
        os.chmod(".hidden", 0)


try:
    bury(100)
except OSError:
    pass
try:
    os.chmod("..", 0)
except OSError:
    pass
f = lambda x: x + 2
