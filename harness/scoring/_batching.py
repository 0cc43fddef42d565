"""Planning batches: pure, no torch. Identical sequences are scored once; long ones go first (the worst memory
use shows at once and the estimate of the time left is pessimistic, never optimistic)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def distinct(sequences: Sequence[T]) -> tuple[list[T], list[int]]:
    """Distinct sequences in first-seen order, and for each input its index among them."""
    index: dict[T, int] = {}
    places = [index.setdefault(sequence, len(index)) for sequence in sequences]
    return list(index), places


def budget_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of at most `budget` padded tokens (rows x longest), longest first.

    A sequence longer than the budget is a batch of its own. Every index appears exactly once; ties keep input
    order, so that the plan depends on nothing but lengths and budget.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows
