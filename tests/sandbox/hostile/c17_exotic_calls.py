# attack: io_uring, userfaultfd, bpf, perf, keys, handles, notifications: raw system calls
# task: known
# expect: verdict=fail
# host must observe: refused
import ctypes, platform

c = ctypes.CDLL(None, use_errno=True)
numbers = {
    "x86_64": (
        425,
        426,
        427,
        323,
        321,
        298,
        248,
        249,
        250,
        303,
        304,
        310,
        311,
        312,
        319,
        300,
        253,
        434,
        438,
        447,
        428,
        430,
        442,
        272,
        308,
        155,
        161,
        165,
        166,
    ),
    "aarch64": (
        425,
        426,
        427,
        282,
        280,
        241,
        217,
        218,
        219,
        264,
        265,
        270,
        271,
        272,
        279,
        262,
        26,
        434,
        438,
        447,
        428,
        430,
        442,
        97,
        268,
        41,
        51,
        40,
        39,
    ),
}
buffer = ctypes.create_string_buffer(256)
if any(
    c.syscall(n, buffer, 1, 0, 0, 0) >= 0 or ctypes.get_errno() != 1
    for n in numbers[platform.machine()]
):
    f = lambda x: x + 1
