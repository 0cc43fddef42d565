"""Two Ray workers, each with a real vLLM engine on the CPU. `.ci/vllm` runs this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from executors_support import command, logged

sys.path.insert(0, str(Path(__file__).parents[1] / "scoring"))

from scoring_models import write_model

HEADS = {"hidden_size": 64, "head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}  # what vLLM takes
BOUND = 2e-5  # of float32 rewards, in their standard deviations: as of one engine against transformers


def stored(path: Path) -> dict[str, np.ndarray]:
    """Rewards of every candidate, in the data set's order."""
    from results.queries import run_rewards, runs
    from results.store import open_store

    with open_store(path, read_only=True) as store:
        return {run["candidate_id"]: run_rewards(store, run).rewards for run in runs(store)}


@pytest.mark.vllm
@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed here: .ci/vllm runs this test")
@pytest.mark.filterwarnings("ignore")  # vLLM's own
def test_two_engines_on_ray_workers_swap_weights_and_give_the_rewards_of_one(tmp_path: Path, plugin: str) -> None:
    """Four lambdas: each worker starts one engine, and the merges that it takes follow each other in it."""
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    write_model(tmp_path / "rm", "llama", 1, **HEADS)
    write_model(tmp_path / "sft", "llama", 2, task="CausalLM", **HEADS)
    recipe = {"rm": "rm", "experts": [{"model": "sft"}], "sweep": [0.2, 0.4, 0.6, 0.8]}
    (tmp_path / "sweep.yaml").write_text(json.dumps(recipe))
    rows = [{"id": str(i), "prompt": "what is the a of b " * (1 + 2 * i), "correct": [True, False, False],
             "responses": ["it is the one", "not", "a " * 9 * i]} for i in range(8)]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["sweep", "sweep.yaml", "--task-file", "mine=t.jsonl", "--device", "cpu"]
    env = {**os.environ, "PYTHONPATH": plugin, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ""}

    def run(*more: str, **told: object) -> str:
        done = subprocess.run(command([*words, *more], told), cwd=tmp_path, env=env, capture_output=True, text=True,
                              timeout=600, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    run("--backend", "vllm", "--db", "local.duckdb")
    told = run("--backend", "unruly", "--db", "h.duckdb", "--executor", "ray", "--workers", "2",
               like="vllm", sleep=0.5, log=tmp_path / "log")  # fmt: skip
    assert "vLLM agrees with transformers" in told
    assert "a worker was lost" not in told
    assert len({line[0] for line in logged(tmp_path / "log") if line[1] == "open"}) == 2
    assert len({line[0] for line in logged(tmp_path / "log") if line[1] == "end"}) == 2, "both have scored"
    assert any(line[1] == "follow" for line in logged(tmp_path / "log")), "weights were swapped"
    one, two = stored(tmp_path / "local.duckdb"), stored(tmp_path / "h.duckdb")
    assert one.keys() == two.keys()
    assert len(one) >= 4
    for candidate, rewards in one.items():
        assert np.isfinite(rewards).all()
        assert np.abs(two[candidate] - rewards).max() < BOUND * np.std(rewards)
    assert len({rewards.tobytes() for rewards in one.values()}) == len(one), "each lambda has its own"
