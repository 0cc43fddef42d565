"""The cyclic garbage collector, kept out of the way where nothing is garbage.

Importing torch makes about a million objects that stay to the end. Walking through them again and again while more of
them come, and once more when the interpreter ends, was 0.45 of the 1.55 CPU seconds of `import torch`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused(*, to_the_end: bool = False) -> Iterator[None]:
    """No collection inside (or in a decorated function). Not where models are let go: one may need it to be freed.

    `to_the_end`: what is alive at the end is not looked at afterwards either; for a command that is then done, and that
    opens no database (DuckDB's classes tell of everything of theirs that the interpreter's end does not free).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if to_the_end:
            gc.freeze()
        if was_on:
            gc.enable()
