"""Workers that really run out of memory: ended by Ray, killed by the kernel, or refused an allocation.

What they share with a worker in a container of a real cluster is the container: a control group with a memory limit.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from container import Container, container
from executors_support import command, digest_of, logged

MB = 1 << 20
MONITORS = {
    "ray": {"RAY_memory_monitor_refresh_ms": "50", "RAY_memory_usage_threshold": "0.75"},
    "kernel": {"RAY_memory_monitor_refresh_ms": "0"},
}
HOST = re.escape(socket.gethostname())
TOLD = {
    "ray": rf"out of memory: Ray ended it on {HOST} at [\d.]+GB used / 1\.76GB",
    "kernel": rf"out of memory: the kernel killed it on {HOST}",
}
ADVICE = (
    r": smaller batches \(--batch-tokens\), fewer workers on a node \(--workers\) or more memory help;"
    r" what is finished is kept, and the same command goes on from there"
)
RAY = ["--executor", "ray", "--workers"]


@pytest.fixture(scope="module")
def small() -> Iterator[Container]:
    """1,800 MB, of which Ray's own processes and the driver take a third."""
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    with ExitStack() as stack:
        try:
            held = stack.enter_context(container(1800))
        except OSError as error:
            pytest.skip(f"no control group with a memory limit can be made here: {error}")
        yield held


