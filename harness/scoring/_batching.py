"""Planning batches: pure, no torch. Each sequence once, each prompt once for its responses, long ones first.

A sequence is split by its encoder into a prefix (its prompt) and a suffix (its response). The split depends on the
sequence alone, never on its neighbours, so that a reward does not depend on who shares the prompt. Sequences with the
same prefix form a group; a batch is a list of groups of at most `budget` tokens. The plan depends on the sequences
and the budget only. Longest first: the worst memory use shows at once, and the time left is over-estimated, never
under-estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A sequence as scored: its last token is pooled. `ids[:split]` is its prompt, 0 <= split < len(ids)."""

    ids: Ids
    split: int
    cut: bool  # tokens were dropped to fit the longest length


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One distinct sequence of a group: its suffix, and the requests (indices) that asked for it."""

    suffix: Ids
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Sequences that share a prefix."""

    prefix: Ids
    branches: tuple[Branch, ...]

    @property
    def tokens(self) -> int:
        """Tokens computed for it: the prefix once, every suffix."""
        return len(self.prefix) + sum(len(branch.suffix) for branch in self.branches)

    @property
    def longest(self) -> int:
        return len(self.prefix) + max(len(branch.suffix) for branch in self.branches)


Batch = list[Group]


def groups(sequences: Sequence[Encoded]) -> list[Group]:
    """Distinct sequences by shared prefix, both in first-seen order. Their ids are views: nothing is copied."""
    members: dict[tuple[bytes, bytes], list[int]] = {}
    by_prefix: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for index, sequence in enumerate(sequences):
        key = _digest(sequence.ids[: sequence.split]), _digest(sequence.ids[sequence.split :])
        if key not in members:
            by_prefix.setdefault(key[0], []).append(key)
        members.setdefault(key, []).append(index)
    return [_group(sequences, [members[key] for key in keys]) for keys in by_prefix.values()]


def _digest(ids: Ids) -> bytes:
    """Stands for the ids: 128 bits of a sequence, instead of a second copy of all."""
    return xxhash.xxh3_128_digest(np.ascontiguousarray(ids).data)


def _group(sequences: Sequence[Encoded], asked: Sequence[list[int]]) -> Group:
    """`asked`: for each distinct sequence with this prefix, the indices of those that are equal to it."""
    first = sequences[asked[0][0]]
    equal = [(sequences[indices[0]], tuple(indices)) for indices in asked]
    return Group(first.ids[: first.split], tuple(Branch(one.ids[one.split :], indices) for one, indices in equal))


def split_group(group: Group, budget: int) -> Iterator[Group]:
    """The group in pieces of at most `budget` tokens, each with its own copy of the prefix."""
    piece: list[Branch] = []
    size = len(group.prefix)
    for branch in sorted(group.branches, key=lambda b: -len(b.suffix)):
        if piece and size + len(branch.suffix) > budget:
            yield Group(group.prefix, tuple(piece))
            piece, size = [], len(group.prefix)
        piece.append(branch)
        size += len(branch.suffix)
    yield Group(group.prefix, tuple(piece))


def packed_batches(found: Iterable[Group], budget: int) -> Iterator[Batch]:
    """Batches of groups of at most `budget` tokens, longest first; a sequence above the budget is a batch alone."""
    batch: Batch = []
    size = 0
    for group in sorted(_pieces(found, budget), key=lambda g: -g.longest):
        if batch and size + group.tokens > budget:
            yield batch
            batch, size = [], 0
        batch.append(group)
        size += group.tokens
    if batch:
        yield batch


def _pieces(found: Iterable[Group], budget: int) -> Iterator[Group]:
    """Groups that fit; prefixless sequences have nothing to share and may stand apart."""
    for group in found:
        if len(group.prefix) == 0:
            yield from (Group(group.prefix, (branch,)) for branch in group.branches)
        elif group.tokens > budget:
            yield from split_group(group, budget)
        else:
            yield group


def halves(batch: Batch) -> tuple[Batch, Batch] | None:
    """The batch in two parts of about equal size, or None when it is one sequence."""
    if len(batch) == 1:
        group = batch[0]
        if len(group.branches) == 1:
            return None
        middle = len(group.branches) // 2
        return [Group(group.prefix, group.branches[:middle])], [Group(group.prefix, group.branches[middle:])]
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def bucket(length: int) -> int:
    """Padded length of a sequence in padded batches: a function of its own length, at most an eighth more.

    Sequences of one bucket only share a batch, so that neighbours never change the shape a sequence is computed in.
    """
    step = max(16, 1 << max(0, (length - 1).bit_length() - 4))
    return -(-length // step) * step


def padded_batches(found: Iterable[Group], budget: int) -> Iterator[Batch]:
    """Batches without sharing, one bucket each, of at most `budget` padded tokens, longest first."""
    single = [Group(g.prefix, (branch,)) for g in found for branch in g.branches]
    by_bucket: dict[int, list[Group]] = {}
    for group in single:
        by_bucket.setdefault(bucket(group.tokens), []).append(group)
    for size in sorted(by_bucket, reverse=True):
        rows = max(1, budget // size)
        same = by_bucket[size]
        for start in range(0, len(same), rows):
            yield same[start : start + rows]


def members(batch: Batch) -> list[int]:
    """The requests whose rewards a batch gives."""
    return [index for group in batch for branch in group.branches for index in branch.members]
