"""A box: one warm Python process shut in as the tier says, spoken to over a socket pair.

Tiers A and B put it in a bubblewrap container (an empty root with the Python runtime read-only, no network); tier C
and "unsafe" start it plainly, and what restricts it comes from box/isolate.py.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tasks.sandbox import _cgroup
from tasks.sandbox._limits import Limits, SandboxError, Tier
from tasks.sandbox._runtime import Runtime, runtime
from tasks.sandbox.box import wire

_HERE = Path(__file__).parent
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from box.{kind} import main; del sys.path[0]; main()"
_FLAGS = ["-s", "-S", "-P", "-B"]  # not -I, which would ignore PYTHONHASHSEED
_ENVIRONMENT = {"PATH": "/nonexistent", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
_FIRST_UID, _UIDS = 60578, 600  # unassigned in Debian's and systemd's tables
_START_S = 30.0
_slots = itertools.count()


@functools.cache
def drops_user() -> bool:
    """Are we root, and can we become somebody else? (In a rootless container there may be nobody else.)"""
    ranges = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return os.getuid() == 0 and any(first <= _FIRST_UID and first + n >= _FIRST_UID + _UIDS for first, _, n in ranges)


def ordinary_uid() -> int | None:
    """For root: an otherwise unused user id for the next box. For everyone else None: they stay who they are."""
    if not drops_user():
        return None
    return _FIRST_UID + (os.getpid() * 16 + next(_slots)) % _UIDS


def _tasks_of(uid: int) -> int:
    """Threads of this user on the machine, which RLIMIT_NPROC counts where there is no user namespace."""
    count = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError, StopIteration):
            lines = status.read_text().splitlines()
            owner = next(line for line in lines if line.startswith("Uid:")).split()[1]
            if int(owner) == uid:
                count += int(next(line for line in lines if line.startswith("Threads:")).split()[1])
    return count


def thread_limit(tier: Tier, limits: Limits) -> int | None:
    """RLIMIT_NPROC of a candidate. In tier C an ordinary user's own processes count too: a ceiling, with room."""
    if tier.name == "unsafe":
        return None
    if tier.name == "C" and not drops_user():
        return _tasks_of(os.getuid()) + limits.threads + 512
    return limits.threads + 3  # in tier C the warm process and the next child count too


