"""`harness eval` through the real command line: results, exit codes, errors, resume."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A task of four pairs; the right answer comes first, second, first, second."""
    rows = [
        {"id": f"q{i}", "prompt": f"question {i}", "responses": ["yes it is", "no it is not"],
         "correct": [i % 2 == 0, i % 2 == 1], "subset": "even" if i % 2 == 0 else "odd"}
        for i in range(4)
    ]  # fmt: skip
    return write_rows(tmp_path / "pairs.jsonl", rows)


def rewards_file(path: Path, values: dict[str, list[float]], task: str = "mine") -> Path:
    return write_rows(path, [{"task": task, "example_id": k, "rewards": v} for k, v in values.items()])


def only_run(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (run,) = json.loads(done.stdout)["runs"]
    return dict(run)


def replay(harness: Any, pairs: Path, rewards: Path, *more: str, name: str = "someone") -> Any:
    return harness("eval", "--backend", "replay", "--rewards", rewards, "--candidate", name,
                   "--task-file", f"mine={pairs}", "--json", *more)  # fmt: skip


def test_replayed_rewards_become_accuracy_with_ties_as_losses(harness: Any, pairs: Path, tmp_path: Path) -> None:
    values = {"q0": [1.0, 0.0], "q1": [0.0, 1.0], "q2": [0.5, 0.5], "q3": [2.0, 1.0]}  # right, right, tie, wrong
    run = only_run(replay(harness, pairs, rewards_file(tmp_path / "r.jsonl", values)))
    assert run["candidate"] == "someone"
    assert (run["status"], run["n"], run["ties"]) == ("complete", 4, 1)
    assert run["metrics"] == {"score": 0.5, "subset/even": 0.5, "subset/odd": 0.5}


def test_rewards_missing_from_the_file_make_the_run_partial(harness: Any, pairs: Path, tmp_path: Path) -> None:
    done = replay(harness, pairs, rewards_file(tmp_path / "r.jsonl", {"q0": [1, 0], "q1": [0, 1]}))
    run = only_run(done)
    assert done.returncode == 0
    assert (run["status"], run["unscored"]) == ("partial", 2)
    assert run["metrics"]["score"] == 1.0  # over what is scored; unscored is no 0


def test_other_rewards_under_a_known_name_are_refused(harness: Any, pairs: Path, tmp_path: Path) -> None:
    values = {f"q{i}": [1.0, 0.0] for i in range(4)}
    assert replay(harness, pairs, rewards_file(tmp_path / "a.jsonl", values)).returncode == 0
    done = replay(harness, pairs, rewards_file(tmp_path / "b.jsonl", {**values, "q3": [0.25, 1.0]}))
    assert done.returncode == 2
    assert "already has other rewards" in done.stderr
    assert "another --candidate" in done.stderr


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"task": "mine", "example_id": "q0"', "r.jsonl:2: not valid JSON"),
        ('{"task": "mine", "example_id": 7, "rewards": [1, 2]}', "field 'example_id' must be a str, it is int"),
        ('{"task": "mine", "example_id": "q1"}', "r.jsonl:2: field 'rewards' must be a list, it is missing"),
        ('{"task": "mine", "example_id": "q1", "rewards": [NaN, 1]}', "r.jsonl:2: rewards must be finite numbers"),
        ('{"task": "mine", "example_id": "q1", "rewards": [1, 2, 3]}', "'q1' has 3 rewards for 2 responses"),
        ('{"task": "mine", "example_id": "q0", "rewards": [1, 2]}', "r.jsonl:2: mine example 'q0' appears twice"),
    ],
)  # fmt: skip
def test_bad_rewards_files_name_the_line(harness: Any, pairs: Path, tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"task": "mine", "example_id": "q0", "rewards": [1, 0]}\n' + line + "\n")
    done = replay(harness, pairs, path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_several_correct_responses_are_best_of_n(harness: Any, tmp_path: Path) -> None:
    """Rewards .1 .9 .5 .5 for wrong, right, right, wrong: .5, .75, 1 at n = 1, 2, 4 (STATISTICS: check values)."""
    task = write_rows(tmp_path / "t.jsonl", [{"id": "a", "prompt": "p", "responses": ["w", "x", "y", "z"],
                                             "correct": [False, True, True, False]}])  # fmt: skip
    rewards = rewards_file(tmp_path / "r.jsonl", {"a": [0.1, 0.9, 0.5, 0.5]})
    metrics = only_run(replay(harness, task, rewards))["metrics"]
    assert {k: metrics[k] for k in ("bon/1", "bon/2", "bon/4", "score", "random")} == pytest.approx(
        {"bon/1": 0.5, "bon/2": 0.75, "bon/4": 1.0, "score": 1.0, "random": 0.5}
    )
    assert metrics["oracle/2"] == pytest.approx(1 - 1 / 6)  # only {w, z} of the 6 pairs has no right answer
    assert metrics["first/2"] == 1.0


def test_one_correct_of_many_is_accuracy_and_best_of_n(harness: Any, tmp_path: Path) -> None:
    task = write_rows(tmp_path / "t.jsonl", [{"id": "a", "prompt": "p", "responses": list("wxyz"),
                                             "correct": [True, False, False, False]}])  # fmt: skip
    metrics = only_run(replay(harness, task, rewards_file(tmp_path / "r.jsonl", {"a": [1, 2, 0, 0]})))["metrics"]
    assert metrics["score"] == 0.0
    assert metrics["bon/1"] == 0.25
    assert metrics["bon/2"] == pytest.approx(2 / 6)  # the right one wins {w, y} and {w, z}


def test_messages_as_prompt_and_unknown_labels(harness: Any, tmp_path: Path) -> None:
    task = write_rows(tmp_path / "t.jsonl", [
        {"id": "a", "prompt": [{"role": "user", "content": "hi"}], "responses": ["a", "b"], "correct": [True, False]},
        {"id": "b", "prompt": "hi", "responses": ["a", "b"], "correct": [None, None]},
    ])  # fmt: skip
    run = only_run(replay(harness, task, rewards_file(tmp_path / "r.jsonl", {"a": [1, 0], "b": [1, 0]})))
    assert run["n"] == 2
    assert run["metrics"]["score"] == 1.0  # the unlabelled pair is left out, not wrong


def test_unknown_task_says_what_was_meant_and_leaves_nothing(harness: Any, tmp_path: Path) -> None:
    done = harness("eval", "--model", "baseline:length", "--tasks", "rewardbenhc")
    assert done.returncode == 2
    assert "unknown task 'rewardbenhc': did you mean 'rewardbench'?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model", "baseline:lenght"], "did you mean 'length'?"),
        (["--model", "nowhere/at/all"], "there is no such folder"),
        (["--model", "baseline:length", "--backend", "hff"], "unknown backend 'hff': did you mean 'hf'?"),
        (["--backend", "replay"], "needs --candidate NAME"),
        (["--model", "baseline:length", "--nope"], "--nope"),
        (["--model", "baseline:length", "--limit", "0"], "--limit"),
        (["--model", "baseline:length", "--data", "autoj"], "--data autoj: expected NAME=VALUE"),
        (["--model", "baseline:length", "--data", "autoj=nofile"], "there is no such file"),
        ([], "give --model"),
    ],
)
def test_bad_arguments_are_one_sentence(harness: Any, pairs: Path, arguments: list[str], complaint: str) -> None:
    done = harness("eval", "--task-file", f"mine={pairs}", *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("harness: ")


def test_bad_data_leaves_no_database_behind(harness: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"scenario": "math_reasoning"}\n')
    done = harness("eval", "--model", "baseline:length", "--tasks", "autoj", "--data", "autoj=rows.jsonl")
    assert done.returncode == 2
    assert "rows.jsonl:1: field 'label' is missing" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("tasks", [["autoj,rewardbench"], ["autoj, rewardbench"], ["autoj,", "rewardbench"]])
def test_task_lists_may_have_spaces(harness: Any, tasks: list[str]) -> None:
    """All three reach the data step for the first task: the names were understood."""
    done = harness("eval", "--model", "baseline:length", "--tasks", *tasks, "--data-dir", ".")
    assert done.returncode == 3  # neither can be had here, and each says so
    assert "autoj: " in done.stderr
    assert "rewardbench: " in done.stderr


def test_limit_is_partial_exit_0_and_the_same_for_every_candidate(harness: Any, pairs: Path) -> None:
    done = harness("eval", "--model", "baseline:length", "--model", "baseline:random", "--task-file", f"mine={pairs}",
                   "--limit", "2", "--json")  # fmt: skip
    runs = json.loads(done.stdout)["runs"]
    assert done.returncode == 0
    assert [(r["status"], r["n"]) for r in runs] == [("partial", 2)] * 2
    assert {"subset/even", "subset/odd"} <= runs[0]["metrics"].keys()  # spread evenly over the subsets


def test_a_task_that_cannot_run_does_not_stop_the_others(harness: Any, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "mbpp").mkdir(parents=True)
    write_rows(tmp_path / "data" / "mbpp" / "mbpp.jsonl", [
        {"task_id": 11, "text": "Write f.", "code": "def f(): pass", "test_list": ["assert f() is None"],
         "test_setup_code": "", "challenge_test_list": []}])  # fmt: skip
    done = harness("eval", "--model", "baseline:length", "--tasks", "mbpp_bon", "--task-file", f"mine={pairs}",
                   "--data-dir", "data", "--json")  # fmt: skip
    runs = {run["task"]: run for run in json.loads(done.stdout)["runs"]}
    assert runs["mine"]["status"] == "complete"
    assert runs["mbpp_bon"]["status"] == "failed"
    assert done.returncode == 3
    assert "harness pool import mbpp_bon" in done.stderr


def test_scores_of_a_real_model_are_stored_once(harness: Any, pairs: Path, tiny: Path) -> None:
    arguments = ("eval", "--model", tiny / "rm", "--task-file", f"mine={pairs}", "--json")
    first, again = harness(*arguments), harness(*arguments)
    assert first.returncode == again.returncode == 0, first.stderr
    assert only_run(first) == only_run(again)
    counts = json.loads(harness("ls", "candidates", "--json").stdout)
    assert [(c["runs"], c["rewards"]) for c in counts] == [(1, 8)]


def test_a_renamed_folder_is_the_same_candidate(harness: Any, pairs: Path, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "rm", tmp_path / "other-name")
    one = only_run(harness("eval", "--model", tiny / "rm", "--task-file", f"mine={pairs}", "--json"))
    two = only_run(harness("eval", "--model", "other-name", "--task-file", f"mine={pairs}", "--json"))
    assert one["candidate_id"] == two["candidate_id"]
    assert two["candidate"] == "other-name"


def test_another_template_is_another_protocol(harness: Any, pairs: Path, tiny: Path) -> None:
    base = ("eval", "--model", tiny / "rm", "--task-file", f"mine={pairs}", "--json")
    harness(*base)
    harness(*base, "--chat-template", "{% for m in messages %}{{ m['content'] }} {% endfor %}")
    harness(*base, "--max-length", "6")
    runs = json.loads(harness("ls", "runs", "--json").stdout)
    assert len(runs) == 3
    assert json.loads(harness("ls", "candidates", "--json").stdout)[0]["rewards"] == 24


def test_a_model_of_nans_fails_with_exit_3(harness: Any, pairs: Path, tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny / "rm", broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"].fill_(float("nan"))
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    done = harness("eval", "--model", broken, "--task-file", f"mine={pairs}", "--json")
    run = only_run(done)
    assert done.returncode == 3
    assert (run["status"], run["metrics"], run["unscored"]) == ("failed", {}, 4)
    assert "nan" in run["reason"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_resumes_to_the_same_content(tiny: Path, tmp_path: Path, harness: Any, stop: int) -> None:
    """Stop while rewards are being stored; the same command ends with the rewards of an undisturbed run."""
    rows = [{"id": str(i), "prompt": f"is {i} the sum of " + "all " * (i % 97), "responses": [f"a {i}", "b " * 40],
             "correct": [True, False]} for i in range(1500)]  # fmt: skip
    task = write_rows(tmp_path / "t.jsonl", rows)
    command = ["eval", "--model", str(tiny / "rm"), "--task-file", f"mine={task}", "--json", "--batch-tokens", "600",
               "--log-json", "batches.jsonl"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ}, text=True,
    )  # fmt: skip
    database = tmp_path / "harness.duckdb"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and _lines(tmp_path / "batches.jsonl") < 5:
        time.sleep(0.02)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 130, signal.SIGKILL: -9}[stop], errors
    stored = json.loads(harness("ls", "candidates", "--json").stdout)[0]["rewards"]
    assert 0 < stored < 3000, "the run was stopped before or after its scoring: the test saw nothing"
    assert harness(*command).returncode == 0
    assert harness(*command, "--db", "undisturbed.duckdb").returncode == 0
    assert _rewards(database) == _rewards(tmp_path / "undisturbed.duckdb")


def _lines(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


def _rewards(database: Path) -> list[tuple[Any, ...]]:
    import duckdb

    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(
            "SELECT e.id, response, reward, tokens, cut FROM rewards JOIN examples e ON e.key = example ORDER BY ALL"
        ).fetchall()
