"""Retention in the database and in the exported history: what goes, and above all what stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored import dataset, fill, rewards

from results import queries
from results.check import check
from results.digest import digest
from results.prune import StorePlan, plan_files, plan_store, prune_files, prune_store
from results.records import CandidateRecord, ProtocolRecord
from results.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> object:
    with open_store(tmp_path / "h.duckdb") as opened:
        yield opened


def run_id(store: Store, key: int) -> str:
    row = store.one("SELECT id FROM runs WHERE key = ?", [key])
    assert row is not None
    return str(row[0])


def test_a_plan_changes_nothing_and_says_what_the_deed_does(store: Store) -> None:
    data = dataset(5)
    old, new = (run_id(store, fill(store, data, name, offset=o)) for name, o in (("old", 0.0), ("new", 1.0)))
    before = digest(store).total
    assert plan_store(store, [old], [new]) == StorePlan(runs=1, rewards=10, examples=5)
    assert digest(store).total == before
    assert prune_store(store, [old], [new]) == StorePlan(runs=1, rewards=10, examples=5)
    assert [row["candidate"] for row in queries.runs(store)] == ["new"]
    assert [row["name"] for row in queries.candidates(store)] == ["new"]
    assert check(store) == []
    assert plan_store(store, [old], [new]) == StorePlan(0, 0, 0)


def test_what_is_kept_wins_over_what_is_dropped(store: Store) -> None:
    only = run_id(store, fill(store, dataset(5)))
    assert prune_store(store, [only], [only]) == StorePlan(0, 0, 0)
    assert len(queries.runs(store)) == 1


def test_rewards_that_another_run_uses_stay(store: Store) -> None:
    """The same candidate on a data set that shares three of five examples: those three are the other run's too."""
    small, large = dataset(3), dataset(5)
    kept = run_id(store, fill(store, small, "m"))
    candidate = store.add_candidate(CandidateRecord("id of m", "m", "checkpoint"))
    protocol = store.add_protocol(ProtocolRecord({"backend": "fake"}))
    run = store.start_run(candidate, protocol, store.add_dataset(large), store.add_environment({}), seed=0, command="")
    store.add_rewards(candidate, protocol, rewards(large))
    store.finish_run(run, "complete")
    assert prune_store(store, [run_id(store, run)], []) == StorePlan(runs=1, rewards=4, examples=2)
    (left,) = queries.runs(store)
    assert left["id"] == kept
    assert queries.run_rewards(store, left).scored.all()
    assert [row[0] for row in store.sql.execute("SELECT count(*) FROM examples").fetchall()] == [3]
    assert check(store) == []


def test_the_data_of_a_pruned_run_comes_back_when_it_is_evaluated_again(store: Store) -> None:
    data = dataset(5)
    first = run_id(store, fill(store, data))
    prune_store(store, [first], [])
    assert run_id(store, fill(store, data)) == first
    assert check(store) == []


def test_a_failure_in_the_middle_leaves_everything(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    only = run_id(store, fill(store, dataset(5)))
    before = digest(store).total
    monkeypatch.setattr("results.prune._DROP", ("DELETE FROM rewards", "DELETE FROM nowhere"))
    with pytest.raises(ValueError, match="nowhere"):
        prune_store(store, [only], [])
    assert digest(store).total == before


def test_files_of_other_nights_and_only_per_example_ones(tmp_path: Path) -> None:
    for table in ("runs", "metrics", "rewards", "examples"):
        for night in ("2026-11-01", "2026-11-02"):
            folder = tmp_path / table / f"night={night}" / "task=t"
            folder.mkdir(parents=True)
            (folder / "h.parquet").write_text("x")
    found = plan_files(tmp_path, {"2026-11-02"})
    assert found == [tmp_path / table / "night=2026-11-01" for table in ("examples", "rewards")]
    prune_files(found)
    prune_files(found)  # a second pruner finds them gone
    assert plan_files(tmp_path, {"2026-11-02"}) == []
    assert len(list(tmp_path.rglob("*.parquet"))) == 6
