"""A batch of groups as one packed row of tokens: all prefixes first, then every response.

    tokens   P1 P2 ... Pn | B11 B12 ... B1k B21 ... | padding
    keys     a prefix token sees its prefix causally; a response token sees its prefix whole and itself causally

Rows are padded to a multiple of `multiple`: a matrix product with one to three rows takes another kernel on CPU and
gives other bits than the same row among many (docs/scoring.md), and a GPU likes one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from harness.scoring._batching import Batch, Branch, Group

Rows = Callable[[Group, Branch], Sequence[int]]
"""Which positions of a sequence are read, ascending; a position below len(prefix) is a token of the prompt."""


@dataclass(frozen=True, slots=True)
class Span:
    """Queries `q` (half-open rows) at offsets `at` of the own keys `k` (None: all of them), after the keys `p`."""

    q: tuple[int, int]
    k: tuple[int, int]
    p: tuple[int, int] = (0, 0)
    at: tuple[int, ...] | None = None


@dataclass(slots=True, eq=False)
class Attention:
    """Who attends to whom in one layer: `rows` queries (padding included) in spans over one set of keys."""

    spans: list[Span]
    rows: int
    keys: int
    shared: int  # of the spans, those with a prefix: they come in group order, before the others
    device: torch.device
    cache: dict[Any, Any] = field(default_factory=dict)  # kernels keep index tensors and masks here, one batch long


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A packed batch. `read` are the rows whose hidden states are wanted; branch i's are `read[where[i]]`."""

    ids: torch.Tensor  # (1, T) int64
    positions: torch.Tensor  # (1, T) int64
    full: Attention
    pooled: Attention  # of the last layer: only the rows that are read
    read: torch.Tensor  # (R,) int64, padded
    where: list[list[int]]

    @property
    def tokens(self) -> int:
        return int(self.ids.shape[1])


def padded(size: int, multiple: int) -> int:
    """`size` rounded up to a multiple, at least one multiple."""
    return max(multiple, -(-size // multiple) * multiple)


def pack(batch: Batch, rows: Rows, device: torch.device, multiple: int, read_multiple: int = 16) -> Layout:
    """Lay out a batch. Branch order of `where` is the batch's own: groups in order, branches in order."""
    order = sorted(range(len(batch)), key=lambda i: len(batch[i].prefix) == 0)  # stable: prefixless groups last
    pieces = [batch[i].prefix for i in order] + [b.suffix for i in order for b in batch[i].branches]
    starts = np.cumsum([0, *map(len, pieces)])
    prefix_at = {i: (int(starts[n]), int(starts[n + 1])) for n, i in enumerate(order)}
    spans = [Span(prefix_at[i], prefix_at[i]) for i in order if len(batch[i].prefix)]
    positions = [np.arange(len(batch[i].prefix)) for i in order]
    reading = _Reading(spans)
    number = len(order)
    for i in order:
        group = batch[i]
        for j, branch in enumerate(group.branches):
            own = int(starts[number]), int(starts[number + 1])
            spans.append(Span(own, own, prefix_at[i] if len(group.prefix) else (0, 0)))
            positions.append(len(group.prefix) + np.arange(len(branch.suffix)))
            reading.add((i, j), len(spans) - 1, prefix_at[i], own, rows(group, branch))
            number += 1
    real = int(starts[-1])
    total = padded(real, multiple)
    shared = sum(1 for span in spans if span.p[1] > span.p[0])
    pooled, read, where = reading.finish(total, shared, device, read_multiple)
    return Layout(
        ids=_row(pieces, total, device),
        positions=_row(positions, total, device),
        full=Attention(spans, total, total, shared, device),
        pooled=pooled,
        read=read,
        where=[where[i, j] for i, group in enumerate(batch) for j in range(len(group.branches))],
    )


def _row(pieces: Sequence[Any], total: int, device: torch.device) -> torch.Tensor:
    row = np.zeros(total, dtype=np.int64)  # any id pads: nothing attends to it
    joined = np.concatenate(pieces)
    row[: len(joined)] = joined
    tensor = torch.from_numpy(row)[None]
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


class _Reading:
    """Collects the rows that are read, span by span, and finds each branch's among them."""

    def __init__(self, spans: list[Span]) -> None:
        self._spans = spans
        self._wanted: dict[int, set[int]] = {}  # span -> offsets
        self._asked: dict[tuple[int, int], list[tuple[int, int]]] = {}  # branch -> (span, offset), in reading order
        self._of_prefix = {span.q: number for number, span in enumerate(spans)}

    def add(
        self, branch: tuple[int, int], span: int, prefix: tuple[int, int], own: tuple[int, int], at: Sequence[int]
    ) -> None:
        length = prefix[1] - prefix[0]
        asked = [(self._of_prefix[prefix], n) if n < length else (span, n - length) for n in at]
        if any(offset >= own[1] - own[0] for number, offset in asked if number == span):
            raise IndexError("a row beyond the sequence's end was asked for")
        self._asked[branch] = asked
        for number, offset in asked:
            self._wanted.setdefault(number, set()).add(offset)

    def finish(
        self, keys: int, shared: int, device: torch.device, multiple: int
    ) -> tuple[Attention, torch.Tensor, dict[tuple[int, int], list[int]]]:
        spans: list[Span] = []
        read: list[int] = []
        place: dict[tuple[int, int], int] = {}
        for number in sorted(self._wanted):
            span, offsets = self._spans[number], sorted(self._wanted[number])
            place.update({(number, offset): len(read) + n for n, offset in enumerate(offsets)})
            spans.append(Span((len(read), len(read) + len(offsets)), span.k, span.p, tuple(offsets)))
            read += [span.k[0] + offset for offset in offsets]
        rows = padded(len(read), multiple)
        tensor = torch.tensor([*read, *[0] * (rows - len(read))], device=device)
        where = {branch: [place[one] for one in asked] for branch, asked in self._asked.items()}
        return Attention(spans, rows, keys, shared, device), tensor, where
