"""What the store promises: one row a key, nothing scored twice, a failure is never a score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from stored import dataset, example, fill, rewards

from results import queries
from results._memory import forget_blocks
from results.records import CandidateRecord, ProtocolRecord, RewardRecord, StoreError
from results.store import Store, open_store

KEYS = [example(i).key for i in range(4)]


def _keys(store: Store, count: int = 3) -> tuple[int, int, int]:
    candidate = store.add_candidate(CandidateRecord("id of m", "m", "checkpoint"))
    return candidate, store.add_protocol(ProtocolRecord({"backend": "fake"})), store.add_dataset(dataset(count))


def _count(store: Store, table: str) -> int:
    return int(store.sql.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def test_adding_twice_is_adding_once(store: Store) -> None:
    fill(store, dataset())
    fill(store, dataset())
    tables = ("candidates", "protocols", "environments", "datasets", "runs")
    assert [_count(store, table) for table in tables] == [1] * len(tables)
    assert (_count(store, "examples"), _count(store, "rewards")) == (3, 6)


def test_a_renamed_candidate_keeps_its_rows(store: Store) -> None:
    fill(store, dataset())
    store.add_candidate(CandidateRecord("id of m", "renamed", "checkpoint"))
    assert [(c["name"], c["rewards"]) for c in queries.candidates(store)] == [("renamed", 6)]


def test_a_scored_reward_is_never_overwritten(store: Store) -> None:
    candidate, protocol, _ = _keys(store)
    store.add_rewards(candidate, protocol, rewards(dataset()))
    store.add_rewards(candidate, protocol, rewards(dataset(), offset=100))
    assert sorted(queries.stored_rewards(store, candidate, protocol, KEYS).values()) == [0, 1, 2, 3, 4, 5]
    assert store.sql.execute("SELECT reward FROM rewards ORDER BY 1").fetchall() == [(float(i),) for i in range(6)]


def test_another_protocol_or_candidate_is_scored_anew(store: Store) -> None:
    candidate, protocol, _ = _keys(store)
    store.add_rewards(candidate, protocol, rewards(dataset()))
    other = store.add_protocol(ProtocolRecord({"backend": "fake", "dtype": "bfloat16"}))
    assert queries.stored_rewards(store, candidate, other, KEYS) == {}
    another = store.add_candidate(CandidateRecord("id of n", "m", "checkpoint"))
    assert queries.stored_rewards(store, another, protocol, KEYS) == {}
    assert len({example for example, _ in queries.stored_rewards(store, candidate, protocol, KEYS)}) == 3


def test_a_failed_reward_is_no_score_and_is_replaced(store: Store) -> None:
    candidate, protocol, data = _keys(store, 1)
    key = example(0).key
    store.add_rewards(candidate, protocol, [RewardRecord(key, 0, None, reason="out of memory")])
    assert queries.stored_rewards(store, candidate, protocol, KEYS) == {}
    assert queries.unscored_reason(store, candidate, protocol, data) == "out of memory"
    store.add_rewards(candidate, protocol, [RewardRecord(key, 0, None, reason="still out of memory")])
    assert queries.unscored_reason(store, candidate, protocol, data) == "still out of memory"
    store.add_rewards(candidate, protocol, [RewardRecord(key, 0, 0.5)])
    store.add_rewards(candidate, protocol, [RewardRecord(key, 0, None, reason="late failure")])
    assert queries.stored_rewards(store, candidate, protocol, KEYS) == {(key, 0): 0.5}
    assert _count(store, "rewards") == 1


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (RewardRecord("", 0, float("nan")), "finite"),
        (RewardRecord("", 0, float("inf")), "finite"),
        (RewardRecord("", 0, None), "reason"),
        (RewardRecord("", 0, 1.0, reason="failed"), "without a reason"),
    ],
)
def test_what_is_no_reward_is_refused_with_its_whole_batch(store: Store, bad: RewardRecord, says: str) -> None:
    candidate, protocol, _ = _keys(store)
    good, *_ = rewards(dataset())
    with pytest.raises(StoreError, match=says):
        store.add_rewards(candidate, protocol, [good, replace(bad, example_key=example(1).key)])
    assert _count(store, "rewards") == 0


def test_the_schema_itself_refuses_scores_that_are_none(store: Store) -> None:
    for values in ("'nan'::DOUBLE, 1, false, ''", "NULL, 1, false, ''", "1.0, 1, false, 'failed'"):
        with pytest.raises(duckdb.ConstraintException):
            store.sql.execute(f"INSERT INTO rewards VALUES (1, 1, 1, 0, {values})")


def test_a_reward_of_an_unknown_example_and_a_doubled_key_are_refused(store: Store) -> None:
    candidate, protocol, _ = _keys(store)
    with pytest.raises(StoreError, match="never stored"):
        store.add_rewards(candidate, protocol, [RewardRecord("nobody", 0, 1.0)])
    with pytest.raises(StoreError, match="two rewards"):
        store.add_rewards(candidate, protocol, [RewardRecord(example(0).key, 0, x) for x in (1.0, 2.0)])
    assert _count(store, "rewards") == 0


def test_an_example_shared_by_two_data_sets_is_scored_once(store: Store) -> None:
    candidate, protocol, _ = _keys(store)
    store.add_rewards(candidate, protocol, rewards(dataset()))
    larger = store.add_dataset(dataset(4))
    assert queries.progress(store, candidate, protocol, larger) == (6, 8)
    assert _count(store, "examples") == 4


def test_an_example_twice_in_a_data_set_keeps_both_places(store: Store) -> None:
    data = dataset(examples=[example(0), example(1), example(0, example_id="again")])
    run = fill(store, replace(data, examples=data.examples[:2]))
    key = store.add_dataset(data)
    row = {**next(r for r in queries.runs(store) if r["key"] == run), "dataset_key": key}
    read = queries.run_rewards(store, row)
    assert list(read.example_ids) == ["0", "1", "again"]
    assert read.rewards.tolist() == [0, 1, 2, 3, 0, 1]
    assert queries.progress(store, row["candidate_key"], row["protocol_key"], key) == (4, 4)  # scored once


def test_rewards_come_back_in_the_data_sets_order(store: Store) -> None:
    data = dataset()
    run = fill(store, replace(data, examples=list(reversed(data.examples))))
    read = queries.run_rewards(store, next(r for r in queries.runs(store) if r["key"] == run))
    assert list(read.example_ids) == ["2", "1", "0"]
    assert read.rewards.tolist() == [0, 1, 2, 3, 4, 5]
    assert read.labels.tolist() == [1, 0] * 3


def test_texts_of_any_kind_survive(path: Path) -> None:
    texts = ["", "NUL \0 inside", "line\u2028separator", "\U0001f9ee", "\ud800 alone", "x" * 1_000_000]
    data = dataset(examples=[example(0, responses=texts, labels=[None] * 6, answers=[None] * 6, sources=[""] * 6,
                                     reasons=["\0"] * 6)])  # fmt: skip
    with open_store(path) as store:
        store.add_dataset(data)
    with open_store(path, read_only=True) as store:
        found = store.sql.execute("SELECT responses FROM examples").fetchall()[0][0]
    assert found == [*texts[:4], "\\ud800 alone", texts[5]]


def test_a_run_is_resumed_and_every_sitting_is_recorded(store: Store) -> None:
    first = fill(store, dataset(), finish=False)
    assert [r["status"] for r in queries.runs(store)] == ["running"]
    assert fill(store, dataset()) == first
    row = queries.runs(store)[0]
    assert (row["status"], row["ended"] is not None) == ("complete", True)
    sittings = store.sql.execute("SELECT ended IS NULL FROM sessions ORDER BY started").fetchall()
    assert sittings == [(True,), (False,)]


def test_starting_a_finished_run_again_leaves_it_complete(store: Store) -> None:
    fill(store, dataset())
    fill(store, dataset(), finish=False)
    assert [r["status"] for r in queries.runs(store)] == ["complete"]


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    def half() -> None:
        with store.transaction():
            store.sql.execute("INSERT INTO protocols VALUES (1, 'x', '{}')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert _count(store, "protocols") == 0


def test_what_was_committed_is_there_in_the_next_process(path: Path) -> None:
    with open_store(path) as store:
        fill(store, dataset())
    with open_store(path, read_only=True) as store:
        assert _count(store, "rewards") == 6


def test_a_store_that_stays_small_forgets_what_it_read_even_within_a_transaction(store: Store) -> None:
    store.stay_small()
    texts = [example(i, responses=["x" * 500, f"{i} " * 200]) for i in range(1000)]
    run = fill(store, dataset(examples=texts[:500]))
    with store.transaction():
        store.examples.add(texts)
        store.trim()  # a refusal by DuckDB would end the transaction
        store.sql.execute("INSERT INTO environments VALUES (7, 'e', '{}')")
    assert (_count(store, "environments"), _count(store, "examples")) == (2, 1000)
    assert queries.run_rewards(store, next(r for r in queries.runs(store) if r["key"] == run)).scored.all()


@pytest.mark.parametrize("count", [0, 1, 30, 600])
def test_forgetting_leaves_the_memory_limit_as_it_was(store: Store, count: int) -> None:
    limit = "SELECT value FROM duckdb_settings() WHERE name = 'memory_limit'"
    before = store.one(limit)
    store.stay_small()
    if count:
        fill(store, dataset(count))
    for _ in range(20):
        store.trim()
        assert store.one("SELECT count(*) FROM examples") == (count,)
    assert store.one(limit) == before


class _Refusing:
    """A connection to which DuckDB refuses to lift the limit so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def execute(self, statement: str) -> None:
        if statement.startswith("RESET"):
            self.left -= 1
            if self.left >= 0:
                raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")


def test_a_limit_that_is_not_lifted_at_once_is_tried_again_and_then_told(path: Path) -> None:
    forget_blocks(_Refusing(2), path)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"\.duckdb: Out of Memory Error"):
        forget_blocks(_Refusing(3), path)  # type: ignore[arg-type]
