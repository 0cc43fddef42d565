"""The texts of a pool are never all in memory: a pool four times as large is evaluated in about the same memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from results.pools import PoolRecord, PoolRow, save_pool
from results.store import open_store

EVALUATE = """
import sys
from pathlib import Path
from harness.loading import DataRequest
from harness.runner import EvalRequest, run_eval

folder = Path(sys.argv[1])
data = DataRequest(data={"gsm8k_bon": folder / "questions.jsonl"}, notify=lambda _: None)
(result,) = run_eval(EvalRequest(["m"], ["gsm8k_bon"], folder / "h.duckdb", backend="fake", data=data))
assert (result.status, result.n) == ("complete", int(sys.argv[2])), result
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""
RESPONSES, LENGTH = 8, 4000  # of an example; characters of a response


def peak(folder: Path, examples: int) -> float:
    """MB that a process takes at most to evaluate a pool of so many examples."""
    folder.mkdir()
    made = random.Random(0)
    texts = ((str(i), j, made.randbytes(LENGTH // 2).hex()) for i in range(examples) for j in range(RESPONSES))
    rows = [PoolRow(i, j, text, "policy", j == 0, str(j), "made") for i, j, text in texts]
    (folder / "questions.jsonl").write_text(
        "".join(json.dumps({"question": f"question {i}", "answer": "#### 0"}) + "\n" for i in range(examples))
    )
    source = {"name": "pool p", "location": "here", "revision": None, "sha256": "", "pinned": False}
    with open_store(folder / "h.duckdb") as store:
        save_pool(store, PoolRecord("gsm8k_bon", "p", rows, source))
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, str(folder), str(examples)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_a_pool_four_times_as_large_takes_about_the_same_memory(tmp_path: Path) -> None:
    small, large = (peak(tmp_path / str(n), n) for n in (300, 1200))  # 10 and 38 MB of texts
    assert large - small < 40, f"{small:.0f} MB for 300 examples, {large:.0f} MB for 1,200"
