"""Write a merged folder: tensors streamed through the kernel into the RM's shard layout, then the small files.

Space is reserved first, so a full disk is known before the work; parents and output are hashed while their bytes
are in the cache anyway, and the disk works from the first block on. Memory use does not depend on the model's size.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from harness._hashing import Digests, file_digests, fold, light_identity, recall, remember, stamp, tensor_digest
from harness.errors import MergeError
from harness.merging._checkpoint import INDEX, ITEM_SIZE, SINGLE
from harness.merging._folder import start_writeback, whole_folder
from harness.merging._kernel import Kernel
from harness.merging._plan import MergePlan, Parent, TensorPlan
from harness.merging._provenance import MERGE_FILE, card, record
from harness.merging._sidecars import write_sidecars
from harness.merging._source import Buffers, FileSource

Progress = Callable[[int, int], None]
"""(bytes written, bytes in all); called from the writing threads, about once a chunk."""


@dataclass(frozen=True)
class MergeReport:
    """What was written."""

    out: Path
    id: str  # the candidate id (merge_identity)
    weights: str  # hash of the output's weights
    nbytes: int
    tokens: dict[str, int]
    seconds: float
    notes: tuple[str, ...] = field(default=())


def write_merge(
    plan: MergePlan, out: Path, *, progress: Progress | None = None, threads: int | None = None
) -> MergeReport:
    """Write the merge to `out`, which appears whole or not at all.

    Raises MergeError: out exists or equals a parent, cannot be written, disk full, NaN in a parent, overflow.
    """
    started = time.perf_counter()
    _refuse(plan, out)
    with whole_folder(out) as folder:
        kernel = Kernel(plan, plan.recipe)
        missing = {path: stamp(path) for path in _parent_files(plan) if recall(path) is None}
        source = FileSource(frozenset(missing))
        sink = FolderSink(plan, folder, progress)
        try:
            sink.reserve()
            _run(kernel, source, sink, threads)
            sink.finish()
        finally:
            source.close()
            sink.close()
        edited = write_sidecars(plan, folder)
        identities = _parent_identities(plan, missing, source.digests)
        weights = fold(sink.digests)
        light = light_identity(folder) if edited else identities["rm"]
        entry = record(plan, plan.recipe, identities, {**light, "weights": weights})
        entry["notes"] += kernel.warnings
        (folder / MERGE_FILE).write_text(json.dumps(entry, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card(entry), encoding="utf-8")
    for name, digests in sink.by_file.items():
        remember(out / name, stamp(out / name), digests)
    seconds = time.perf_counter() - started
    return MergeReport(out, entry["id"], weights, plan.nbytes, entry["tokens"], seconds, tuple(entry["notes"]))


def _refuse(plan: MergePlan, out: Path) -> None:
    if plan.recipe.sweep is not None:
        raise MergeError(f"the recipe sweeps {len(plan.recipe.sweep)} lambdas; one folder holds one: give a lambda")
    place = Path(os.path.realpath(out))  # which takes names that are too long; making the folder will tell
    for parent in plan.parents.values():
        folder = parent.checkpoint.folder.resolve()
        if place == folder or folder in place.parents:
            raise MergeError(f"{out}: the output lies in the input {parent.name}; choose another folder")


def _parent_files(plan: MergePlan) -> list[Path]:
    return list(dict.fromkeys(path for parent in plan.parents.values() for path in parent.checkpoint.files))


def _run(kernel: Kernel, source: FileSource, sink: FolderSink, threads: int | None) -> None:
    """All tensors, the largest first, on a few threads with one torch thread each."""
    before = torch.get_num_threads()
    cores = sorted(os.sched_getaffinity(0))
    workers = threads or min(8, len(cores))
    jobs = sorted(kernel.plan.tensors, key=lambda tensor: -tensor.nbytes)
    # Each thread keeps to its share of the cores: left alone, the kernel puts threads that hand Python's lock to each
    # other on one core, and they run one after the other.
    shares = iter([cores[i::workers] or cores for i in range(workers)])
    pool = ThreadPoolExecutor(workers, initializer=lambda: _settle(next(shares)))
    futures: list[Future[None]] = []
    try:
        futures = [pool.submit(kernel.run, tensor, source, sink) for tensor in jobs]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    finally:
        kernel.stopped = True  # an interrupt or a failed tensor: the others stop at their next chunk
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)


def _settle(cores: list[int]) -> None:
    """A writing thread: one torch thread, its own cores (where the system lets it choose)."""
    torch.set_num_threads(1)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, cores)


def _parent_identities(
    plan: MergePlan, missing: dict[Path, list[Any]], seen: dict[tuple[Path, str], str]
) -> dict[str, dict[str, str]]:
    """Parents' content, completing what the merge has hashed on its way with what it had no need to read."""
    for parent in plan.parents.values():
        for path in parent.checkpoint.files:
            if path in missing and recall(path) is None:
                refs = [ref for ref in parent.checkpoint.tensors.values() if ref.path == path]
                digests: Digests = {
                    ref.name: (ref.dtype, ref.shape, seen.get((path, ref.name)) or tensor_digest(ref)) for ref in refs
                }
                remember(path, missing[path], digests)
                missing[path] = [digests]
    return {role: _identity(parent, missing) for role, parent in plan.parents.items()}


