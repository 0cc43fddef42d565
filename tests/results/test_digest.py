"""The digest: equal for equal content, different for every difference that matters."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from stored import dataset, example, fill, rewards

from results.digest import digest
from results.pools import PoolRecord, PoolRow, save_pool
from results.records import CandidateRecord, ProtocolRecord
from results.store import Store, open_store

Change = Callable[[Store], object]


def _of(path: Path, *changes: Change) -> str:
    with open_store(path) as store:
        for change in changes:
            change(store)
        return digest(store).total


def _pool(correct: bool | None = True, reason: str = "") -> PoolRecord:
    return PoolRecord("gsm8k_bon", "p", [PoolRow("0", 0, "text", "m", correct, "1", reason)], {"location": "here"})


def test_order_keys_names_times_and_places_do_not_count(tmp_path: Path) -> None:
    def forwards(store: Store) -> None:
        for name in ("a", "b"):
            fill(store, dataset(), name)

    def backwards(store: Store) -> None:
        store.add_dataset(dataset(examples=[example(2), example(1)]))  # other keys for everything after it
        store.sql.execute("DELETE FROM dataset_examples; DELETE FROM datasets")
        for name in ("b", "a"):
            candidate = store.add_candidate(CandidateRecord(f"id of {name}", f"renamed {name}", "checkpoint"))
            protocol = store.add_protocol(ProtocolRecord({"backend": "fake"}))
            data = store.add_dataset(replace(dataset(), sources=[{"location": "moved"}]))
            run = store.start_run(candidate, protocol, data, store.add_environment({"by": name}), seed=1, command="x")
            rows = rewards(dataset())
            random.Random(0).shuffle(rows)
            for row in rows:
                store.add_rewards(candidate, protocol, [row])
            store.finish_run(run, "complete")

    assert _of(tmp_path / "a.duckdb", forwards) == _of(tmp_path / "b.duckdb", backwards)


def _first(store: Store) -> None:
    fill(store, dataset())
    save_pool(store, _pool())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE rewards SET reward = reward + 1e-12 WHERE example = 1 AND response = 1",
        "DELETE FROM rewards WHERE example = 1 AND response = 1",
        "UPDATE rewards SET reward = NULL, reason = 'failed' WHERE example = 1 AND response = 0",
        "UPDATE rewards SET cut = true WHERE example = 1",
        "UPDATE examples SET prompt = '[]' WHERE key = 1",
        "UPDATE examples SET responses = ['a', 'b'] WHERE key = 1",
        "UPDATE dataset_examples SET labels = [0, 1] WHERE position = 0",
        "UPDATE dataset_examples SET weight = 2 WHERE position = 0",
        "UPDATE runs SET status = 'failed'",
        "UPDATE pool_responses SET correct = NULL",
        "UPDATE pool_responses SET text = 'x'",
        "INSERT INTO other_rewards VALUES (1, 1, 1, 0, 7)",
        "UPDATE protocols SET settings = '{}'",
    ],
)
def test_every_difference_in_content_counts(tmp_path: Path, change: str) -> None:
    first = _of(tmp_path / "h.duckdb", _first)
    assert _of(tmp_path / "h.duckdb") == first
    assert _of(tmp_path / "h.duckdb", lambda store: store.sql.execute(change)) != first


@pytest.mark.parametrize(
    "change",
    ["UPDATE candidates SET name = 'x'", "UPDATE runs SET started = now()::TIMESTAMP, command = 'x', reason = 'x'",
     "UPDATE datasets SET sources = '[]'", "UPDATE pool_responses SET reason = 'after 5.1 s'", "DELETE FROM sessions",
     "UPDATE rewards SET reward = -0.0 WHERE reward = 0"],
)  # fmt: skip
def test_what_is_recorded_beside_the_content_does_not_count(tmp_path: Path, change: str) -> None:
    first = _of(tmp_path / "h.duckdb", _first)
    assert _of(tmp_path / "h.duckdb", lambda store: store.sql.execute(change)) == first


def test_the_parts_say_where_two_databases_differ(store: Store) -> None:
    fill(store, dataset())
    before = digest(store)
    store.add_dataset(dataset(examples=[example(7)]))
    after = digest(store)
    assert {name for name in before.parts if before.parts[name] != after.parts[name]} == {"examples", "datasets"}
    assert (after.counts["examples"], after.counts["rewards"]) == (4, 6)


def test_an_empty_database_has_a_digest(store: Store) -> None:
    assert len(digest(store).total) == 64
