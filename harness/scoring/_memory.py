"""How many tokens a batch may have: found for each model, halved when memory runs out, grown back later.

What had been planned is kept: a batch that does not fit is run in pieces, and no finished piece is lost.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from harness.errors import RunFailed
from harness.scoring._batching import Batch, halves

CPU_TOKENS, GPU_TOKENS = 2048, 16384  # larger ones gain nothing (measured: docs/scoring.md)
GROW_AFTER = 16  # pieces without trouble before a halved budget is doubled again

Forward = Callable[[Batch, int], torch.Tensor]


def auto_budget(config: Any, device: torch.device, dtype: torch.dtype) -> int:
    """Tokens a batch: the useful number, or what fits into half of the GPU's free memory if that is less.

    A token takes about ten hidden vectors, three of the MLP's and its keys, queries and values at the same time.
    """
    if device.type == "cpu":
        return CPU_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    hidden = int(getattr(config, "hidden_size", 4096))
    wide = int(getattr(config, "intermediate_size", 4 * hidden))
    per_token = dtype.itemsize * (14 * hidden + 3 * wide)
    fits = free // 2 // per_token
    return max(512, min(GPU_TOKENS, 1 << (int(fits).bit_length() - 1 if fits else 0)))


class Guard:
    """Runs batches within the memory there is. `now` is the number of tokens allowed at this moment."""

    def __init__(self, planned: int) -> None:
        self.planned = self.now = planned
        self._calm = 0

    def run(self, batch: Batch, forward: Forward) -> torch.Tensor:
        """Values of all branches, groups in order. Raises RunFailed when one sequence alone does not fit."""
        return torch.cat([self._piece(piece, forward) for piece in self._pieces(batch)])

    def _pieces(self, batch: Batch) -> Iterator[Batch]:
        parts = None if self.now >= self.planned or sum(g.tokens for g in batch) <= self.now else halves(batch)
        if parts is None:
            yield batch
        else:
            for part in parts:
                yield from self._pieces(part)

    def _piece(self, batch: Batch, forward: Forward) -> torch.Tensor:
        try:
            values = forward(batch, self.planned)
        except (RuntimeError, MemoryError) as error:
            if not _is_memory(error):
                raise
            said = str(error).partition("\n")[0] or type(error).__name__
        else:
            self._grow()
            return values
        # outside of the except block: while it is active its traceback keeps the failed batch's tensors alive
        self._shrink()
        parts = halves(batch)
        if parts is None:
            raise RunFailed(
                f"out of memory on one sequence of {batch[0].tokens} tokens: --max-length cuts it,"
                f" --dtype bfloat16 halves what it takes ({said})"
            )
        return torch.cat([self._piece(part, forward) for part in parts])

    def _grow(self) -> None:
        self._calm += 1
        if self.now < self.planned and self._calm >= GROW_AFTER:
            self.now, self._calm = min(self.planned, self.now * 2), 0

    def _shrink(self) -> None:
        self.now, self._calm = max(1, self.now // 2), 0
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_memory(error: Exception) -> bool:
    """CUDA's error has a class of its own; on a CPU it depends on who asked in vain: Python, torch, C++ or oneDNN."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "bad_alloc", "could not create a primitive"))


def used_memory(device: str) -> int:
    """Bytes in use now on the GPU, by whatever process; on a CPU as `peak_memory`."""
    place = torch.device(device)
    if place.type == "cuda":
        free, total = torch.cuda.mem_get_info(place)
        return int(total - free)
    return peak_memory(place)


def peak_memory(device: torch.device) -> int:
    """Bytes: peak allocated on the GPU since the last call, or the largest resident size of this process."""
    if device.type == "cuda":
        peak = int(torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
