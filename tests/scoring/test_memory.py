"""Out of memory: halve, lose nothing, grow back; one sequence that does not fit is one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.errors import RunFailed
from harness.scoring._batching import Batch, Branch, Group
from harness.scoring._memory import GROW_AFTER, Guard, auto_budget


def batch(*sizes: int) -> Batch:
    """One group a sequence, each of so many tokens."""
    return [Group(np.zeros(0, np.int32), (Branch(np.zeros(n, np.int32), (i,)),)) for i, n in enumerate(sizes)]


class Device:
    """Fits `limit` tokens; a sequence's value is its length."""

    def __init__(self, limit: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.limit, self.error = limit, error
        self.tried: list[int] = []

    def __call__(self, some: Batch, _budget: int) -> torch.Tensor:
        size = sum(group.tokens for group in some)
        self.tried.append(size)
        if size > self.limit:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate much")
        return torch.tensor([float(group.tokens) for group in some])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_run_in_pieces_with_values_in_order(error: type[Exception]) -> None:
    device, guard = Device(20, error), Guard(64)
    assert guard.run(batch(16, 15, 14, 13, 6), device).tolist() == [16, 15, 14, 13, 6]
    assert device.tried == [64, 31, 16, 15, 33, 14, 19]  # every piece once; no finished one is run again
    assert guard.now < guard.planned


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc"),
                                   RuntimeError("could not create a primitive")])  # fmt: skip
def test_whoever_asked_for_memory_in_vain_it_is_out_of_memory(error: Exception) -> None:
    """What Python, C++ and oneDNN raise where address space ends (seen under RLIMIT_AS); the last says no more."""

    def device(some: Batch, _budget: int) -> torch.Tensor:
        if sum(group.tokens for group in some) > 20:
            raise error
        return torch.tensor([float(group.tokens) for group in some])

    assert Guard(64).run(batch(16, 15, 14), device).tolist() == [16, 15, 14]
    with pytest.raises(RunFailed, match=rf"one sequence of 30 tokens: .* \({str(error) or 'MemoryError'}\)$"):
        Guard(64).run(batch(30), device)


def test_the_next_batches_are_smaller_and_grow_back() -> None:
    device, guard = Device(40), Guard(64)
    guard.run(batch(30, 30), device)
    assert guard.now == 32
    device.tried.clear()
    guard.run(batch(20, 20, 20), device)
    assert max(device.tried) <= 40
    device.limit = 1000
    for _ in range(GROW_AFTER):
        guard.run(batch(5), device)
    assert guard.now == guard.planned


def test_one_sequence_that_does_not_fit_stops_the_run_in_one_sentence() -> None:
    with pytest.raises(RunFailed, match="out of memory on one sequence of 99 tokens: --max-length cuts it"):
        Guard(128).run(batch(99), Device(10))


def test_other_errors_are_not_taken_for_memory() -> None:
    def broken(_batch: Batch, _budget: int) -> torch.Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        Guard(8).run(batch(4), broken)


def test_the_budget_on_cpu_is_the_measured_one() -> None:
    assert auto_budget(None, torch.device("cpu"), torch.float32) == 2048
