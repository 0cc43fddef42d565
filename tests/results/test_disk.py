"""A disk that is full or read-only, for real: what was committed stays, and the work goes on once there is room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stored import dataset, fill

from results import queries
from results.records import RewardRecord, StoreError
from results.store import open_store


def _score(path: Path, count: int, batch: int) -> int:
    """Store one long unscored reason an example (they fill a disk quickly) in batches; returns those found first."""
    data = dataset(count)
    with open_store(path) as store:
        fill(store, dataset(1))
        candidate, protocol = 1, 1
        key = store.add_dataset(data)
        found = store.sql.execute("SELECT count(*) FROM rewards").fetchall()[0][0]
        for start in range(0, count, batch):
            rows = [
                RewardRecord(e.key, 2, None, reason=f"{i:06}{e.key}" * 60)
                for i, e in enumerate(data.examples[start : start + batch])
            ]
            store.add_rewards(candidate, protocol, rows)
        assert key == 2
    return int(found)


def test_a_full_disk_keeps_what_was_committed(small_disk: Any) -> None:
    path = small_disk.folder / "h.duckdb"
    with pytest.raises(StoreError) as caught:
        _score(path, 2000, 100)
    assert "the disk is full" in str(caught.value)
    assert "\n" not in str(caught.value)
    small_disk.options("size=64m")
    with open_store(path, read_only=True) as store:
        held = store.sql.execute("SELECT count(*), count(DISTINCT example) FROM rewards").fetchall()[0]
    assert held[0] % 100 == 2  # whole batches, and the two of the first run
    assert _score(path, 2000, 100) == held[0]
    with open_store(path, read_only=True) as store:
        assert store.sql.execute("SELECT count(*) FROM rewards").fetchall() == [(2002,)]
        assert [r["status"] for r in queries.runs(store)] == ["complete"]


def test_a_disk_too_full_for_a_new_database_leaves_nothing(small_disk: Any) -> None:
    (small_disk.folder / "ballast").write_bytes(b"x" * (4 << 20))
    with pytest.raises(StoreError, match="the disk is full"), open_store(small_disk.folder / "h.duckdb"):
        pass
    assert [p.name for p in small_disk.folder.iterdir()] == ["ballast"]


def test_a_read_only_disk_can_be_read_and_says_so_to_writers(small_disk: Any) -> None:
    path = small_disk.folder / "h.duckdb"
    with open_store(path) as store:
        fill(store, dataset())
    small_disk.options("ro")
    with open_store(path, read_only=True) as store:
        assert [c["rewards"] for c in queries.candidates(store)] == [6]
    for name in ("h.duckdb", "new.duckdb"):
        with pytest.raises(StoreError, match="cannot be written here"), open_store(small_disk.folder / name):
            pass


def test_an_eval_on_a_full_disk_resumes_to_the_same_content(harness: Any, small_disk: Any, tmp_path: Path) -> None:
    rows = [{"id": str(i), "prompt": f"{i} " + f"{i * 7919} " * 40, "responses": [f"a {i}", f"b {i}"],
             "correct": [True, False]} for i in range(4000)]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    models = [word for name in "abcdefgh" for word in ("--model", name)]
    command = ("eval", *models, "--backend", "fake", "--task-file", "t=t.jsonl", "--json")
    assert harness(*command, "--db", "whole.duckdb").returncode == 0
    whole = harness("db", "digest", "--db", "whole.duckdb").stdout
    size = (tmp_path / "whole.duckdb").stat().st_size
    path = small_disk.folder / "h.duckdb"
    for share in (0.3, 0.5):
        small_disk.options(f"size={int(size * share)}")
        done = harness(*command, "--db", path)
        assert done.returncode == 2, done.stderr
        assert "the disk is full" in done.stderr
        assert "Traceback" not in done.stderr
        assert "ERROR" not in harness("db", "check", "--db", path).stdout
    small_disk.options("size=64m")
    assert harness(*command, "--db", path).returncode == 0
    assert harness("db", "digest", "--db", path).stdout == whole
