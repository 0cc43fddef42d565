"""A folder that appears whole or not at all: written beside its place, synced, renamed; leftovers are swept.

A temporary folder is locked while its writer lives, so what a killed process left behind can be told from what
another process is writing, and the next merge beside it removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import MergeError

_MARK = ".merging-"


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`; on success it becomes `out`, on any error nothing is left.

    Raises MergeError where `out` exists or its place cannot be written to, or when the disk is full.
    """
    with _told(out):
        if out.exists() or out.is_symlink():
            raise MergeError(f"{out}: exists already; choose another output folder or remove it")
        if any(path.exists() and not path.is_dir() for path in out.parents):
            raise MergeError(f"{out}: cannot be made: a part of its path is a file")
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _locked_sibling(out)
    try:
        with _told(out):
            yield temporary
            _sync(temporary)
            temporary.rename(out)
            _sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _locked_sibling(out: Path) -> tuple[Path, int]:
    """Make and lock the temporary folder. The parent is locked meanwhile, so that no one sweeps it unlocked."""
    parent = os.open(out.parent, os.O_RDONLY)
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        _sweep(out.parent)
        temporary = out.parent / f".{out.name}{_MARK}{secrets.token_hex(6)}"
        temporary.mkdir()
        try:
            lock = os.open(temporary, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return temporary, lock
    finally:
        os.close(parent)


def _sweep(folder: Path) -> None:
    """Remove temporary folders whose writer is gone."""
    for left in folder.glob(f".*{_MARK}*"):
        with contextlib.suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


@contextlib.contextmanager
def _told(out: Path) -> Iterator[None]:
    """System errors about the output, as sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(out.parent).free / 1e9
                raise MergeError(f"{out}: the disk is full ({free:.2f} GB are free there)") from None
            raise MergeError(f"{out}: the disk is full") from None
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and out.exists():
            raise MergeError(f"{out}: was made by someone else meanwhile; choose another output folder") from None
        raise MergeError(f"{out}: cannot be written: {error.strerror or error}") from None


def start_writeback(file: int, offset: int, count: int) -> None:
    """Ask for these bytes to go to the disk now, without waiting: the sync at the end then finds little left.

    A hint: where the system has no such call, the sync does all of it.
    """
    call = _sync_file_range()
    if call is not None:
        call(file, offset, count, 2)  # SYNC_FILE_RANGE_WRITE


@functools.cache
def _sync_file_range() -> Any:
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux only, and not in Python's os
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
