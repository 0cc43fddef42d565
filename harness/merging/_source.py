"""Where parents' bytes come from: positioned reads into reused buffers (folders), or memory maps (live models)."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from harness.errors import CandidateError
from harness.merging._checkpoint import ITEM_SIZE, TensorRef
from harness.merging._kernel import DTYPES, Stream


class Buffers(threading.local):
    """Reused memory, one set for each thread: fresh pages cost more than the arithmetic done in them."""

    def __init__(self) -> None:
        self._slots: dict[int, Tensor] = {}
        self._views: dict[tuple[int, int, str], tuple[Tensor, memoryview]] = {}

    def get(self, slot: int, nbytes: int, dtype: str) -> tuple[Tensor, memoryview]:
        """`nbytes` as flat elements of a safetensors dtype and as bytes; the same memory at each call for a slot."""
        key = slot, nbytes, dtype
        if key not in self._views:
            if slot not in self._slots or self._slots[slot].numel() < nbytes:
                self._slots[slot] = torch.empty(nbytes, dtype=torch.uint8)
                self._views = {known: value for known, value in self._views.items() if known[0] != slot}
            raw = self._slots[slot][:nbytes]
            array: Any = raw.numpy()
            self._views[key] = raw.view(DTYPES[dtype]), memoryview(array)
        return self._views[key]


class FileSource:
    """Reads with pread. With `digests`, each tensor that is read through in order is hashed on the way."""

    chunk = direct_chunk = 1 << 19  # parents and result stay in the processor's cache; fewer turns at Python's lock

    def __init__(self, hashed: frozenset[Path] = frozenset()) -> None:
        """`hashed`: the files whose tensors' digests are wanted."""
        self._files: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._buffers = Buffers()
        self._hashed = hashed
        self.digests: dict[tuple[Path, str], str] = {}

    def open(self, ref: TensorRef, slot: int) -> Stream:
        with self._lock:
            if ref.path not in self._files:
                self._files[ref.path] = os.open(ref.path, os.O_RDONLY)
        return _FileStream(self, ref, self._files[ref.path], slot, self._buffers, ref.path in self._hashed)

    def close(self) -> None:
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()


class _FileStream:
    def __init__(
        self, source: FileSource, ref: TensorRef, file: int, slot: int, buffers: Buffers, hashed: bool
    ) -> None:
        self._source, self._ref, self._file, self._slot, self._buffers = source, ref, file, slot, buffers
        self._size = ITEM_SIZE[ref.dtype]
        self._hash = xxhash.xxh3_128() if hashed else None
        self._at = 0  # bytes hashed so far

    def read(self, start: int, stop: int) -> Tensor:
        values, block = self._buffers.get(self._slot, (stop - start) * self._size, self._ref.dtype)
        self._fill(block, start * self._size)
        return values

    def gather(self, rows: Tensor) -> Tensor:
        width = self._ref.numel // max(1, self._ref.shape[0]) * self._size
        values, block = self._buffers.get(self._slot, len(rows) * width, self._ref.dtype)
        edges = [0, *((rows.diff() != 1).nonzero().flatten() + 1).tolist(), len(rows)]
        starts = rows[torch.tensor(edges[:-1])].tolist()
        for first, last, row in zip(edges, edges[1:], starts, strict=False):
            self._fill(block[first * width : last * width], row * width)
        return values.view(len(rows), -1)

    def _fill(self, block: memoryview, offset: int) -> None:
        done = 0
        while done < len(block):
            count = os.preadv(self._file, [block[done:]], self._ref.offset + offset + done)
            if not count:
                raise CandidateError(f"{self._ref.path}: became shorter while it was read")
            done += count
        if self._hash is not None and offset == self._at:
            self._hash.update(block)
            self._at += len(block)
            if self._at == self._ref.nbytes:
                self._source.digests[self._ref.path, self._ref.name] = self._hash.hexdigest()


class MappedSource:
    """Memory maps: nothing is copied, and the page cache is shared with everyone who reads the files."""

    chunk = 1 << 20  # temporaries in float32 stay in the cache
    direct_chunk = 1 << 24  # no temporaries; each chunk wakes torch's threads, which 1 << 20 pays for with half a pass

    def __init__(self) -> None:
        self._maps: dict[Path, mmap.mmap] = {}

    def open(self, ref: TensorRef, slot: int) -> Stream:  # noqa: ARG002  maps need no buffer
        if ref.path not in self._maps:
            with ref.path.open("rb") as file:
                # Copy-on-write, never written: torch wants writable memory and warns otherwise.
                self._maps[ref.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return MemoryStream(tensor_at(self._maps[ref.path], ref))


class MemoryStream:
    """A tensor that is in memory already, on any device."""

    def __init__(self, whole: Tensor) -> None:
        self._flat = whole.reshape(-1)
        self._rows = whole.reshape(whole.shape[0], -1) if whole.dim() else whole.reshape(1, 1)

    def read(self, start: int, stop: int) -> Tensor:
        return self._flat[start:stop]

    def gather(self, rows: Tensor) -> Tensor:
        count = len(rows)
        if count and int(rows[-1]) - int(rows[0]) == count - 1 and bool((rows.diff() == 1).all()):
            return self._rows[int(rows[0]) : int(rows[0]) + count]  # a view: the usual case copies nothing
        return self._rows[rows.to(self._rows.device)]


def tensor_at(memory: mmap.mmap, ref: TensorRef) -> Tensor:
    """The tensor `ref` inside a mapped file."""
    if not ref.numel:
        return torch.empty(ref.shape, dtype=DTYPES[ref.dtype])
    return torch.frombuffer(memory, dtype=DTYPES[ref.dtype], count=ref.numel, offset=ref.offset).view(ref.shape)
