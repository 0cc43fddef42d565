"""Writing a site so that it is seen whole or not at all: a temporary sibling folder, then renames.

A folder that we did not write is never replaced: ours carry a marker file.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leaderboard._errors import LeaderboardError

MARKER = ".leaderboard-site"
_NOTE = "Written by 'harness leaderboard build'; a new build replaces this folder.\n"


@contextmanager
def publish(out: Path) -> Iterator[Path]:
    """A folder to write into; it becomes `out` when the block ends well, and is removed when it does not.

    Raises LeaderboardError, one sentence, where `out` is not ours to replace or cannot be written.
    """
    out = out.absolute()
    _check(out)
    with _explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        work = out.parent / f".{out.name}.{os.getpid()}.building"
        work.mkdir()
        try:
            (work / MARKER).write_text(_NOTE, encoding="utf-8")
            yield work
            _swap(work, out)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _check(out: Path) -> None:
    if out.is_dir() and not (out / MARKER).is_file() and any(out.iterdir()):
        raise LeaderboardError(
            f"{out}: this folder has other files in it and is not a site made here: give an empty or a new folder"
        )
    if out.exists() and not out.is_dir():
        raise LeaderboardError(f"{out}: this is a file: give a folder for the site")


def _swap(work: Path, out: Path) -> None:
    """Put the new folder in place; the old one goes only after that."""
    old = out.parent / f".{out.name}.{os.getpid()}.old"
    if out.exists():
        out.rename(old)
    try:
        work.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Remove what killed builds left behind; bring back an old site that was moved aside and never replaced."""
    for left in out.parent.glob(f".{out.name}.*"):
        pid, _, kind = left.name.removeprefix(f".{out.name}.").partition(".")
        if kind not in ("building", "old") or not pid.isdigit() or _alive(int(pid)):
            continue
        if kind == "old" and not out.exists():
            left.rename(out)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # an earlier build of this very process: it is over
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's process
    return True


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "the disk is full: free some space and build again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what = "the site cannot be written here (read-only or no permission): give another -o"
        else:
            what = f"the site cannot be written ({error.strerror or error})"
        raise LeaderboardError(f"{out}: {what}") from None
