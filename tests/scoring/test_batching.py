"""Plans: every request exactly once, whatever the lengths, duplicates and budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring._batching import (
    Batch,
    Encoded,
    Group,
    bucket,
    groups,
    halves,
    members,
    packed_batches,
    padded_batches,
)

sequences = st.lists(
    st.tuples(st.lists(st.integers(0, 2), max_size=6), st.lists(st.integers(0, 2), min_size=1, max_size=9)), max_size=40
)
budgets = st.integers(1, 60)


def encode(pairs: list[tuple[list[int], list[int]]]) -> list[Encoded]:
    return [Encoded(np.array([*p, *s], dtype=np.int32), len(p), cut=False) for p, s in pairs]


def rebuilt(batch: Batch) -> dict[int, list[int]]:
    """Request -> the ids that the batch scores for it."""
    return {
        i: [*group.prefix.tolist(), *branch.suffix.tolist()]
        for group in batch
        for branch in group.branches
        for i in branch.members
    }


@given(sequences, budgets)
@pytest.mark.parametrize("plan", [packed_batches, padded_batches])
def test_every_request_is_scored_exactly_once_with_its_own_tokens(plan, pairs, budget) -> None:
    encoded = encode(pairs)
    batches = list(plan(groups(encoded), budget))
    asked = [i for batch in batches for i in members(batch)]
    assert sorted(asked) == list(range(len(pairs)))
    for batch in batches:
        for i, ids in rebuilt(batch).items():
            assert ids == encoded[i].ids.tolist()


@given(sequences, budgets)
def test_packed_batches_keep_the_budget_unless_one_sequence_is_longer(pairs, budget) -> None:
    for batch in packed_batches(groups(encode(pairs)), budget):
        single = len(batch) == 1 and len(batch[0].branches) == 1
        assert single or sum(group.tokens for group in batch) <= budget


@given(sequences, budgets)
def test_padded_batches_keep_the_budget_and_hold_one_bucket_each(pairs, budget) -> None:
    for batch in padded_batches(groups(encode(pairs)), budget):
        sizes = {bucket(group.tokens) for group in batch}
        assert len(sizes) == 1
        assert len(batch) == 1 or len(batch) * sizes.pop() <= budget


@given(sequences)
def test_identical_sequences_are_computed_once(pairs) -> None:
    found = groups(encode(pairs))
    assert sum(len(group.branches) for group in found) == len({(tuple(p), tuple(s)) for p, s in pairs})
    assert len(found) == len({tuple(p) for p, _ in pairs})


@given(sequences, budgets)
def test_long_sequences_come_first(pairs, budget) -> None:
    longest = [max(group.longest for group in batch) for batch in packed_batches(groups(encode(pairs)), budget)]
    assert longest == sorted(longest, reverse=True)


@given(sequences, budgets)
def test_the_same_input_gives_the_same_plan(pairs, budget) -> None:
    one, other = ([rebuilt(b) for b in packed_batches(groups(encode(pairs)), budget)] for _ in range(2))
    assert one == other


@given(sequences, budgets)
def test_halves_lose_nothing_and_keep_order(pairs, budget) -> None:
    for batch in packed_batches(groups(encode(pairs)), budget):
        parts = halves(batch)
        if parts is None:
            assert len(batch) == 1
            assert len(batch[0].branches) == 1
        else:
            assert members(parts[0]) + members(parts[1]) == members(batch)
            assert all(members(part) for part in parts)


def test_a_prompt_is_counted_once_for_its_responses() -> None:
    found = groups(encode([([1] * 100, [2] * 10), ([1] * 100, [0] * 20)]))
    assert [group.tokens for group in found] == [130]


def test_buckets_hold_their_length_and_waste_little() -> None:
    for length in range(1, 9000):
        assert length <= bucket(length) <= max(length + 15, length * 9 / 8)
        assert bucket(bucket(length)) == bucket(length)


def test_an_empty_list_needs_no_batch() -> None:
    assert list(packed_batches(groups([]), 10)) == []
    nothing: list[Group] = []
    assert list(padded_batches(nothing, 10)) == []
