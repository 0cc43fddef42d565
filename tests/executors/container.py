"""A container as far as memory goes: a control group with a limit, which its processes see as that of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.sandbox._cgroup import Group, available

_MOUNTED = Path("/sys/fs/cgroup")


class Container:
    """`command` runs what follows in it; `kills` is how many processes the kernel has killed in it for its memory."""

    def __init__(self, group: Group) -> None:
        self._group = group
        folder = group.folders[0]
        place = _MOUNTED / "memory" if (folder / "memory.limit_in_bytes").exists() else _MOUNTED
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        script = f'mount --bind "{folder}" "{place}" && exec "$@"'
        self.command = [*group.enter_command(), "unshare", "--mount", *user, "/bin/sh", "-c", script, "sh"]

    @property
    def kills(self) -> int:
        return self._group.oom_kills()

    def trouble(self) -> str:
        """Why nothing can run in it; "" where it can."""
        done = subprocess.run([*self.command, sys.executable, "-c", ""], capture_output=True, text=True, check=False)
        return done.stderr.strip()


@contextmanager
def container(megabytes: int) -> Iterator[Container]:
    """With so much memory. Raises OSError where there can be none."""
    if not available():
        raise OSError("control groups cannot be written")
    group = Group("executors", megabytes << 20, 4096)
    try:
        held = Container(group)
        if trouble := held.trouble():
            raise OSError(trouble)
        yield held
    finally:
        group.remove()
