"""What is recorded beside results is true, and holds no secrets."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness._environment import command_line, environment, mask
from results import queries
from results.store import open_store

SECRET = "abcdefgh12345678"


@pytest.mark.parametrize(
    "text",
    [f"hf_{SECRET}", f"sk-ant-{SECRET}", f"ghp_{SECRET}", f"github_pat_{SECRET}", f"https://user:{SECRET}@host/x",
     f"https://{SECRET}@host/x", f"https://host/x?token={SECRET}&a=b", f"--api-key={SECRET}", f"--hf-token {SECRET}",
     f"password: {SECRET}", f"'Authorization: Bearer {SECRET}'", f"https://s3/x?X-Amz-Signature={SECRET}",
     f"/data/hf_{SECRET}/test.jsonl"],
)  # fmt: skip
def test_secrets_are_masked(text: str) -> None:
    assert SECRET not in mask(text)
    assert "***" in mask(text)


@pytest.mark.parametrize(
    "text",
    ["harness eval --model merged/ --tasks autoj", "--batch-tokens 4096", "tokenizer.json", "https://host/a@b",
     "keys.jsonl", "--system-prompt 'the key word is token'"],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == text


def test_the_command_line_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/y/__main__.py", "eval", "--system-prompt", "two words", "--token", SECRET])
    assert command_line() == "harness eval --system-prompt 'two words' --token ***"


def test_the_environment_holds_versions_and_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    found = environment()
    assert {"versions", "platform", "processor", "cores", "commit"} <= found.keys()
    assert found["versions"]["python"].startswith("3.")
    assert SECRET not in json.dumps(found)
    home = os.environ.get("HOME", "")
    assert len(home) < 2 or home not in json.dumps(found)


def test_a_run_records_seed_start_end_command_and_environment(harness: Any, tmp_path: Path) -> None:
    (tmp_path / f"hf_{SECRET}").mkdir()
    task = tmp_path / f"hf_{SECRET}" / "pairs.jsonl"
    row = {"id": "a", "prompt": "q", "responses": ["x", "y"], "correct": [True, False]}
    task.write_text(json.dumps(row))
    before = datetime.now(UTC).replace(tzinfo=None)
    command = ("eval", "--model", "m", "--backend", "fake", "--task-file", f"pairs={task}", "--seed", "7")
    for _ in range(2):
        assert harness(*command, HF_TOKEN=SECRET).returncode == 0
    with open_store(tmp_path / "harness.duckdb", read_only=True) as store:
        (run,) = queries.runs(store)
        sittings = store.sql.execute("SELECT seed, started, ended FROM sessions ORDER BY started").fetchall()
    assert run["seed"] == 7
    assert before <= run["started"] <= run["ended"] <= before + timedelta(minutes=10)
    assert run["command"].startswith("harness eval --model m --backend fake --task-file")
    assert run["environment"]["versions"]["duckdb"]
    assert [(seed, start <= end) for seed, start, end in sittings] == [(7, True)] * 2
    assert SECRET.encode() not in (tmp_path / "harness.duckdb").read_bytes()
