"""Control groups where they can be written: a ceiling on memory and tasks of a whole box (tier A), both versions.

A folder is removed by whoever made it, and by the janitor (a process of its own) if that one is killed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from tasks.sandbox._sweeper import clear

_ROOT = Path("/sys/fs/cgroup")
PREFIX = "harness-sandbox-"  # followed by the process id of the owner


def _own(listing: str, root: Path) -> dict[str, Path]:
    """Controller -> this process's folder ("" is version 2), from the text of /proc/self/cgroup."""
    found = {}
    for line in listing.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            base = root / name if name else root
            found[name] = base / path.lstrip("/")
    return found


def _parents(listing: str, root: Path) -> list[tuple[Path, dict[str, str]]]:
    """Folders to make a group in, each with the limit files it will have. Empty: no usable control groups."""
    own = _own(listing, root)
    if own.get("memory", root / "-").is_dir() and own.get("pids", root / "-").is_dir():
        return [(own["memory"], {"memory.limit_in_bytes": "memory"}), (own["pids"], {"pids.max": "tasks"})]
    files = {"memory.max": "memory", "pids.max": "tasks", "memory.swap.max": "swap"}
    for parent in (own.get("", root / "-"), own.get("", root / "-").parent):
        with contextlib.suppress(OSError):
            enabled = (parent / "cgroup.subtree_control").read_text().split()
            if {"memory", "pids"} <= set(enabled) and os.access(parent, os.W_OK):
                return [(parent, files)]
    return []


def available(listing: str | None = None, root: Path = _ROOT) -> bool:
    """Could a group be made here? (Whether its limits hold is for the canaries.)"""
    listing = Path("/proc/self/cgroup").read_text() if listing is None else listing
    parents = _parents(listing, root)
    return bool(parents) and all(os.access(folder, os.W_OK) for folder, _ in parents)


class Group:
    """One box's control group: its folders, and how to put a process in."""

    def __init__(self, name: str, memory: int, tasks: int, root: Path = _ROOT, listing: str | None = None) -> None:
        """`memory` in bytes for all processes of the box together. Raises OSError."""
        listing = Path("/proc/self/cgroup").read_text() if listing is None else listing
        values = {"memory": str(memory), "tasks": str(tasks), "swap": "0"}
        self.folders: list[Path] = []
        for parent, limits in _parents(listing, root):
            folder = parent / f"{PREFIX}{os.getpid()}-{name}"
            folder.mkdir()
            self.folders.append(folder)
            for file, kind in limits.items():
                with contextlib.suppress(FileNotFoundError):  # no swap accounting
                    (folder / file).write_text(values[kind])

    def enter_command(self) -> list[str]:
        """An argv prefix: the shell joins the group, then becomes the command that follows."""
        joins = "".join(f'echo $$ > "{folder}/cgroup.procs" && ' for folder in self.folders)
        return ["/bin/sh", "-c", joins + 'exec "$@"', "sh"]

    def oom_kills(self) -> int:
        """How many processes of this group the kernel has killed for its memory limit."""
        for file in ("memory.oom_control", "memory.events"):
            with contextlib.suppress(OSError, StopIteration, ValueError):
                lines = (self.folders[0] / file).read_text().splitlines()
                return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
        return 0

    def holds(self, pid: int) -> bool:
        """Is this process in the group (with its limits)?"""
        return all(str(pid) in (folder / "cgroup.procs").read_text().split() for folder in self.folders)

    def remove(self) -> None:
        """Kill what is left inside and remove the folders."""
        remove(self.folders)


def remove(folders: list[Path], patience_s: float = 5.0) -> None:
    """Kill what is left in these groups, then remove them; a group that stays busy is left after `patience_s`."""
    deadline = time.monotonic() + patience_s
    left = [str(folder) for folder in folders]
    while left := [folder for folder in left if not clear(folder)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)


def sweep(root: Path = _ROOT) -> None:
    """Remove groups whose owner is gone (the owner and its janitor were both killed)."""
    for parent, _ in _parents(Path("/proc/self/cgroup").read_text(), root):
        for folder in parent.glob(f"{PREFIX}*"):
            owner = folder.name.removeprefix(PREFIX).split("-")[0]
            if not Path(f"/proc/{owner}").exists():
                remove([folder], patience_s=1.0)


class Janitor:
    """A small process that outlives a killed harness just long enough to remove its control groups."""

    def __init__(self) -> None:
        script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import _sweeper; _sweeper.main()"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: Group) -> None:
        """Remove this group too when the harness is gone."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"".join(f"{folder}\n".encode() for folder in group.folders))
        self._process.stdin.flush()

    def close(self) -> None:
        """The harness ends in good order: so does the janitor."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