def _identity(parent: Parent, fresh: dict[Path, list[Any]]) -> dict[str, str]:
    digests: Digests = {}
    for path in parent.checkpoint.files:
        known = fresh.get(path)
        digests |= known[0] if known and isinstance(known[0], dict) else file_digests(path)
    return {"weights": fold(digests), **light_identity(parent.checkpoint.folder)}


class FolderSink:
    """Files in the RM's shard layout, reserved at once and filled by pwrite from any thread."""

    def __init__(self, plan: MergePlan, folder: Path, progress: Progress | None) -> None:
        self._plan, self._folder, self._progress = plan, folder, progress
        self._buffers = Buffers()
        self._files: dict[str, int] = {}
        self._places: dict[str, tuple[int, int]] = {}  # tensor -> (file, offset)
        self._hashes = {tensor.name: xxhash.xxh3_128() for tensor in plan.tensors}
        self._file_of: dict[str, str] = {}
        self._written = 0
        self.by_file: dict[str, Digests] = {}

    def reserve(self) -> None:
        """Make all files at their full size, headers written. Raises OSError where the disk is too full."""
        for name, tensors in _layout(self._plan).items():
            self._reserve(name, tensors)

    def _reserve(self, name: str, tensors: list[TensorPlan]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        at = 0
        for tensor in tensors:
            header[tensor.name] = {
                "dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]
            }  # fmt: skip
            at += tensor.nbytes
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        file = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._files[name] = file
        os.posix_fallocate(file, 0, 8 + len(text) + at)
        _write_all(file, memoryview(struct.pack("<Q", len(text)) + text), 0)
        for tensor in tensors:
            self._places[tensor.name] = (file, 8 + len(text) + header[tensor.name]["data_offsets"][0])
            self._file_of[tensor.name] = name

    def window(self, tensor: TensorPlan, start: int, stop: int) -> Tensor:
        return self._block(tensor, start, stop)[0]

    def _block(self, tensor: TensorPlan, start: int, stop: int) -> tuple[Tensor, memoryview]:
        return self._buffers.get(0, (stop - start) * ITEM_SIZE[tensor.dtype], tensor.dtype)

    def commit(self, tensor: TensorPlan, start: int, stop: int, window: Tensor) -> None:  # noqa: ARG002
        """Ranges of one tensor come in order (its hash depends on it); tensors in any order, from any thread."""
        block = self._block(tensor, start, stop)[1]  # the window's own memory: each thread has one
        file, offset = self._places[tensor.name]
        at = offset + start * ITEM_SIZE[tensor.dtype]
        self._hashes[tensor.name].update(block)
        _write_all(file, block, at)
        start_writeback(file, at, len(block))
        if self._progress:
            self._written += len(block)
            self._progress(self._written, self._plan.nbytes)

    def finish(self) -> None:
        """Write the index (where the RM has one); tensors' digests are complete now."""
        for tensor in self._plan.tensors:
            digest = (tensor.dtype, tensor.shape, self._hashes[tensor.name].hexdigest())
            self.by_file.setdefault(self._file_of[tensor.name], {})[tensor.name] = digest
        if list(self._files) == [SINGLE]:
            return
        index = {"metadata": {"total_size": self._plan.nbytes}, "weight_map": self._file_of}
        (self._folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    @property
    def digests(self) -> Digests:
        return {name: digest for digests in self.by_file.values() for name, digest in digests.items()}

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files = {}


def _layout(plan: MergePlan) -> dict[str, list[TensorPlan]]:
    files: dict[str, list[TensorPlan]] = {}
    for tensor in plan.tensors:
        name = tensor.rm.path.name
        if tensor.rm.path.suffix != ".safetensors":  # pytorch_model-00001-of-00002.bin
            name = name.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"
        files.setdefault(name, []).append(tensor)
    return files


def _write_all(file: int, block: memoryview, offset: int) -> None:
    while block:
        count = os.pwrite(file, block, offset)
        block, offset = block[count:], offset + count
