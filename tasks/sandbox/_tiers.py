"""Which tier holds here: tried from the best down, each proven by running the canaries in it."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tasks.sandbox import _cgroup
from tasks.sandbox._box import drops_user
from tasks.sandbox._canaries import canaries
from tasks.sandbox._limits import Limits, SandboxError, Tier, TierName
from tasks.sandbox._runtime import own_python, readable_python, runtime
from tasks.sandbox._worker import Worker
from tasks.sandbox.box import landlock, seccomp
from tasks.sandbox.box.isolate import libc

FORCE = "HARNESS_SANDBOX_TIER"  # environment: only this tier is tried
_HELP = (
    "Install bubblewrap and allow unprivileged user namespaces (tiers A, B), or use Linux 6.2 or newer with Landlock "
    "(tier C); docs/sandbox.md has the steps for each system. --unsafe-exec runs programs without any sandbox"
)


@functools.cache
def best_tier(only: str | None = None) -> Tier:
    """The best tier whose canaries all hold, found once per process.

    only: try this tier alone ("A", "B" or "C"; the environment variable HARNESS_SANDBOX_TIER does the same).
    Raises SandboxError, which names for each tier what is missing.
    """
    only = only or os.environ.get(FORCE) or None
    if only not in (None, "A", "B", "C"):
        raise SandboxError(f"there is no sandbox tier '{only}': known: A, B, C")
    if not sys.platform.startswith("linux") or not seccomp.supported():
        raise SandboxError("the sandbox needs Linux on x86_64 or aarch64; --unsafe-exec runs programs without one")
    reasons: dict[str, str] = {}
    for tier in _candidates(only, reasons):
        try:
            prove(tier)
        except (SandboxError, OSError) as error:
            first = reasons.get(tier.name)  # both ways to /proc failed: usually for one reason
            reasons[tier.name] = str(error) if first in (None, str(error)) else f"{first}; then {error}"
            continue
        return tier
    tried = "; ".join(f"tier {name}: {reason}" for name, reason in reasons.items())
    raise SandboxError(f"no sandbox holds on this machine ({tried}). {_HELP}")


def unsafe_tier() -> Tier:
    """No sandbox at all; the user asked for it."""
    python = own_python()
    return Tier("unsafe", python, runtime(python).version)


def _candidates(only: str | None, reasons: dict[str, str]) -> Iterator[Tier]:
    """Tiers worth a try, best first; why the others are not goes to `reasons`."""
    names: tuple[TierName, ...] = ("A", "B", "C")
    for name in names:
        if only not in (None, name):
            continue
        if name == "A" and not _cgroup.available():
            reasons["A"] = "memory and pids control groups cannot be written here"
        elif name == "C" and landlock.abi(libc) < landlock.LEAST_ABI:
            reasons["C"] = f"the kernel has no Landlock of ABI {landlock.LEAST_ABI} (Linux 6.2)"
        else:
            try:
                python = readable_python() if name == "C" and drops_user() else own_python()
                version = runtime(python).version
            except SandboxError as error:
                reasons[name] = str(error)
                continue
            if name == "C":
                yield Tier("C", python, version)
            else:
                yield Tier(name, python, version, "mount")
                yield Tier(name, python, version, "bind")


@contextlib.contextmanager
def _secret() -> Iterator[str]:
    """A file that only this user can read, in a folder that everybody can enter."""
    with tempfile.TemporaryDirectory(prefix="harness-canary-") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "secret"
        file.touch(0o600)
        file.write_text("secret")
        yield str(file)
        if file.read_text() != "secret" or len(list(Path(folder).iterdir())) != 1:
            raise SandboxError("a canary changed a file of the host's")


def prove(tier: Tier) -> list[str]:
    """Run the canaries; the names of what held. Raises SandboxError on the first that did not."""
    limits = Limits(cpu_s=5, wall_s=20.0, memory_mb=512)
    held = []
    worker = Worker(tier, limits)
    try:
        with _secret() as secret:
            for canary in canaries(secret, limits.memory_mb):
                verdict = worker.check(canary.check)
                if verdict.status != canary.status:
                    raise SandboxError(f"canary '{canary.name}': {verdict.status} ({verdict.reason})")
                held.append(canary.name)
        if tier.name == "A":
            _prove_group(worker)
            held.append("control group")
    finally:
        worker.close()
    return held


def _prove_group(worker: Worker) -> None:
    box = worker.candidate
    if box is None or box.group is None or not box.group.holds(box.pid):
        raise SandboxError("the candidate's box is not in its control group")
