"""Contracts over everything that is discovered: a new file is tested the moment it exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness import plugins
from harness.candidate import Candidate
from harness.scoring._types import Request, ScoringOptions
from tasks._types import LoadRequest, Message, PoolTask, TaskError

ROOT = Path(__file__).resolve().parents[2]
TASKS, METHODS, BACKENDS = (sorted(plugins.known(kind)) for kind in (plugins.TASKS, plugins.METHODS, plugins.BACKENDS))
NO_MODEL = ("fake", "baseline", "replay")


def test_the_named_plugins_are_there() -> None:
    assert {"rewardbench", "autoj", "gsm8k_bon", "mbpp_bon"} <= set(TASKS)
    assert "linear" in METHODS
    assert {"hf", "fake", "replay", "baseline"} <= set(BACKENDS)


@pytest.mark.parametrize(
    ("kind", "name"),
    [*(("task", n) for n in TASKS), *(("method", n) for n in METHODS), *(("backend", n) for n in BACKENDS),
     *(("executor", n) for n in plugins.known(plugins.EXECUTORS))],
)  # fmt: skip
def test_every_plugin_explains_itself_in_its_first_sentence(kind: str, name: str) -> None:
    kinds = {"task": plugins.TASKS, "method": plugins.METHODS, "backend": plugins.BACKENDS,
             "executor": plugins.EXECUTORS}  # fmt: skip
    sentence = plugins.summary(kinds[kind], name)
    assert 10 < len(sentence) < 400


@pytest.mark.parametrize("name", TASKS)
def test_a_task_without_its_data_says_what_to_do(name: str, tmp_path: Path) -> None:
    task = plugins.load_task(name)
    assert task.title
    assert task.summary
    with pytest.raises(TaskError) as caught:
        task.load(LoadRequest(data_dir=tmp_path))
    assert "\n" not in str(caught.value)
    assert "--data-dir DIR" in str(caught.value) or "pool" in str(caught.value)


@pytest.mark.parametrize("name", TASKS)
def test_best_of_n_tasks_read_and_label_pools(name: str) -> None:
    task = plugins.load_task(name)
    assert isinstance(task, PoolTask) == name.endswith("_bon")


@pytest.mark.parametrize("name", [n for n in BACKENDS if n in NO_MODEL])
def test_backends_skip_nothing_but_what_is_done(name: str, tmp_path: Path) -> None:
    rewards = tmp_path / "r.jsonl"
    rewards.write_text('{"task": "t", "example_id": "0", "rewards": [1.0, 2.0]}\n')
    backend = plugins.load(plugins.BACKENDS, name).open_backend(
        Candidate("id", "baseline:length", "baseline"), ScoringOptions(rewards_file=rewards)
    )
    requests = [Request("k", i, (Message("user", "p"),), f"text {i}", "t", "0") for i in range(2)]
    protocol = backend.protocol()
    assert isinstance(protocol, Mapping)
    assert protocol["backend"] == name
    everything = {r.response: r.reward for batch in backend.score(requests, ()) for r in batch}
    assert everything.keys() == {0, 1}
    rest = {r.response: r.reward for batch in backend.score(requests, {("k", 0)}) for r in batch}
    assert rest[1] == everything[1]


def test_listing_and_help_import_nothing_heavy() -> None:
    """`harness --help` and `harness ls` stay instant: no torch, transformers, datasets, scipy or duckdb."""
    code = (
        "import sys; from harness.cli import main\n"
        "try: main.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'scipy', 'duckdb', 'vllm', 'ray', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    for arguments in (
        ["--help"],
        ["ls", "tasks"],
        ["ls", "methods"],
        ["ls", "backends"],
        ["ls", "executors"],
        ["merge", "--help"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)
        assert done.stdout


def test_files_and_functions_stay_small() -> None:
    """Files under 300 lines, functions under 50 (a command's options are its signature and do not count)."""
    too_long = []
    for package in ("harness", "tasks", "results", "leaderboard"):
        for path in (ROOT / package).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            if len(source.splitlines()) > 300:
                too_long.append(f"{path.relative_to(ROOT)}: {len(source.splitlines())} lines")
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    size = (node.end_lineno or 0) - node.body[0].lineno + 1
                    if size > 50:
                        too_long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {size} lines")
    assert too_long == []


TEXT = {".py", ".md", ".toml", ".html", ".j2", ".js", ".css", ".yaml", ".yml", ".txt", ".json"}


def test_the_public_text_names_no_machine() -> None:
    """No machine paths in what is committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    machine = re.compile(r"(?<!\w)/(?:ro{2}t|wor{1}k)/")
    found = [
        name
        for name in filter(None, listed.split("\0"))
        if (ROOT / name).suffix in TEXT and (ROOT / name).is_file()
        if machine.search((ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []
