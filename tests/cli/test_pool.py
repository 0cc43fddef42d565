"""`harness pool import` and the default pool of gsm8k_bon, through the real command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

QUESTIONS = [
    ("Two and three?", "2+3=5\n#### 5"),
    ("A thousand twice?", "#### 2,000"),
    ("One less than zero?", "#### -1"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with three questions in GSM8K's format and no default pool."""
    folder = tmp_path / "data" / "gsm8k"
    folder.mkdir(parents=True)
    rows = [json.dumps({"question": q, "answer": a}) for q, a in QUESTIONS]
    (folder / "test.jsonl").write_text("\n".join(rows) + "\n")
    return folder.parent


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    texts = [
        ["The answer is 5.", "The answer is 6.", "It is 5", "no idea"],
        ["The answer is 2000", "The answer is $2,000.00", "The answer is 200", "#### 2000"],
        ["The answer is -1", "The answer is 1", "-1", "The answer is 0"],
    ]
    rows = [
        {"example_id": str(i), "responses": [{"text": t, "source": "someone"} for t in row]}
        for i, row in enumerate(texts)
    ]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_imported_pool_is_labelled_once_and_used(harness: Any, data: Path, pool: Path) -> None:
    done = harness("pool", "import", "gsm8k_bon", pool, "--data-dir", data, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {k: summary[k] for k in ("pool", "examples", "responses", "correct", "unlabelled")} == {
        "pool": "samples", "examples": 3, "responses": 12, "correct": 7, "unlabelled": 0,
    }  # fmt: skip
    run = json.loads(harness("eval", "--model", "baseline:random", "--tasks", "gsm8k_bon", "--data-dir", data,
                             "--json").stdout)["runs"][0]  # fmt: skip
    metrics = run["metrics"]
    assert (run["status"], run["n"]) == ("complete", 3)
    assert metrics["random"] == pytest.approx(7 / 12)
    assert metrics["oracle/4"] == 1.0
    # votes: 5 5 6 -> right; 2000 three times -> right; -1 twice -> right
    assert metrics["majority/4"] == 1.0
    assert metrics["score"] == metrics["bon/4"]


def test_a_pool_that_answers_no_question_is_refused(harness: Any, data: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"example_id": "99", "responses": [{"text": "5"}]}\n')
    done = harness("pool", "import", "gsm8k_bon", "bad.jsonl", "--data-dir", data)
    assert done.returncode == 2
    assert "99" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gsm8k_bon", "nothing.jsonl"], "nothing.jsonl: there is no such file"),
        (["rewardbench", "samples.jsonl"], "not a Best-of-N task"),
        (["gsm8k_bn", "samples.jsonl"], "did you mean 'gsm8k_bon'?"),
        (["gsm8k_bon", "samples.jsonl", "--task-option", "gsm8k_bon"], "expected NAME=VALUE"),
    ],
)
def test_bad_arguments_of_import(harness: Any, data: Path, pool: Path, arguments: list[str], complaint: str) -> None:  # noqa: ARG001
    done = harness("pool", "import", *arguments, "--data-dir", data)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_an_unknown_pool_name_says_which_there_are(harness: Any, data: Path, pool: Path) -> None:
    harness("pool", "import", "gsm8k_bon", pool, "--data-dir", data, "--name", "llama")
    done = harness("eval", "--model", "baseline:length", "--tasks", "gsm8k_bon", "--data-dir", data,
                   "--pool", "gsm8k_bon=lama")  # fmt: skip
    assert done.returncode == 2
    assert "did you mean 'llama'?" in done.stderr


def test_without_an_import_the_published_answers_are_the_pool(harness: Any, data: Path) -> None:
    names = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    rows = [
        {"question": q, "ground_truth": a.replace("#### ", "A: "),
         **{n: {"is_correct": False, "solution": "A: 7"} for n in names}}
        for q, a in QUESTIONS
    ]  # fmt: skip
    (data / "gsm8k" / "example_model_solutions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = harness("eval", "--model", "baseline:length", "--tasks", "gsm8k_bon", "--data-dir", data, "--json")
    run = json.loads(done.stdout)["runs"][0]
    assert run["n"] == 3
    assert run["metrics"]["oracle/4"] == 0.0
    assert "pool" in done.stderr  # the run says which pool it used
