"""A run killed with SIGKILL half-way keeps what was committed; started again it ends with the same texts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from results.pools import PoolRow, load_pool, pool_names
from results.store import open_store

START = [sys.executable, "-m", "harness", "pool", "generate", "gsm8k_bon", "-n", "4", "--name", "p"]


def _command(policy: Path, data: Path, db: Path, backend: str, tokens: int) -> list[str]:
    return [*START, "--model", str(policy), "--data-dir", str(data), "--db", str(db), "--backend", backend,
            "--device", "cpu", "--max-tokens", str(tokens)]  # fmt: skip


def _data(folder: Path, count: int) -> Path:
    rows = [{"question": f"what is {i} and {i} ?", "answer": f"#### {2 * i}"} for i in range(count)]
    (folder / "gsm8k").mkdir(parents=True)
    (folder / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _kill_after_commits(command: list[str], db: Path, commits: int, folder: Path) -> None:
    """SIGKILL once the database's log has grown so many times: its writer locks everybody else out."""
    log = db.with_name(db.name + ".wal")
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sizes: set[int] = set()
    deadline = time.monotonic() + 500
    while len(sizes) < commits and process.poll() is None and time.monotonic() < deadline:
        if log.exists():
            sizes.add(log.stat().st_size)
        time.sleep(0.02)
    assert process.poll() is None, "the run was over before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def _rows(db: Path) -> list[PoolRow]:
    with open_store(db) as store:
        pool = load_pool(store, "gsm8k_bon", "p", complete=False)
    assert pool is not None
    return sorted(pool.rows, key=lambda row: (int(row.example_id), row.position))


@pytest.mark.parametrize(
    ("backend", "questions", "tokens"),
    [("hf", 12, 200), pytest.param("vllm", 400, 48, marks=pytest.mark.vllm)],
)
def test_a_killed_run_is_resumed_with_the_same_texts(
    policy: Path, tmp_path: Path, backend: str, questions: int, tokens: int
) -> None:
    if backend == "vllm":
        pytest.importorskip("vllm", reason="vllm is not installed: .ci/vllm makes an environment for these tests")
    data = _data(tmp_path / "data", questions)
    killed, whole = tmp_path / "killed.duckdb", tmp_path / "whole.duckdb"
    command = _command(policy, data, killed, backend, tokens)
    _kill_after_commits(command, killed, 3, tmp_path)
    half = _rows(killed)
    assert 0 < len(half) < 4 * questions
    assert {sum(row.example_id == key for row in half) for key in {row.example_id for row in half}} == {4}
    with open_store(killed) as store:
        assert pool_names(store, "gsm8k_bon") == []
    for target in (killed, whole):
        done = subprocess.run(
            _command(policy, data, target, backend, tokens), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert _rows(killed) == _rows(whole)
    texts = {(row.example_id, row.position): row.text for row in _rows(killed)}
    assert all(texts[row.example_id, row.position] == row.text for row in half)
    assert len(texts) == 4 * questions
