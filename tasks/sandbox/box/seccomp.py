"""The system calls a candidate may make, as a BPF program for the kernel (allow-list, x86_64 and aarch64).

Left out on purpose: every way to start a process or a program, to open a socket, to signal, trace or read another
process, to change namespaces, mounts, users or limits, to leave shared memory behind. Where a call is needed for
honest work and harmful with some arguments, the arguments are looked at (`_guards`). Pointers cannot be looked at.
"""

from __future__ import annotations

import ctypes
import platform
import struct

# name x86_64 aarch64 ("-": the architecture has no such call)
_BASIC = """
read 0 63, write 1 64, open 2 -, close 3 57, stat 4 -, fstat 5 80, lstat 6 -, poll 7 -, lseek 8 62, mmap 9 222,
mprotect 10 226, munmap 11 215, brk 12 214, rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139,
pread64 17 67, pwrite64 18 68, readv 19 65, writev 20 66, access 21 -, pipe 22 -, select 23 -, sched_yield 24 124,
mremap 25 216, msync 26 227, mincore 27 232, madvise 28 233, dup 32 23, dup2 33 -, pause 34 -, nanosleep 35 101,
getitimer 36 102, alarm 37 -, setitimer 38 103, getpid 39 172, sendto 44 206, recvfrom 45 207, shutdown 48 210,
getsockname 51 204, getpeername 52 205, getsockopt 55 209, exit 60 93, wait4 61 260, uname 63 160, fsync 74 82,
fdatasync 75 83, getdents 78 -, getcwd 79 17, chdir 80 49, fchdir 81 50, readlink 89 -, umask 95 166,
gettimeofday 96 169, getrlimit 97 163, getrusage 98 165, sysinfo 99 179, times 100 153, getuid 102 174, getgid 104 176,
geteuid 107 175, getegid 108 177, getppid 110 173, getpgrp 111 -, getgroups 115 158, getresuid 118 148,
getresgid 120 150, getpgid 121 155, getsid 124 156, rt_sigpending 127 136, rt_sigtimedwait 128 137,
rt_sigsuspend 130 133, sigaltstack 131 132, statfs 137 43, fstatfs 138 44, sched_getparam 143 121,
sched_getscheduler 145 120, arch_prctl 158 -, gettid 186 178, time 201 -, futex 202 98, sched_getaffinity 204 123,
getdents64 217 61, set_tid_address 218 96, restart_syscall 219 128, fadvise64 221 223, clock_gettime 228 113,
clock_getres 229 114, clock_nanosleep 230 115, exit_group 231 94, epoll_wait 232 -, epoll_ctl 233 21, waitid 247 95,
openat 257 56, newfstatat 262 79, readlinkat 267 78, faccessat 269 48, pselect6 270 72, ppoll 271 73,
set_robust_list 273 99, epoll_pwait 281 22, eventfd2 290 19, epoll_create1 291 20, dup3 292 24, pipe2 293 59,
getcpu 309 168, getrandom 318 278, membarrier 324 283, statx 332 291, rseq 334 293, close_range 436 436,
faccessat2 439 439
"""
_WRITING = """
flock 73 32, truncate 76 45, ftruncate 77 46, rename 82 -, mkdir 83 -, rmdir 84 -, unlink 87 -, chmod 90 -,
fchmod 91 52, mkdirat 258 34, unlinkat 263 35, renameat 264 38, fchmodat 268 53, utimensat 280 88, renameat2 316 276
"""  # only where the scratch folder is a mount of its own: a path may name the host's files otherwise
_JUDGE = "recvmsg 47 212"
_GUARDED = """
clone 56 220, clone3 435 435, ioctl 16 29, fcntl 72 25, tgkill 234 131, socketpair 53 199, prlimit64 302 261
"""

_ARCHES = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}  # column above, AUDIT_ARCH
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _ENOTTY = 1, 38, 25
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag
_CLONE_THREAD = 0x00010000
_SIGKILL = 9
Instruction = tuple[int, int, int, int]


