"""Peak memory of evaluating pools of growing size, each in a fresh process: `memory` of bench/score.py.

Made-up questions with 4 to 16 responses each, 700 characters a response on average, as a stored pool of gsm8k_bon.
The whole of an evaluation counts: reading the pool, storing the data set, tokenising, scoring, metrics. Once without a
model (backend fake) and once with transformers and a Llama of one layer, so that the model's own memory is small.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

COUNTS = (12_500, 25_000, 50_000, 100_000)
QUICK = (2_000, 6_000)
BASE = 1_000  # responses; what this takes is the program itself
BOUND = 10  # MB, for twice the responses (18 MB of texts, more than 100 MB as tokens, rows and requests)
TEXT = (
    "then each of the remaining boxes is counted again because half were given away on Monday so the total number"
    " becomes twice what she had before and dividing by seven leaves eleven apples for every friend in class today"
)


def measure(quick: bool) -> Iterator[tuple[str, float | None, str, bool | None, dict[str, Any]]]:
    """(name, value, target, ok, more) of each figure."""
    if find_spec("duckdb") is None or not Path("/proc/self/status").exists():
        yield "memory of an evaluation", None, "", None, {"reason": "needs duckdb and /proc"}
        return
    counts = QUICK if quick else COUNTS
    for backend in ("fake",) if quick else ("fake", "hf"):
        with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
            base = _peak(Path(folder), BASE, backend)
            over = {count: _peak(Path(folder), count, backend) - base for count in counts}
        for count, grown in over.items():
            yield f"{backend}: {count:,} responses, MB over {BASE:,}", grown, "", None, {"base_mb": round(base)}
        for less, more in [(25_000, 50_000), (25_000, 100_000)] if not quick else [counts]:
            grown = over[more] - over[less]
            held = more == 2 * less  # fewer than 25,000 do not fill windows and caches; four times as many are reported
            yield (
                f"{backend}: {more:,} against {less:,} responses, MB",
                grown,
                f"<= {BOUND}" if held else "",
                grown <= BOUND if held else None,
                {},
            )


def _peak(folder: Path, count: int, backend: str) -> float:
    """MB: the largest resident size of a process that evaluates a pool of `count` responses.

    The least of three for large pools without a model: how memory fills up differs by some megabytes from run to run.
    """
    found = []
    for _ in range(3 if backend == "fake" and count >= COUNTS[0] else 1):
        for step in ("make", "eval"):
            command = [sys.executable, __file__, step, str(folder), str(count), backend]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            if done.returncode:
                raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
        found.append(float(json.loads(done.stdout.splitlines()[-1])["mb"]))
    return min(found)


def make(folder: Path, count: int, backend: str) -> None:
    """Questions, a database with their pool, a model."""
    from results.pools import PoolRecord, PoolRow, save_pool
    from results.store import open_store

    made, words = random.Random(0), TEXT.split()
    rows: list[PoolRow] = []
    questions = []
    while len(rows) < count:
        key, number = str(len(questions)), len(questions) % 97
        asked = f"Question {key}: {' '.join(made.choices(words, k=40))}?"
        questions.append({"question": asked, "answer": f"So it is.\n#### {number}"})
        for i in range(min(made.randint(4, 16), count - len(rows))):
            answer = str(number if made.random() < 0.5 else 1000 + made.randint(0, 9))
            text = f"Step {made.random()}: {' '.join(made.choices(words, k=made.randint(50, 220)))} So it is {answer}."
            rows.append(PoolRow(key, i, text, "policy", answer == str(number), answer, "last number"))
    (folder / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    source = {"name": "pool made", "location": "here", "revision": None, "sha256": "0" * 64, "pinned": False}
    for old in folder.glob("runs.duckdb*"):
        old.unlink()
    with open_store(_database(folder)) as store:
        save_pool(store, PoolRecord("gsm8k_bon", "made", rows, source))
    if backend == "hf" and not (folder / "model").exists():
        _model(folder / "model", [row.text for row in rows])


def _model(folder: Path, texts: list[str]) -> None:
    from _scoring_work import TEMPLATE, _group, train_tokenizer
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = train_tokenizer([_group("", "", texts[:200])], 1000)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=1000, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            num_labels=1, pad_token_id=2, bos_token_id=0, eos_token_id=1, max_position_embeddings=4096,
        )
    ).save_pretrained(folder)  # fmt: skip


def evaluate(folder: Path, backend: str) -> None:
    """One run of `harness eval`; prints the process' peak."""
    from harness.loading import DataRequest
    from harness.runner import EvalRequest, run_eval

    data = DataRequest(data={"gsm8k_bon": folder / "questions.jsonl"}, notify=lambda _: None)
    model = str(folder / "model") if backend == "hf" else "made-up"
    request = EvalRequest([model], ["gsm8k_bon"], _database(folder), backend=backend, data=data)
    (result,) = run_eval(request)
    assert result.status == "complete", result.reason
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"mb": int(peak.split()[1]) / 1024, "examples": result.n}))


def _database(folder: Path) -> Path:
    return folder / "runs.duckdb"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    step, place, count, backend = sys.argv[1:]
    if step == "make":
        make(Path(place), int(count), backend)
    else:
        evaluate(Path(place), backend)
