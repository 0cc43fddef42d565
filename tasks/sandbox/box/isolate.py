"""How a freshly cloned child shuts itself in before it touches a program: namespaces, mounts, limits, filter.

Order matters: identity maps and mounts need the capabilities that a new user namespace gives; limits, capabilities
and the filter are then given up for good, in this order. Any failure raises OSError and the child must exit.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import resource
import struct
from typing import Any

from . import landlock, seccomp

libc = ctypes.CDLL(None, use_errno=True)
_NAMESPACES = 0x10000000 | 0x20000000 | 0x00020000 | 0x08000000 | 0x02000000  # USER PID NS IPC CGROUP
_CLONE = {"x86_64": 56, "aarch64": 220}
_SIGCHLD = 17
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _PRIVATE = 1, 2, 4, 8, 0x44000  # mount flags; MS_REC|MS_PRIVATE
_holding_gil = ctypes.PyDLL(None)  # the child must not be cloned while another thread could hold the interpreter
PROC, SCRATCH = "/hproc", "/scratch"  # folders of the outer box


def must(result: int, what: str) -> None:
    """Raise OSError when a C call failed."""
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def fork_into_namespaces() -> int:
    """Like os.fork, but the child is process 1 of new user, pid, mount, ipc and cgroup namespaces.

    One clone instead of unshare and fork: half the time. Raises OSError.
    """
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_holding_gil.syscall(_CLONE[platform.machine()], _NAMESPACES | _SIGCHLD, 0, 0, 0, 0))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError("clone into new namespaces was refused")
    return pid


def _put(path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from None


def die_with_parent() -> None:
    """SIGKILL for this process when its parent ends. Changing the user id clears it: call this afterwards."""
    must(libc.prctl(1, 9, 0, 0, 0), "PR_SET_PDEATHSIG")


def leave_group_and_files(channel: int) -> None:
    """A session of its own (kill(0) stays inside), the channel as descriptor 3, and no other descriptor but 0-2."""
    os.setsid()
    if channel != 3:
        os.dup2(channel, 3)
    os.closerange(4, 1 << 16)


def settle_namespaces(uid: int, gid: int, scratch_bytes: int) -> None:
    """Map the own ids only, be the first to go when memory is short, hide /proc, mount the scratch folder."""
    _put(f"{PROC}/self/setgroups", "deny")
    _put(f"{PROC}/self/uid_map", f"{uid} {uid} 1")
    _put(f"{PROC}/self/gid_map", f"{gid} {gid} 1")
    _put(f"{PROC}/self/oom_score_adj", "1000")
    must(libc.mount(None, b"/", None, _PRIVATE, None), "private mounts")
    flags = _NOSUID | _NODEV | _NOEXEC
    must(libc.mount(b"tmpfs", PROC.encode(), b"tmpfs", flags | _RDONLY, b"size=4096,nr_inodes=1,mode=000"), "hide proc")
    options = b"size=%d,nr_inodes=256,mode=0700" % scratch_bytes
    must(libc.mount(b"tmpfs", SCRATCH.encode(), b"tmpfs", flags, options), "scratch")
    os.chdir(SCRATCH)


def settle_landlock(readable: list[str]) -> None:
    """The same without namespaces: the runtime readable, nothing writable."""
    _put("/proc/self/oom_score_adj", "1000")
    os.chdir("/")
    no_new_privileges()
    landlock.restrict(libc, readable)


def no_new_privileges() -> None:
    """Neither set-uid files nor anything else can give this process more rights than it has."""
    must(libc.prctl(38, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


def set_limits(limits: dict[str, Any]) -> None:
    """Resource limits of this process. `threads` of None leaves that one alone (see the tiers)."""
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_CPU: int(limits["cpu_s"] * 2) + 2,  # backstop; see candidate.py
        resource.RLIMIT_FSIZE: limits["scratch_bytes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: 64 << 20,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if limits["threads"] is not None:
        wanted[resource.RLIMIT_NPROC] = limits["threads"]
    for which, value in wanted.items():
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def drop_capabilities() -> None:
    """All of them, and for good once no_new_privileges is set."""
    header = struct.pack("<Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    must(libc.capset(header, bytes(24)), "capset")
    no_new_privileges()


_namespaced_filter = functools.cache(lambda: seccomp.build(1))  # process 1 of its namespace, every time


def filter_calls(*, namespaced: bool) -> None:
    """The system call filter, last of all."""
    seccomp.install(libc, _namespaced_filter() if namespaced else seccomp.build(os.getpid(), writing=False))


def drop_user(uid: int | None) -> None:
    """Become an ordinary user for good (None: stay who we are)."""
    if uid is None:
        return
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    must(libc.prctl(4, 1, 0, 0, 0), "PR_SET_DUMPABLE")  # else /proc/self of the children would belong to root


def prepare() -> None:
    """Build in the warm process what every child would build again."""
    _namespaced_filter()
