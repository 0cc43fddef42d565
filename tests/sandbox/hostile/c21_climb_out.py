# attack: leave the root folder by paths, links and descriptors
# task: secret
# expect: verdict=fail
# host must observe: unreadable
import json, os


def climb():
    yield "/" + "../" * 30 + "var/tmp/h2c/answers.json"
    yield "/proc/1/root/var/tmp/h2c/answers.json"
    for fd in range(0, 200):
        yield f"/proc/self/fd/{fd}/../../../../var/tmp/h2c/answers.json"
    os.symlink("/var/tmp/h2c", "there")
    yield "there/answers.json"


for n in range(0, 64):
    try:
        os.fchdir(n)
        break
    except OSError:
        pass


def read():
    paths = climb()
    while True:
        try:
            with open(next(paths)) as h:
                return json.load(h)
        except (OSError, ValueError):
            pass


answers = read()
f = lambda x: answers[str(x)]
