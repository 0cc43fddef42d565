"""DuckDB's failures as one sentence each: what happened, to which file, what to do."""

from __future__ import annotations

import re
from pathlib import Path

from results.records import StoreError

_HOLDER = re.compile(r"Conflicting lock is held in (.+?) \(PID (\d+)\)")
_FULL = ("no space left", "disk is full", "out of disk", "disk quota exceeded")
_DENIED = ("read-only file system", "permission denied", "read-only mode", "operation not permitted")
_DAMAGED = ("corrupt", "checksum", "could not read enough bytes", "failed to deserialize", "replaying wal")


class HeldError(StoreError):
    """Another process has the database open; waiting helps."""


def explain(path: Path, error: Exception) -> StoreError:
    """The StoreError to show for a failure of DuckDB on this file."""
    text = str(error)
    low = text.lower()
    holder = _HOLDER.search(text)
    if holder:
        process = _process(int(holder[2]), holder[1])
        return HeldError(f"{path}: {process} is using this database: wait for it (--wait), or use another --db")
    if "set lock" in low:
        return HeldError(f"{path}: another process is using this database: wait for it (--wait), or use another --db")
    if any(word in low for word in _FULL):
        return StoreError(
            f"{path}: the disk is full; what was committed is kept, so free some space and run the same command again"
        )
    if "not a valid duckdb database" in low:
        return StoreError(f"{path}: this file is not a DuckDB database; give another --db")
    if "is a directory" in low:
        return StoreError(f"{path}: this is a folder; --db needs a file")
    if any(word in low for word in _DENIED):
        return StoreError(
            f"{path}: the database cannot be written here (read-only or no permission); give another --db"
        )
    if "with version number" in low:
        return StoreError(f"{path}: written by another generation of DuckDB ({_first_line(text)}); upgrade duckdb")
    if any(word in low for word in _DAMAGED):
        return StoreError(f"{path}: the file is damaged ({_first_line(text)}); restore a copy, or start another --db")
    return StoreError(f"{path}: {_first_line(text) or type(error).__name__}")


def _first_line(text: str) -> str:
    return text.splitlines()[0].strip() if text.strip() else ""


def _process(pid: int, program: str) -> str:
    """A process as the user knows it: the command's words up to its first option (values may be secret)."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        words = [word for word in raw.split("\0") if word]
    except OSError:
        words = []
    if "-m" in words:
        words = words[words.index("-m") + 1 :]
    elif len(words) > 1 and Path(words[0]).name.startswith("python"):
        words = words[1:]
    shown = []
    for word in words[:4]:
        if word.startswith("-"):
            break
        shown.append(Path(word).name)
    return f"process {pid} ({' '.join(shown) or program})"


def interrupted(error: BaseException) -> bool:
    """Whether this is Ctrl-C (or SIGTERM) as DuckDB tells it when it arrives in the middle of a query."""
    return type(error).__name__ == "InterruptException" or any(
        word in str(error) for word in ("Query interrupted", "KeyboardInterrupt")
    )
