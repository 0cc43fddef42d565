"""The janitor's program: read folder names until the harness is gone, then empty and remove these control groups."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

PATIENCE_S = 10.0


def clear(folder: str) -> bool:
    """Kill what is inside, remove the folder; True when it is gone."""
    with contextlib.suppress(OSError, ValueError), open(f"{folder}/cgroup.procs") as listing:  # noqa: PTH123
        for pid in map(int, listing.read().split()):
            if pid > 0:  # 0 stands for a process that this namespace cannot see; kill(0) would be ourselves
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106
    return not os.path.isdir(folder)  # noqa: PTH112


def main() -> None:
    """Read names from standard input to its end, which comes when the harness ends, however it ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folders = [line.rstrip("\n") for line in sys.stdin]
    deadline = time.monotonic() + PATIENCE_S
    while folders and time.monotonic() < deadline:
        folders = [folder for folder in folders if not clear(folder)]
        time.sleep(0.02)
