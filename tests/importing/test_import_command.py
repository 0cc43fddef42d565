"""`harness scores import` through the real command line: what is stored, what is refused, nothing half-done."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

PAIRS = [
    {"id": str(i), "prompt": f"question {i}", "responses": [f"right {i}", f"wrong {i}"], "correct": [True, False]}
    for i in range(4)
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, PAIRS)))
    return path


def _scores(tmp_path: Path, name: str, values: dict[int, list[float]]) -> Path:
    path = tmp_path / name
    rows = [{"problem": f"question {i}", "solution_reference": ["a", "b"], "score": v} for i, v in values.items()]
    path.write_text(json.dumps(rows))
    return path


def test_import_resumes_completes_and_refuses_other_values(harness: Any, tmp_path: Path, pairs: Path) -> None:
    def run(file: Path, code: int = 0) -> Any:
        done = harness("scores", "import", file, "--task-file", f"pairs={pairs}", "--candidate", "m", "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)["runs"][0] if code == 0 else done.stderr

    some = run(_scores(tmp_path, "some.json", {2: [1, 0], 0: [0, 1]}))
    assert (some["status"], some["unscored"]) == ("partial", 2)
    assert "4 of 8 rewards not in the file" in some["reason"]
    whole = _scores(tmp_path, "whole.json", {3: [1, 0], 2: [1, 0], 1: [1, 0], 0: [0, 1]})
    assert run(whole)["metrics"]["score"] == 0.75
    digest = harness("db", "digest").stdout
    assert run(whole)["status"] == "complete"
    other = _scores(tmp_path, "other.json", {2: [5, 0]})
    assert "already has other rewards" in run(other, code=2)
    assert harness("db", "digest").stdout == digest
    assert harness("db", "check").returncode == 0


def test_the_page_says_which_file_the_rewards_came_from(harness: Any, tmp_path: Path, pairs: Path) -> None:
    file = _scores(tmp_path, "whole.json", {i: [1, 0] for i in range(4)})
    harness("scores", "import", file, "--task-file", f"pairs={pairs}", "--candidate", "m")
    assert harness("leaderboard", "build", "-o", "site").returncode == 0
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"whole.json, sha256 {digest}" in (tmp_path / "site" / "provenance.html").read_text()


def test_import_and_eval_replay_are_one_thing(harness: Any, tmp_path: Path, pairs: Path) -> None:
    rows = [{"task": "pairs", "example_id": str(i), "rewards": [i, 1]} for i in range(4)]
    (tmp_path / "rewards.jsonl").write_text("\n".join(map(json.dumps, rows)))
    common = ("--task-file", f"pairs={pairs}", "--candidate", "m")
    harness("eval", "--backend", "replay", "--rewards", "rewards.jsonl", *common, "--db", "a.duckdb")
    harness("scores", "import", "rewards.jsonl", *common, "--db", "b.duckdb")
    assert harness("db", "digest", "--db", "a.duckdb").stdout == harness("db", "digest", "--db", "b.duckdb").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing.json", "--task", "autoj"), "there is no such file"),
        (("pairs.jsonl",), "give --task NAME"),
        (("pairs.jsonl", "--task", "autoJ"), "did you mean 'autoj'"),
        (("pairs.jsonl", "--task-file", "pairs=pairs.jsonl"), "none of the known formats of scores"),
    ],
)
def test_usage_errors(harness: Any, pairs: Path, arguments: tuple[str, ...], says: str) -> None:
    assert pairs.exists()
    done = harness("scores", "import", *arguments, "--candidate", "m")
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
