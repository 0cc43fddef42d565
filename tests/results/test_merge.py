"""Merging databases: the union, whichever way round and however often; no value is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stored import dataset, example, fill, rewards

from results import queries
from results.check import check
from results.digest import digest
from results.merge import MergeReport, merge
from results.pools import PoolRecord, PoolRow, load_pool, pool_names, save_pool
from results.records import CandidateRecord, ProtocolRecord, RewardRecord, StoreError
from results.store import Store, open_store

Build = Callable[[Store], object]


class Files:
    """Databases by name in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, *builds: Build) -> Path:
        path = self.folder / f"{name}.duckdb"
        with open_store(path) as store:
            for build in builds:
                build(store)
        return path

    def merge(self, into: Path, *others: Path) -> MergeReport:
        for other in others:
            with open_store(into) as store:
                report = merge(store, other)
                assert [f for f in check(store) if not f.note] == []
        return report

    def merged(self, first: Path, *others: Path) -> str:
        """Digest of a copy of `first` with the others merged in, in order."""
        copy = self.folder / "copy.duckdb"
        copy.unlink(missing_ok=True)
        shutil.copy(first, copy)
        self.merge(copy, *others)
        return digest_of(copy)


def digest_of(path: Path) -> str:
    with open_store(path, read_only=True) as store:
        return digest(store).total


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def _scored(values: dict[tuple[int, int], float | None], **protocol: Any) -> Build:
    """A run over three pairs with these rewards only: (example, response) -> reward, None for a failure."""

    def build(store: Store) -> None:
        candidate = store.add_candidate(CandidateRecord("id of m", "m", "checkpoint"))
        key = store.add_protocol(ProtocolRecord({"backend": "hf", **protocol}))
        run = store.start_run(candidate, key, store.add_dataset(dataset()), store.add_environment({}),
                              seed=0, command="")  # fmt: skip
        rows = [RewardRecord(example(e).key, r, x, reason="" if x is not None else "failed")
                for (e, r), x in values.items()]  # fmt: skip
        if rows:
            store.add_rewards(candidate, key, rows)
        whole = len(values) == 6 and None not in values.values()
        store.finish_run(run, *(("complete", "") if whole else ("failed", "stopped")))

    return build


ALL = {(e, r): 2.0 * e + r for e in range(3) for r in (0, 1)}
FIRST = {at: x for at, x in ALL.items() if at[0] < 2}
SECOND = {at: x for at, x in ALL.items() if at[0] == 2}


def test_two_halves_make_the_whole(files: Files) -> None:
    a, b, whole = files.make("a", _scored(FIRST)), files.make("b", _scored(SECOND)), files.make("w", _scored(ALL))
    assert files.merged(a, b) == files.merged(b, a) == digest_of(whole)


def test_halves_by_candidate_and_by_task_make_the_whole(files: Files) -> None:
    other = dataset(task="other", examples=[example(i) for i in (2, 1, 5)])
    parts: list[Build] = [
        lambda store: fill(store, dataset(), "a"),
        lambda store: fill(store, dataset(), "b"),
        lambda store: fill(store, other, "c"),
    ]
    paths = [files.make(str(i), part) for i, part in enumerate(parts)]
    whole = digest_of(files.make("whole", *reversed(parts)))
    assert files.merged(paths[0], paths[1], paths[2]) == whole
    assert files.merged(paths[2], paths[0], paths[1]) == whole


def test_merging_again_changes_nothing(files: Files) -> None:
    a, b = files.make("a", _scored(FIRST)), files.make("b", _scored(SECOND))
    once = files.merged(a, b)
    assert files.merged(a, b, b, a) == once
    report = files.merge(files.folder / "copy.duckdb", b)
    assert set(report.added.values()) == {0}


def test_the_other_database_is_only_read(files: Files) -> None:
    a, b = files.make("a", _scored(FIRST)), files.make("b", _scored(SECOND))
    before = b.read_bytes()
    files.merge(a, b)
    assert b.read_bytes() == before


def test_a_score_stands_before_a_failure_on_either_side(files: Files) -> None:
    a = files.make("a", _scored({**FIRST, (2, 0): None, (2, 1): None}))
    b = files.make("b", _scored({**SECOND, (0, 0): None}))
    assert files.merged(a, b) == files.merged(b, a) == digest_of(files.make("w", _scored(ALL)))


def test_a_conflict_keeps_both_values_and_is_reported(files: Files) -> None:
    a, b = files.make("a", _scored(ALL)), files.make("b", _scored({**ALL, (1, 0): 2.5}))
    assert files.merged(a, b) == files.merged(b, a) == files.merged(a, b, a, b)
    for one, other in ((a, b), (b, a)):
        report = MergeReport({}) if files.merged(one, other) == "" else files.merge(files.folder / "copy.duckdb", other)
        (row,) = report.conflicts
        assert (row["example"], row["response"], row["kept"], row["other"]) == (example(1).key, 0, 2.0, 2.5)


