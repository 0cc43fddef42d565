"""Small hostile programs that prove, before anything is judged, that a tier holds on this machine.

Each defines `leaks()`, which tries what must be impossible and names what worked.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.sandbox._limits import Check, Status

_TRY = """
import ctypes, os
_c = ctypes.CDLL(None, use_errno=True)
def tried(**actions):
    worked = []
    for name, action in actions.items():
        try:
            if action() is not False: worked.append(name)
        except Exception: pass
    return worked
"""
_FILES = """
SECRET = {secret!r}
def create(folder):
    with open(folder + "/canary", "w"): pass
    return True
def leaks():
    return tried(
        read_secret=lambda: open(SECRET).read(), overwrite_secret=lambda: open(SECRET, "a").write("x"),
        read_passwd=lambda: open("/etc/passwd").read(), list_proc=lambda: open("/proc/1/cmdline").read(),
        write_beside_secret=lambda: create(os.path.dirname(SECRET)), write_tmp=lambda: create("/tmp"),
        write_var_tmp=lambda: create("/var/tmp"), write_shm=lambda: create("/dev/shm"), write_root=lambda: create("/"),
        change_mode=lambda: os.chmod(SECRET, 0o777), truncate=lambda: os.truncate(SECRET, 0),
    )
"""
_NETWORK = """
import socket
def leaks():
    pair = socket.socketpair()
    return tried(
        tcp=lambda: socket.socket(), udp=lambda: socket.socket(type=socket.SOCK_DGRAM),
        unix=lambda: socket.socket(socket.AF_UNIX), netlink=lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        datagram_pair=lambda: socket.socketpair(type=socket.SOCK_DGRAM),
        pass_descriptor=lambda: socket.send_fds(pair[0], [b"x"], [0]),
    )
"""
_PROCESSES = """
import fcntl, signal
def fork():
    pid = os.fork()
    if pid == 0: os._exit(0)
    return True
def leaks():
    return tried(
        fork=fork, libc_fork=lambda: _c.syscall(57) > 0, spawn=lambda: os.posix_spawn("/bin/sh", ["sh"], {}),
        execute=lambda: _c.execve(b"/nonexistent", None, None) == -1 and ctypes.get_errno() != 1,
        signal_all=lambda: os.kill(-1, 0) is None, signal_parent=lambda: os.kill(os.getppid() or 1, 0) is None,
        signal_thread=lambda: _c.syscall(234, os.getppid(), os.getppid(), 0) == 0,
        signal_by_descriptor=lambda: fcntl.fcntl(0, fcntl.F_SETOWN, 1) == 0,
        trace=lambda: _c.ptrace(16, os.getppid() or 1, 0, 0) == 0,
    )
"""
_PRIVILEGES = """
import resource
def raise_limit(which):
    resource.setrlimit(which, (1 << 45, 1 << 45))
    return True
def leaks():
    return tried(
        become_root=lambda: os.setuid(0) is None or os.setgid(0) is None,
        user_namespace=lambda: _c.unshare(0x10000000) == 0,
        mount_namespace=lambda: _c.unshare(0x20000) == 0, mount=lambda: _c.mount(b"x", b"/", b"tmpfs", 0, None) == 0,
        change_root=lambda: os.chroot("/") is None, shared_memory=lambda: _c.shmget(0, 4096, 0o1600) >= 0,
        memory_file=lambda: os.memfd_create("x") >= 0, more_memory=lambda: raise_limit(resource.RLIMIT_AS),
        more_time=lambda: raise_limit(resource.RLIMIT_CPU), environment=lambda: len(os.environ) > 5,
    )
"""
_EQUAL = """
class Always:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
def f(x): return Always()
"""
_BENIGN = """
import threading
def f(x):
    out = []
    threads = [threading.Thread(target=out.append, args=(x + 1,)) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return out[0]
"""
_MEMORY = "x = bytearray({size})\ndef f(x): return x + 1"


@dataclass(frozen=True, slots=True)
class Canary:
    """A check with the status that it must have."""

    name: str
    check: Check
    status: Status


def canaries(secret: str, memory_mb: int) -> list[Canary]:
    """`secret`: a file that only this user can read; `memory_mb`: the limit in force."""
    known = ("assert f(1) == 2", "assert f(41) == 42")
    none = ("assert leaks() == []",)
    return [
        Canary("an honest program passes", Check(_BENIGN, known), "pass"),
        Canary("a wrong program fails", Check("def f(x): return x", known), "fail"),
        Canary("an exit is no pass", Check("import os\nos._exit(0)", known), "fail"),
        Canary("an object that equals everything is no pass", Check(_EQUAL, known), "fail"),
        Canary("files", Check(_TRY + _FILES.format(secret=secret), none), "pass"),
        Canary("network", Check(_TRY + _NETWORK, none), "pass"),
        Canary("processes", Check(_TRY + _PROCESSES, none), "pass"),
        Canary("privileges", Check(_TRY + _PRIVILEGES, none), "pass"),
        Canary("memory", Check(_MEMORY.format(size=memory_mb << 20), known), "memory"),
    ]
