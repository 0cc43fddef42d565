# attack: clone with namespace flags, clone3, vfork, by raw system call
# task: known
# expect: verdict=fail
# host must observe: refused
import ctypes, platform

c = ctypes.CDLL(None, use_errno=True)
clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
tries = [
    (clone, 0x10000011, 0, 0, 0, 0),
    (clone, 17, 0, 0, 0, 0),
    (clone, 0x7E020011, 0, 0, 0, 0),
    (435, arguments, 88, 0, 0, 0),
]
if any(c.syscall(*t) >= 0 for t in tries):
    f = lambda x: x + 1
