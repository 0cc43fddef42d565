"""`harness db` and the second writer, through the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stored import dataset, fill

from results.store import open_store


def _pairs(folder: Path) -> Path:
    row = {"id": "a", "prompt": "q", "responses": ["x", "y"], "correct": [True, False]}
    path = folder / "pairs.jsonl"
    path.write_text(json.dumps(row))
    return path


def test_a_second_eval_is_told_who_writes_and_can_wait(harness: Any, holder: Any, path: Path, tmp_path: Path) -> None:
    process = holder()
    arguments = ["eval", "--model", "m", "--backend", "fake", "--task-file", f"p={_pairs(tmp_path)}", "--db", str(path)]
    done = harness(*arguments)
    assert done.returncode == 2
    assert f"process {process.pid} (" in done.stderr
    assert done.stderr.count("\n") == 1
    command = [sys.executable, "-m", "harness", *arguments, "--wait"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert f"process {process.pid}" in waiting.stderr.readline()
        process.stdin.close()
        waiting.communicate(timeout=120)
    assert waiting.returncode == 0


@pytest.mark.parametrize("command", [["ls", "runs"], ["leaderboard", "build", "-o", "site"]])
def test_readers_can_wait_for_the_writer(command: list[str], holder: Any, path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        fill(store, dataset())
    process = holder()
    asked = [sys.executable, "-m", "harness", *command, "--db", str(path), "--wait"]
    with subprocess.Popen(asked, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert f"process {process.pid}" in waiting.stderr.readline()
        process.stdin.close()
        told, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0
    assert told


def test_check_repair_check(harness: Any, path: Path) -> None:
    with open_store(path) as store:
        fill(store, dataset())
        store.sql.execute("INSERT INTO rewards VALUES (1, 1, 1, 0, 9.0, 5, false, '')")
    before = path.read_bytes()
    checked = harness("db", "check", "--db", path)
    assert (checked.returncode, "ERROR: 1 responses have more than one row" in checked.stdout) == (2, True)
    planned = harness("db", "repair", "--db", path)
    assert planned.returncode == 0
    assert "would: 1 responses have more than one row of rewards [doubled-rewards]: keep one row each" in planned.stdout
    assert path.read_bytes() == before
    assert "done: " in harness("db", "repair", "--db", path, "--yes").stdout
    again = harness("db", "check", "--db", path, "--json")
    assert again.returncode == 0
    (conflict,) = json.loads(again.stdout)["conflicts"]
    assert (conflict["kept"], conflict["other"]) == (0.0, 9.0)
    assert "nothing to repair" in harness("db", "repair", "--db", path).stdout


def test_merge_reports_what_it_added_and_both_values(harness: Any, path: Path, tmp_path: Path) -> None:
    for name, offset in ((path, 0.0), (tmp_path / "other.duckdb", 0.5)):
        with open_store(name) as store:
            fill(store, dataset(), offset=offset)
    done = harness("db", "merge", tmp_path / "other.duckdb", "--db", path)
    assert done.returncode == 0, done.stderr
    assert "6 other rewards" in done.stdout
    assert "6 rewards differ by more than rounding; both values are kept" in done.stdout
    assert "0.0 (used) and 0.5 (kept beside it)" in done.stdout
    again = harness("db", "merge", tmp_path / "other.duckdb", "--db", path, "--json")
    assert set(json.loads(again.stdout)["added"].values()) == {0}


def test_missing_databases_are_named_and_none_is_made(harness: Any, tmp_path: Path) -> None:
    for arguments in (("digest",), ("check",), ("repair",), ("migrate",), ("merge", "nothing.duckdb")):
        done = harness("db", *arguments, "--db", "absent.duckdb")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "no such database" in done.stderr
    assert list(tmp_path.glob("*.duckdb")) == []
