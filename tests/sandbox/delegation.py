"""A part of the control groups handed to an ordinary user, as systemd's `Delegate=` or an administrator does."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tasks.sandbox._cgroup import _own

ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def delegated(uid: int) -> Iterator[list[Path]]:
    """Folders (version 1: memory and pids) that `uid` owns, below this process's own; empty where none can be made."""
    own = _own(Path("/proc/self/cgroup").read_text(), ROOT)
    parents = [own[name] for name in ("memory", "pids") if name in own]
    made: list[Path] = []
    try:
        if len(parents) == 2 and all(os.access(parent, os.W_OK) for parent in parents):
            for parent in parents:
                folder = parent / f"harness-tests-{os.getpid()}"
                folder.mkdir()
                made.append(folder)
                for path in (folder, folder / "cgroup.procs", folder / "tasks"):
                    os.chown(path, uid, uid)
        yield made
    finally:
        for folder in made:
            _remove(folder)


@contextlib.contextmanager
def inside(folders: list[Path]) -> Iterator[None]:
    """What is started here belongs to these groups; this process goes back to its own afterwards."""
    for folder in folders:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        for folder in folders:
            (folder.parent / "cgroup.procs").write_text(str(os.getpid()))


def _remove(folder: Path) -> None:
    for _ in range(100):  # processes that were killed take a moment to leave
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
    raise OSError(f"{folder} is still in use: {(folder / 'cgroup.procs').read_text().split()}")
