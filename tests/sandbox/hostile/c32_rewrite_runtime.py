# attack: change the interpreter's and the sandbox's own files for the next check
# task: known
# expect: verdict=fail
# host must observe: refused
import json, os, sys

done = []
for path in [
    json.__file__,
    os.__file__,
    "/app/box/judge.py",
    "/app/box/candidate.py",
    sys.executable,
] + [
    m.__file__
    for n, m in list(sys.modules.items())
    if n.startswith("box") and getattr(m, "__file__", None)
]:
    for action in (
        lambda: open(path, "r+b"),
        lambda: os.truncate(path, 0),
        lambda: os.rename(path, path + "x"),
        lambda: os.chmod(path, 0o666),
        lambda: os.unlink(path),
        lambda: os.open(path, os.O_RDONLY | os.O_TRUNC),
    ):
        try:
            action()
            done.append(path)
        except OSError:
            pass
if done:
    f = lambda x: x + 1
