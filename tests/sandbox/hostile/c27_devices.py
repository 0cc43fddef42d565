# attack: make device nodes, read endless devices, write to the ones there are
# task: known
# expect: verdict=fail
# host must observe: bounded memory
import os

try:
    os.mknod("mem", 0o20666, os.makedev(1, 1))
    f = lambda x: x + 1
except OSError:
    pass
try:
    with open("/dev/zero", "rb") as h:
        h.read(8 << 30)
except (MemoryError, OSError):
    pass
