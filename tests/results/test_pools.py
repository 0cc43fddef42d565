"""Pools: one name, one content; labels are computed once, and survive a kill batch by batch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.pools import PoolRecord, PoolRow, extend_pool, load_pool, pending, pool_names, save_pool
from results.records import StoreError
from results.store import Store


def _pool(count: int = 4, name: str = "p", label: bool | None = True) -> PoolRecord:
    rows = [PoolRow(str(i // 2), i % 2, f"text {i}", "model", label, "7", "found") for i in range(count)]
    return PoolRecord("gsm8k_bon", name, rows, {"location": "file"}, {"temperature": "1"})


def test_a_pool_comes_back_as_it_was(store: Store) -> None:
    save_pool(store, _pool())
    found = load_pool(store, "gsm8k_bon", "p")
    assert found == _pool()
    assert load_pool(store, "mbpp_bon", "p") is None


def test_the_same_responses_under_the_same_name_are_relabelled(store: Store) -> None:
    save_pool(store, _pool(label=None))
    save_pool(store, _pool(label=False))
    assert load_pool(store, "gsm8k_bon", "p") == _pool(label=False)
    assert pool_names(store, "gsm8k_bon") == ["p"]


@pytest.mark.parametrize(
    "other", [_pool(2), _pool(6), replace(_pool(), rows=[*_pool().rows[:3], replace(_pool().rows[3], text="x")])]
)
def test_other_responses_need_another_name(store: Store, other: PoolRecord) -> None:
    save_pool(store, _pool())
    for save in (lambda: save_pool(store, other), lambda: extend_pool(store, other, [])):
        with pytest.raises(StoreError, match="another --name"):
            save()
    assert load_pool(store, "gsm8k_bon", "p") == _pool()


def test_an_interrupted_pool_is_not_used_and_goes_on_where_it_stopped(store: Store) -> None:
    pool = _pool(6)

    def stops():  # type: ignore[no-untyped-def]
        yield pool.rows[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend_pool(store, pool, stops())
    assert pool_names(store, "gsm8k_bon") == []
    assert load_pool(store, "gsm8k_bon", "p") is None
    left = pending(store, pool)
    assert left == pool.rows[2:]
    assert extend_pool(store, pool, [left[:2], left[2:]]) == 4
    assert pending(store, pool) == []
    assert load_pool(store, "gsm8k_bon", "p") == pool


def test_unknown_labels_are_tried_again_and_known_ones_are_kept(store: Store) -> None:
    pool = _pool(4, label=None)
    save_pool(
        store, replace(pool, rows=[replace(row, correct=True if i < 2 else None) for i, row in enumerate(pool.rows)])
    )
    left = pending(store, pool)
    assert [row.example_id for row in left] == ["1", "1"]
    extend_pool(store, pool, [[replace(row, correct=False) for row in left]])
    found = load_pool(store, "gsm8k_bon", "p")
    assert found is not None
    assert [row.correct for row in found.rows] == [True, True, False, False]


def test_a_pool_that_lacks_responses_is_not_finished(store: Store) -> None:
    pool = _pool(6)
    with pytest.raises(StoreError, match="2 of 6 responses"):
        extend_pool(store, pool, [pool.rows[:2]])
    assert pool_names(store, "gsm8k_bon") == []


def test_broken_unicode_in_a_response_is_kept_readable(store: Store) -> None:
    rows = [PoolRow("0", 0, "half \ud83d", "m", None, None, "")]
    for _ in range(2):
        save_pool(store, PoolRecord("gsm8k_bon", "p", rows, {}))
    found = load_pool(store, "gsm8k_bon", "p")
    assert found is not None
    assert found.rows[0].text == "half \\ud83d"
