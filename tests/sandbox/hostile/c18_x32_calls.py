# attack: call the kernel by its second table (x32), which a filter may have forgotten
# task: known
# expect: verdict=fail
# host must observe: pids bounded
import ctypes

c = ctypes.CDLL(None)
for n in (57, 58, 41, 62):
    if c.syscall(0x40000000 | n, 2, 1, 0) >= 0:
        f = lambda x: x + 1
