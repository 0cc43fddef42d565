"""Token ids of windows of requests: begun while the model is busy with the last window, encoded once for a sweep.

What is kept for the next lambda lies in a file without a name: no more than two windows are in memory.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xxhash

from harness.scoring._batching import Encoded
from harness.scoring._types import Request

Encode = Callable[[Sequence[Request]], list[Encoded]]


class Texts:
    """Remembers what `encode` made of each window, known again by its texts, if `kept` (a sweep asks again)."""

    def __init__(self, encode: Encode, *, kept: bool) -> None:
        self._encode = encode
        self._kept = _Kept() if kept else None
        self._coming: dict[bytes, Future[list[Encoded]]] = {}  # at most one
        self._thread: ThreadPoolExecutor | None = None

    def of(self, requests: Sequence[Request]) -> list[Encoded]:
        """Waits for what `ahead` began, encodes what is not there; raises what `encode` raises."""
        key = _digest(requests)
        if self._kept is not None and key in self._kept:
            return self._kept.read(key)
        coming = self._coming.pop(key, None)
        encoded = self._encode(requests) if coming is None else coming.result()
        if self._kept is not None:
            self._kept.write(key, encoded)
        return encoded

    def ahead(self, requests: Sequence[Request]) -> None:
        """Begin to encode in the background what will be asked for next (tokenisers let other threads run)."""
        key = _digest(requests)
        if key in self._coming or (self._kept is not None and key in self._kept):
            return
        self._thread = self._thread or ThreadPoolExecutor(1, "tokenise")
        self._coming = {key: self._thread.submit(self._encode, requests)}


class _Kept:
    """Token ids on disk, as long as this process lives. A full disk keeps no more: that is encoded again."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._places: dict[bytes, tuple[int, int, int]] = {}  # where, sequences, tokens
        self._end = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def write(self, key: bytes, encoded: Sequence[Encoded]) -> None:
        about = np.array([(len(e.ids), e.split, e.cut) for e in encoded], dtype=np.int32).reshape(-1, 3)
        data = np.concatenate([about.ravel(), *(e.ids for e in encoded)])
        try:
            if self._file is None:
                self._file = _nameless()
                weakref.finalize(self, os.close, self._file)
            if os.pwrite(self._file, data.data, self._end) != data.nbytes:
                return
        except OSError:
            return
        self._places[key] = self._end, len(about), len(data) - about.size
        self._end += data.nbytes

    def read(self, key: bytes) -> list[Encoded]:
        assert self._file is not None, "it was written"
        where, sequences, tokens = self._places[key]
        data = np.empty(3 * sequences + tokens, dtype=np.int32)
        if os.preadv(self._file, [data.data], where) != data.nbytes:
            raise OSError("the temporary file of token ids was cut short")
        about = data[: 3 * sequences].reshape(-1, 3)
        ends = 3 * sequences + np.cumsum(about[:, 0])
        return [
            Encoded(data[end - length : end], split, bool(cut))
            for end, (length, split, cut) in zip(ends.tolist(), about.tolist(), strict=True)
        ]


def _nameless() -> int:
    """A new file that goes with the last who has it open, however the process ends."""
    file, path = tempfile.mkstemp(prefix="harness-tokens-")
    Path(path).unlink()
    return file


def _digest(requests: Sequence[Request]) -> bytes:
    """Stands, in this process, for all that an encoder reads of them and for their order."""
    return xxhash.xxh3_128_digest(array("q", (hash((r.prompt, r.text)) for r in requests)).tobytes())
