"""`--executor ray` on a real cluster of three raylets: the same content as without it, whatever goes down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from executors_support import command, digest_of, logged

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start(tmp_path: Path, plugin: str) -> Callable[..., subprocess.Popen[str]]:
    def go(words: list[Any], told: Mapping[str, object]) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": plugin, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command(words, told), cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)  # fmt: skip

    return go


@pytest.fixture
def run(start: Callable[..., subprocess.Popen[str]]) -> Run:
    def go(*words: Any, **told: object) -> subprocess.CompletedProcess[str]:
        process = start(list(words), told)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return go


def evaluation(tiny: Path, task: Path, db: str) -> list[Any]:
    return ["eval", "--model", tiny / "rm", "--task-file", f"mine={task}", "--backend", "unruly", "--db", db]


def ray(nodes: Any) -> list[str]:
    return ["--executor", "ray", "--address", nodes.address]


@pytest.fixture
def sweep(tiny: Path, task: Path, tmp_path: Path) -> list[Any]:
    recipe = {"rm": str(tiny / "rm"), "experts": [{"model": str(tiny / "sft")}], "sweep": [0, 0.2, 0.4, 0.6, 0.8, 1],
              "baselines": ["rm", "baseline:length"]}  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(json.dumps(recipe))
    return ["sweep", "sweep.yaml", "--task-file", f"mine={task}", "--backend", "unruly"]


def test_a_sweep_loads_its_parents_once_per_worker_and_survives_a_killed_node(
    nodes: Any, run: Run, start: Any, sweep: list[Any], tmp_path: Path
) -> None:
    """Real models; a node is killed while both work. The content is that of a run in one process."""
    local = run(*sweep, "--db", "local.duckdb", like="hf")
    assert local.returncode == 0, local.stderr
    whole = run(*sweep, "--db", "whole.duckdb", *ray(nodes), like="hf", log=tmp_path / "whole.log")
    assert whole.returncode == 0, whole.stderr
    assert digest_of(tmp_path / "whole.duckdb") == digest_of(tmp_path / "local.duckdb")
    opened = [line[0] for line in logged(tmp_path / "whole.log") if line[1] == "open" and line[2:] != ["rm"]]
    assert len(opened) == 2, "two workers load the sweep's parents"
    assert len(set(opened)) == 2, "each of them once"
    followed = {line[0] for line in logged(tmp_path / "whole.log") if line[1] == "follow"}
    assert followed == set(opened), "and both go from lambda to lambda"

    log = tmp_path / "killed.log"
    told = {"like": "hf", "log": log, "sleep": 0.1}
    process = start([*sweep, "--db", "killed.duckdb", *ray(nodes), "--workers", "2"], told)
    _wait(lambda: len({line[0] for line in logged(log) if line[1] == "end"}) == 2, process)
    nodes.kill()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "a worker was lost" in err
    assert digest_of(tmp_path / "killed.duckdb") == digest_of(tmp_path / "local.duckdb")
    ended = sum(int(line[2]) for line in logged(log) if line[1] == "end")
    total = 7 * 360  # of rm and six lambdas
    assert ended <= total + 2 * max(int(line[2]) for line in logged(log) if line[1] == "end"), "finished work is kept"


def _wait(happened: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 240
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_accidents_of_single_workers_leave_no_trace(
    nodes: Any, run: Run, tiny: Path, task: Path, tmp_path: Path
) -> None:
    """Out of memory: killed over large chunks, retried with smaller ones. A straggler: its chunk is done elsewhere."""
    assert run(*evaluation(tiny, task, "local.duckdb")).returncode == 0
    memory = run(*evaluation(tiny, task, "memory.duckdb"), *ray(nodes), most=20, log=tmp_path / "log")
    assert memory.returncode == 0, memory.stderr
    assert "its process died" in memory.stderr
    assert max(int(line[2]) for line in logged(tmp_path / "log") if line[1] == "begin") > 20, "nobody was killed"
    assert digest_of(tmp_path / "memory.duckdb") == digest_of(tmp_path / "local.duckdb")
    slow = run(*evaluation(tiny, task, "slow.duckdb"), *ray(nodes), straggle=tmp_path / "straggler")
    assert slow.returncode == 0, slow.stderr
    assert (tmp_path / "straggler").exists()
    assert digest_of(tmp_path / "slow.duckdb") == digest_of(tmp_path / "local.duckdb")


def test_work_that_kills_every_worker_fails_alone(nodes: Any, run: Run, tiny: Path, task: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"id": "1", "prompt": "poison", "responses": ["a", "b"], "correct": [True, False]}))
    words = [*evaluation(tiny, bad, "h.duckdb"), "--task-file", f"good={task}", "--json", *ray(nodes)]
    done = run(*words, poison="poison")
    assert done.returncode == 3, done.stderr
    runs = {r["task"]: r for r in json.loads(done.stdout)["runs"]}
    assert runs["good"]["status"] == "complete"
    assert runs["mine"]["status"] == "failed"
    assert "4 workers were lost over the same 2 responses" in runs["mine"]["reason"]


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"refuse": "this model has no head"}, "harness: this model has no head"),
        ({"differ": "yes", "sleep": 0.3}, "two workers would score it differently (process"),
    ],
)
def test_a_workers_mistake_is_the_same_sentence(
    nodes: Any, run: Run, tiny: Path, task: Path, told: dict[str, str], complaint: str
) -> None:
    done = run(*evaluation(tiny, task, "h.duckdb"), *ray(nodes), **told)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.usefixtures("sandbox")
def test_checks_run_on_the_nodes_that_offer_a_sandbox(nodes: Any, plugin: str, tmp_path: Path) -> None:
    code = (
        "import sys; from tasks import sandbox; from harness.executors._cluster import cluster\n"
        "from harness.executors import _checks\n"
        "checks = [sandbox.Check(f'def f(): return {i % 7}', ('assert f() == 3',)) for i in range(100)]\n"
        "with cluster(sys.argv[1]):\n"
        "    assert _checks.offered() == 1\n"
        "    sandbox.check = None  # not in this process\n"
        "    print(*(v.status for v in _checks.check(checks)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, nodes.address], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": plugin}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == ["pass" if i % 7 == 3 else "fail" for i in range(100)]


@pytest.mark.usefixtures("sandbox")
def test_an_imported_pool_is_labelled_on_the_nodes_as_here(nodes: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "mbpp").mkdir(parents=True)
    rows = [{"task_id": i, "text": f"add {i}", "code": "", "test_list": [f"assert add(1) == {i + 1}"],
             "test_setup_code": "", "challenge_test_list": []} for i in range(11, 31)]  # fmt: skip
    (tmp_path / "data" / "mbpp" / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [f"def add(n):\n    return n + {k}" for k in (11, 12, 13)]
    pool = [{"example_id": str(row["task_id"]), "responses": [{"text": text, "source": "p"} for text in texts]}
            for row in rows]  # fmt: skip
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool))
    words = ["pool", "import", "mbpp_bon", "pool.jsonl", "--data-dir", "data", "--json", "--db"]
    there, here = run(*words, "ray.duckdb", *ray(nodes)), run(*words, "local.duckdb")
    assert (there.returncode, here.returncode) == (0, 0), there.stderr + here.stderr
    assert json.loads(there.stdout) == json.loads(here.stdout)
    assert json.loads(there.stdout)["correct"] == 3
    assert digest_of(tmp_path / "ray.duckdb") == digest_of(tmp_path / "local.duckdb")