def test_three_databases_in_any_order_keep_every_value(files: Files) -> None:
    paths = [files.make(str(i), _scored({**ALL, (1, 0): x})) for i, x in enumerate((2.5, 2.0, 3.0))]
    orders = [(0, 1, 2), (2, 1, 0), (1, 2, 0)]
    assert len({files.merged(*(paths[i] for i in order)) for order in orders}) == 1
    with open_store(files.folder / "copy.duckdb", read_only=True) as store:
        assert store.sql.execute("SELECT reward FROM other_rewards ORDER BY 1").fetchall() == [(2.5,), (3.0,)]


@pytest.mark.parametrize(("difference", "count"), [(1e-5, 0), (1e-3, 1)])
def test_rounding_is_no_conflict(files: Files, difference: float, count: int) -> None:
    # rewards 0..5 have a standard deviation of 1.87: the float32 bound of 2e-5 deviations is 3.7e-5
    a = files.make("a", _scored(ALL, dtype="float32"))
    b = files.make("b", _scored({**ALL, (1, 0): 2.0 + difference}, dtype="float32"))
    assert files.merged(a, b) == files.merged(b, a)
    assert len(files.merge(files.folder / "copy.duckdb", a).conflicts) == count


def test_interrupted_in_both_places_is_still_interrupted(files: Files) -> None:
    def running(values: dict[tuple[int, int], float | None]) -> list[Build]:
        return [_scored(values), lambda store: store.sql.execute("UPDATE runs SET status = 'running'")]

    part = {at: x for at, x in ALL.items() if at[0] == 0}
    a, b = files.make("a", *running(FIRST)), files.make("b", *running(part))
    c = files.make("c", *running(SECOND))
    assert files.merged(a, b) == files.merged(b, a)
    assert files.merged(a, c) == files.merged(c, a) == digest_of(files.make("w", _scored(ALL)))


def _pool(text: str, name: str = "p") -> Build:
    return lambda store: save_pool(store, PoolRecord("t", name, [PoolRow("0", 0, text, "", True, "1", "")], {}))


def test_two_pools_of_one_name_are_both_kept(files: Files) -> None:
    paths = [files.make(text, _pool(text)) for text in ("x", "y", "z")]
    orders = [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0, 1, 0)]
    assert len({files.merged(*(paths[i] for i in order)) for order in orders}) == 1
    with open_store(files.folder / "copy.duckdb", read_only=True) as store:
        names = pool_names(store, "t")
        pools = [load_pool(store, "t", name) for name in names]
    assert sorted(pool.rows[0].text for pool in pools if pool) == ["x", "y", "z"]
    assert sorted(len(name) for name in names) == [1, 10, 10]


def test_equal_pools_are_one(files: Files) -> None:
    a, b = files.make("a", _pool("x")), files.make("b", _pool("x"), _pool("y", "q"))
    assert files.merge(a, b).pools == []
    with open_store(a, read_only=True) as store:
        assert pool_names(store, "t") == ["p", "q"]


def test_an_unfinished_pool_gives_way_to_the_finished_one(files: Files) -> None:
    def unfinished(store: Store) -> None:
        store.sql.execute("UPDATE pools SET complete = false")

    a, b = files.make("a", _pool("x"), unfinished), files.make("b", _pool("x"))
    assert files.merged(a, b) == files.merged(b, a) == digest_of(b)


def test_names_stay_and_sittings_are_joined(files: Files) -> None:
    a, b = files.make("a", _scored(FIRST)), files.make("b", _scored(SECOND))
    files.merge(a, b, b)
    with open_store(a, read_only=True) as store:
        assert store.sql.execute("SELECT count(*) FROM sessions").fetchall() == [(2,)]
        assert [r["status"] for r in queries.runs(store)] == ["complete"]


def test_refusals_leave_the_database_as_it_is(files: Files, holder: Any, path: Path) -> None:
    a = files.make("a", _scored(ALL))
    before = digest_of(a)
    damaged = files.make("b", _scored(ALL), lambda store: store.sql.execute("UPDATE examples SET prompt = '[]'"))
    newer = files.make("c", lambda s: s.sql.execute("INSERT INTO harness_schema VALUES (9, now()::TIMESTAMP, '9.1')"))
    junk = files.folder / "junk.duckdb"
    junk.write_bytes(b"junk")
    process = holder()
    for other, says in (
        (a, "into itself"), (damaged, "db repair"), (newer, "release 9.1"), (junk, "not a DuckDB"),
        (path, f"process {process.pid}"), (files.folder / "no.duckdb", "no such database"),
    ):  # fmt: skip
        with pytest.raises(StoreError, match=says), open_store(a) as store:
            merge(store, other)
    assert digest_of(a) == before


def test_a_database_whose_name_is_an_alias_of_ours(files: Files) -> None:
    a, b = files.make("main", _scored(FIRST)), files.make("merge_other's", _scored(SECOND))
    files.merge(a, b)
    assert digest_of(a) == digest_of(files.make("w", _scored(ALL)))


def test_a_reward_stored_twice_is_one(files: Files) -> None:
    run: Build = lambda store: fill(store, dataset(), "m")  # noqa: E731
    a, b = files.make("a", run), files.make("b", run)
    assert files.merged(a, b) == digest_of(a)
    assert len(rewards(replace(dataset()))) == 6