@pytest.fixture
def run(tmp_path: Path, plugin: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A command, in a container if one is given; those that take too much there are ended by `monitor`."""

    def go(
        *words: Any, held: Container | None = None, monitor: str = "ray", **told: object
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": plugin, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": "", **MONITORS[monitor]}
        prefix = [] if held is None else held.command
        return subprocess.run(
            [*prefix, *command(words, told)], cwd=tmp_path, env=env, text=True, capture_output=True, timeout=300,
            check=False,
        )  # fmt: skip

    return go


def evaluation(tiny: Path, task: Path, db: str) -> list[Any]:
    return ["eval", "--model", tiny / "rm", "--task-file", f"mine={task}", "--backend", "unruly", "--db", db]


def losses(told: str) -> list[str]:
    """What is said of each lost worker."""
    return [line.partition("a worker was lost ")[2] for line in told.splitlines() if "a worker was lost " in line]


def ended(log: Path) -> int:
    """Responses of all chunks that came to their end."""
    return sum(int(line[2]) for line in logged(log) if line[1] == "end")


@pytest.mark.parametrize(("monitor", "each"), [("ray", 16), ("kernel", 24)])
def test_a_chunk_too_large_for_memory_is_done_in_parts(
    small: Container, run: Any, tiny: Path, task: Path, tmp_path: Path, monitor: str, each: int
) -> None:
    """So many MB a response: the last chunks, of 60 and more, do not fit; their halves do."""
    assert run(*evaluation(tiny, task, "local.duckdb")).returncode == 0
    before = small.kills
    words = [*evaluation(tiny, task, "h.duckdb"), *RAY, "1"]
    done = run(*words, held=small, monitor=monitor, hoard=each * MB, log=tmp_path / "log")
    assert done.returncode == 0, done.stderr
    lost = losses(done.stderr)
    assert lost, done.stderr
    assert all(re.fullmatch(rf"\({TOLD[monitor]}\); its unfinished work goes to others", line) for line in lost)
    assert small.kills - before == (len(lost) if monitor == "kernel" else 0)
    assert digest_of(tmp_path / "h.duckdb") == digest_of(tmp_path / "local.duckdb")
    assert ended(tmp_path / "log") == 360, "every response once"


def test_a_prompt_that_takes_all_memory_ends_its_run_with_advice_and_is_done_later(
    small: Container, run: Any, tiny: Path, task: Path, tmp_path: Path
) -> None:
    greedy = tmp_path / "greedy.jsonl"
    row = {"id": "g", "prompt": "greed", "responses": ["a", "b"], "correct": [True, False]}
    greedy.write_text(task.read_text() + json.dumps(row) + "\n")
    words = evaluation(tiny, greedy, "h.duckdb")
    there = run(*words, *RAY, "1", "--json", held=small, glutton="greed", log=tmp_path / "log")
    assert there.returncode == 3, there.stderr
    assert len(losses(there.stderr)) == 4, there.stderr
    reason = json.loads(there.stdout)["runs"][0]["reason"]
    assert re.search(rf"4 workers were lost over the same \d+ responses \(the last: {TOLD['ray']}\){ADVICE}$", reason)
    kept = ended(tmp_path / "log")
    assert 0 < kept < 362
    assert run(*words, log=tmp_path / "again").returncode == 0
    begun = [(int(line[2]), int(line[3])) for line in logged(tmp_path / "again") if line[1] == "begin"]
    assert sum(asked - done for asked, done in begun) == 362 - kept
    assert run(*evaluation(tiny, greedy, "local.duckdb")).returncode == 0
    assert digest_of(tmp_path / "h.duckdb") == digest_of(tmp_path / "local.duckdb")


def test_a_worker_too_many_is_given_up_and_the_others_go_on(
    small: Container, run: Any, tiny: Path, task: Path, tmp_path: Path
) -> None:
    """Models of 480 MB: one fits beside Ray and the driver, two do not."""
    assert run(*evaluation(tiny, task, "local.duckdb")).returncode == 0
    words = [*evaluation(tiny, task, "h.duckdb"), *RAY, "2"]
    done = run(*words, held=small, weight=480 * MB, sleep=0.8, log=tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert 2 <= len(losses(done.stderr)) <= 4, done.stderr
    assert (
        f"no memory for another worker on {socket.gethostname()}: 1 go on (--workers 1 starts no more)" in done.stderr
    )
    assert digest_of(tmp_path / "h.duckdb") == digest_of(tmp_path / "local.duckdb")
    assert ended(tmp_path / "log") == 360


@pytest.fixture
def two_nodes(small: Container, plugin: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a cluster: this machine as its head with one CPU, and a node with one more in the container."""
    from ray.cluster_utils import Cluster

    for name, value in {"PYTHONPATH": plugin, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": "", **MONITORS["kernel"]}.items():
        monkeypatch.setenv(name, value)
    arguments = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    join = ["start", f"--address={cluster.address}", "--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000"]
    node = subprocess.Popen(
        [*small.command, sys.executable, "-m", "ray.scripts.scripts", *join, "--block"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert node.stdout is not None
        assert any("Ray runtime started" in line for line in node.stdout)
        yield str(cluster.address)
    finally:
        node.terminate()
        node.communicate(timeout=60)
        cluster.shutdown()


def test_work_that_the_kernel_ended_on_one_node_is_done_on_the_other(
    two_nodes: str, small: Container, run: Any, tiny: Path, task: Path, tmp_path: Path
) -> None:
    """50 MB a response: chunks of 15 to 33 on a node with room for 30, and on one with room for all."""
    assert run(*evaluation(tiny, task, "local.duckdb")).returncode == 0
    before = small.kills
    words = [*evaluation(tiny, task, "h.duckdb"), *RAY, "2", "--address", two_nodes]
    done = run(*words, monitor="kernel", hoard=50 * MB, log=tmp_path / "log")
    assert done.returncode == 0, done.stderr
    lost = losses(done.stderr)
    assert len(lost) == small.kills - before > 0, done.stderr
    assert all(re.fullmatch(rf"\({TOLD['kernel']}\); its unfinished work goes to others", line) for line in lost)
    log = logged(tmp_path / "log")
    finished = {line[0]: sum(int(other[2]) for other in log if other[:2] == [line[0], "end"]) for line in log}
    assert sum(finished.values()) == 360
    assert sum(count > 0 for count in finished.values()) >= 2, "both nodes have scored"
    assert digest_of(tmp_path / "h.duckdb") == digest_of(tmp_path / "local.duckdb")


@pytest.fixture
def wide(tmp_path: Path) -> tuple[Path, Path]:
    """A real model whose MLP takes 32 kB a token, and a task of many tokens."""
    import torch
    from tiny import WORDS, tokenizer
    from transformers import LlamaConfig, LlamaForSequenceClassification

    words, common = tokenizer(["[PAD]"]), WORDS.split()
    sizes = {"hidden_size": 64, "intermediate_size": 8192, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.1}  # fmt: skip
    config = LlamaConfig(vocab_size=len(words), bos_token_id=1, eos_token_id=2, pad_token_id=2, num_labels=1, **sizes)
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "wide" / "rm")
    words.save_pretrained(tmp_path / "wide" / "rm")

    def text(seed: int, count: int) -> str:
        return " ".join(common[(seed * 7 + k * k + k // (1 + seed % 5)) % len(common)] for k in range(count))

    rows = [{"id": str(i), "prompt": text(i, 20 + i), "responses": [text(1000 + 3 * i + j, 100) for j in range(3)],
             "correct": [True, False, False]} for i in range(40)]  # fmt: skip
    (tmp_path / "wide.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "wide", tmp_path / "wide.jsonl"


def test_an_allocation_that_torch_is_refused_halves_the_batches_and_costs_no_worker(
    run: Any, wide: tuple[Path, Path], tmp_path: Path
) -> None:
    """100 MB of address space on top of the model, for batches of 2,000 tokens: three tensors of 65 MB a layer."""
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    whole = ["--batch-tokens", "100000"]
    assert run(*evaluation(*wide, "local.duckdb"), *whole, like="hf").returncode == 0
    there = [*evaluation(*wide, "h.duckdb"), *whole, *RAY, "1", "--log-json", "log.jsonl"]
    done = run(*there, like="hf", room=100 * MB, log=tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert losses(done.stderr) == []
    budgets = [json.loads(line).get("budget", 0) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert 100_000 in budgets, "without the limit"
    assert 0 < min(budgets) < 2_000, "and with it"
    assert ended(tmp_path / "log") == 120
    assert digest_of(tmp_path / "h.duckdb") == digest_of(tmp_path / "local.duckdb")