def _container(needs: Runtime, tier: Tier, *, as_root: bool) -> list[str]:
    """The bwrap command up to the program."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError("bubblewrap is not installed (Debian, Ubuntu: apt install bubblewrap)")
    argv = [bwrap, "--die-with-parent", "--new-session", "--clearenv", "--hostname", "box", "--cap-drop", "ALL"]
    argv += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if as_root:  # to become an ordinary user inside; given up before the first program
        argv += [word for cap in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{cap}")]
    else:
        # a nested namespace may not map root without CAP_SETFCAP, so root of a container is called 1000 in the box
        argv += ["--unshare-user", *(["--uid", "1000", "--gid", "1000"] if os.getuid() == 0 else [])]
    for name, value in {**_ENVIRONMENT, "LD_LIBRARY_PATH": needs.library_path}.items():
        argv += ["--setenv", name, value]
    binds = [(folder, folder) for folder in needs.folders] + list(needs.files) + [(str(_HERE / "box"), "/app/box")]
    for folder in _folders_above([target for _, target in binds], needs.folders):
        argv += ["--perms", "0755", "--dir", folder]  # else bwrap makes them for their owner only
    for source, target in binds:
        argv += ["--ro-bind", source, target]
    for folder in needs.hidden:
        argv += ["--size", "4096", "--tmpfs", folder]
    for link in ("/lib", "/lib64"):
        if Path(link).is_symlink():
            argv += ["--symlink", str(Path(link).readlink()), link]
    for device in ("null", "zero", "urandom"):
        argv += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    argv += ["--bind", "/proc", "/hproc"] if tier.proc == "bind" else ["--proc", "/hproc"]
    return [*argv, "--dir", "/scratch", "--chdir", "/", "--remount-ro", "/"]


def _folders_above(targets: list[str], bound: tuple[str, ...]) -> list[str]:
    """Parents to create for these mount points, outermost first, leaving out what a bound folder brings along."""
    links = {link for link in ("/lib", "/lib64") if Path(link).is_symlink()}
    parents = {str(p) for target in targets for p in Path(target).parents} - {"/"} - links
    return sorted(p for p in parents if not any(p == b or p.startswith(b + "/") for b in bound))


class Box:
    """One warm process. `kind` names its program in box/."""

    def __init__(
        self, kind: Literal["candidate", "judge"], tier: Tier, limits: Limits, janitor: _cgroup.Janitor | None
    ) -> None:
        """Start it and wait until it is warm. Raises SandboxError."""
        self.group: _cgroup.Group | None = None
        self._channel: list[int] = []  # none or one
        needs = runtime(tier.python)
        uid = ordinary_uid() if tier.name != "unsafe" else None
        contained = tier.name in ("A", "B")
        argv = _container(needs, tier, as_root=uid is not None) if contained else []
        argv += [tier.python, *_FLAGS, "-c", _BOOT.format(kind=kind), "/app" if contained else str(_HERE)]
        self.control, theirs = socket.socketpair()
        settings = {
            "control": theirs.fileno(),
            "tier": tier.name,
            "uid": uid,
            "limits": limits.for_box(thread_limit(tier, limits)),
            "readable": [*needs.folders, "/dev/null", "/dev/zero", "/dev/urandom"],
        }
        try:
            with theirs:
                self._enter_group(kind, tier, limits, janitor)
                self._start([*argv, json.dumps(settings)], theirs.fileno())
        except (OSError, SandboxError) as error:
            self.control.close()
            raise SandboxError(f"the {kind} box cannot be made: {error}") from None
        self._await_warm(kind)

    def _enter_group(self, kind: str, tier: Tier, limits: Limits, janitor: _cgroup.Janitor | None) -> None:
        if tier.name != "A":
            return
        memory = (limits.memory_mb + limits.scratch_mb + 256) << 20 if kind == "candidate" else 4 << 30
        self.group = _cgroup.Group(f"{kind}-{next(_slots)}", memory, limits.threads + 16)
        if janitor is not None:
            janitor.watch(self.group)

    def _start(self, argv: list[str], passed: int) -> None:
        self._process = subprocess.Popen(
            [*(self.group.enter_command() if self.group else []), *argv],
            pass_fds=[passed],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupt from the terminal is the harness's to handle
            env=_ENVIRONMENT,
            cwd="/",
        )

    def _await_warm(self, kind: str) -> None:
        self.control.settimeout(_START_S)
        try:
            first = self.receive()
        except (OSError, EOFError, ValueError):
            first = None
        if first != {"up": True}:
            self._process.kill()
            _, stderr = self._process.communicate()
            self.close()
            said = stderr.decode(errors="replace").strip().splitlines()
            raise SandboxError(f"the {kind} box did not start: {said[-1] if said else 'no word from it'}")

    def send(self, job: dict[str, Any], channel: int | None = None) -> None:
        """Hand over a job, to the judge with its end of the channel. Raises OSError when the box is gone or stuck."""
        data = b"m" + wire.pack(job)
        sent = socket.send_fds(self.control, [data], [] if channel is None else [channel])
        self.control.sendall(data[sent:])

    def receive(self) -> dict[str, Any]:
        """The next report. Raises EOFError when the box is gone, OSError when it is stuck."""
        head, channels, _, _ = socket.recv_fds(self.control, 1, 1)
        if not head:
            raise EOFError
        self._channel.extend(channels)
        size = int.from_bytes(self._exactly(4), "little")
        report = json.loads(self._exactly(size))
        return dict(report)

    @contextlib.contextmanager
    def channel(self) -> Iterator[int]:
        """The judge's end of the channel to the next program's process, closed here afterwards. Raises OSError."""
        if not self._channel:
            raise OSError("no process is waiting for a program")
        end = self._channel.pop()
        try:
            yield end
        finally:
            os.close(end)

    @property
    def ready(self) -> bool:
        """Is a process waiting for the next program?"""
        return bool(self._channel)

    def _exactly(self, count: int) -> bytes:
        out = b""
        while len(out) < count:
            piece = self.control.recv(count - len(out))
            if not piece:
                raise EOFError
            out += piece
        return out

    def hang_up(self) -> None:
        """End it soon, from any thread: both it and whoever waits for it see the connection closed."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    @property
    def pid(self) -> int:
        """Of its outermost process."""
        return self._process.pid

    def end_signal(self) -> int:
        """Once it is gone: the signal that ended it, 0 for none. bwrap passes a signal on as exit code 128 + n."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return 0
        return -code if code < 0 else max(0, code - 128)

    def close(self) -> None:
        """End the process and everything in it; leave nothing behind."""
        while self._channel:
            os.close(self._channel.pop())
        self.control.close()  # the warm process ends itself on this
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        if self.group is not None:
            self.group.remove()
