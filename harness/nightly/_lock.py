"""One night at a time: an advisory lock that dies with its process, however it dies."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import ConfigError


@contextmanager
def alone(db: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock beside the database; a second process says so in a sentence and waits for its turn.

    The kernel lets a lock go when its process ends, so a kill leaves none behind. The empty file stays: removing it
    would let a third process lock a new file of the same name.
    """
    path = db.with_name(f"{db.name}.nightly.lock")
    try:
        file = path.open("a")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}): the database's folder must exist") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify(f"waiting: another 'harness nightly' is at work on {db}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