def supported() -> bool:
    """Is there a table for this machine's processor?"""
    return platform.machine() in _ARCHES


def _numbers(table: str, column: int) -> dict[str, int]:
    rows = (entry.split() for entry in table.split(","))
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def _argument(index: int) -> Instruction:
    return (_LOAD, 0, 0, 16 + 8 * index)  # low half; all guarded arguments are 32 bits wide


def _one_of(index: int, values: tuple[int, ...], refusal: int = _EPERM) -> list[Instruction]:
    tests = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [_argument(index), *tests, (_RETURN, 0, 0, _ERRNO | refusal), (_RETURN, 0, 0, _ALLOW)]


def _guards(pid: int) -> dict[str, list[Instruction]]:
    refuse, allow = (_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)
    return {
        # threads only, never a process or a namespace
        "clone": [_argument(0), (_ANY_BIT, 2, 0, _NEW_NAMESPACES), (_ANY_BIT, 0, 1, _CLONE_THREAD), allow, refuse],
        # its flags lie behind a pointer: with ENOSYS the C library falls back to clone
        "clone3": [(_RETURN, 0, 0, _ERRNO | _ENOSYS)],
        # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX; not TIOCSTI, not FIOSETOWN
        "ioctl": _one_of(1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5451), _ENOTTY),
        # duplicate, flags, locks; not F_SETOWN and F_SETSIG, which send signals to others
        "fcntl": _one_of(1, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),
        # abort() needs a signal to itself; SIGKILL to itself could look like an accident of the host
        "tgkill": [_argument(2), (_EQUAL, 3, 0, _SIGKILL), _argument(0), (_EQUAL, 0, 1, pid), allow, refuse],
        # stream pairs (asyncio wants one): a datagram socket could send to any address
        "socketpair": [
            *(_argument(0), (_EQUAL, 0, 4, 1), _argument(1), (_AND, 0, 0, 0xF), (_EQUAL, 0, 1, 1)),
            *(allow, refuse),
        ],
        # own limits only: pid 0
        "prlimit64": _one_of(0, (0,)),
    }


def _search(bounds: list[int], inside: bool = False) -> list[Instruction]:
    """Allow numbers in [bounds[0], bounds[1]), [bounds[2], bounds[3]) and so on.

    A search by halves: the kernel runs a new filter once for each call there is, which a list of tests makes slow.
    """
    if not bounds:
        return [(_RETURN, 0, 0, _ALLOW if inside else _ERRNO | _EPERM)]
    middle = len(bounds) // 2
    below, above = _search(bounds[:middle], inside), _search(bounds[middle + 1 :], inside ^ (middle % 2 == 0))
    return [(_AT_LEAST, len(below), 0, bounds[middle]), *below, *above]


def build(pid: int, *, writing: bool = True, judge: bool = False) -> bytes:
    """The filter for a process whose own pid is `pid`. `writing`: calls that change files; `judge`: taking descriptors.

    Raises OSError on a processor without a table.
    """
    if platform.machine() not in _ARCHES:
        raise OSError(f"no system call table for {platform.machine()}")
    column, arch = _ARCHES[platform.machine()]
    program: list[Instruction] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    program += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]  # x32 numbers
    guarded = _numbers(_GUARDED, column)
    for name, body in _guards(pid).items():
        program += [(_EQUAL, 0, len(body), guarded[name]), *body]
    tables = [_BASIC] + [_WRITING] * writing + [_JUDGE] * judge
    allowed = {number for table in tables for number in _numbers(table, column).values()}
    program += _search(sorted(allowed ^ {number + 1 for number in allowed}))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(libc: ctypes.CDLL, program: bytes) -> None:
    """Put the filter on this thread for good (no_new_privs must be set). Raises OSError."""
    argument = _Program(len(program) // 8, program)
    if libc.prctl(22, 2, ctypes.byref(argument), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")
