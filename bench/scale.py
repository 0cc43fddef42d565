"""Scoring on Ray workers: speed-up on two cores, and how many requests a second one driver can hand out and store.

    python bench/scale.py [--quick] [--rounds 3]

A random Llama of 22M parameters, one thread a worker, float32; the floor is a matrix product in one and in two plain
processes. Rates count from the moment when every worker has
answered once, so that starting Ray and loading the model (reported apart) do not hide in them. The driver's ceiling is
taken with the fake backend, whose workers do next to nothing, through the whole path into the database; what a request
costs the driver in processor time says what a driver with a core of its own could do. One JSON line a figure; exit
code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # the workers import the same

import torch
from _scoring_work import TEMPLATE, random_model, train_tokenizer

from harness.candidate import Candidate, named, resolve
from harness.executors._types import ExecutorOptions, Job, Work
from harness.executors.local import LocalExecutor
from harness.executors.ray import open_executor
from harness.runner import EvalRequest, Session
from harness.scoring._types import BatchReport, Request, ScoringOptions
from results.records import DatasetRecord, ExampleRecord, RewardRecord
from results.store import open_store
from tasks._types import Message

H200_RESPONSES = 21_104 / 59  # a second: GSM8K, 16 answers a question, 7B in bfloat16 (estimate; docs/cluster.md)
WORDS = "the sum of three and seven is ten so we add first then multiply because each box holds two more apples"


class Watch(Session):
    """A session that notes when rewards arrive: (seconds, processor seconds, rewards, computed tokens)."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[tuple[float, float, int, int]] = []
        self.computed = 0

    def store(self, job: Job, batch: Sequence[RewardRecord]) -> None:
        super().store(job, batch)
        self.seen.append((time.perf_counter(), time.process_time(), len(batch), 0))

    def report(self, job: Job, batch: BatchReport) -> None:
        super().report(job, batch)
        self.seen.append((time.perf_counter(), time.process_time(), 0, batch.computed))

    def since(self, skipped: int) -> Mapping[str, float]:
        """Rates from the `skipped`-th store on."""
        stores = [i for i, (_, _, rewards, _) in enumerate(self.seen) if rewards]
        first = stores[min(skipped, len(stores) - 2)]
        start, rest = self.seen[first], self.seen[first + 1 :]
        while rest and not rest[0][2]:
            rest = rest[1:]  # reports of the store that starts the clock
        return {
            "seconds": rest[-1][0] - start[0],
            "cpu": rest[-1][1] - start[1],
            "rewards": sum(r for _, _, r, _ in rest),
            "tokens": sum(t for _, _, _, t in rest),
        }


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS.split(), k=words))


def make_work(questions: int, answers: int, words: int, seed: int) -> Work:
    """Questions of about `words` words with so many answers each."""
    rng = random.Random(seed)
    examples = [
        ExampleRecord(
            example_id=str(i), prompt=[("user", text(rng, rng.randint(words // 2, 3 * words // 2)))],
            responses=[text(rng, rng.randint(words // 2, 3 * words // 2)) for _ in range(answers)],
            labels=[True] * answers, answers=[None] * answers, sources=[""] * answers, reasons=[""] * answers,
            subset="all", stratum="", weight=1 / questions, cluster=None,
        ) for i in range(questions)
    ]  # fmt: skip
    metrics = [{"key": "score", "parts": [["subset/all", None]], "outcome": "best_of_n"}]
    return Work(DatasetRecord("bench", "best_of_n", examples, metrics))


def make_model(folder: Path, work: Work) -> Candidate:
    random_model("22m", torch.device("cpu"), torch.float32).save_pretrained(folder)
    words = train_tokenizer([[Request("w", 0, (Message("user", WORDS),), WORDS)], work.requests])
    words.chat_template = TEMPLATE
    words.save_pretrained(folder)
    return resolve(str(folder), name="22m")


def score(folder: Path, chosen: list[Candidate], work: Work, workers: int, backend: str | None) -> tuple[Watch, float]:
    """One evaluation into a new database; `workers` 0 is this process. Returns what was seen, and seconds in all."""
    options = ExecutorOptions(backend, ScoringOptions(), workers=workers or None)
    database = folder / f"{len(list(folder.glob('*.duckdb')))}.duckdb"
    start = time.perf_counter()
    with open_store(database) as store, LocalExecutor(options) if not workers else open_executor(options) as executor:
        session = Watch(store, EvalRequest([], [], database), executor)
        results = session.evaluate(chosen, {"bench": work})
    assert all(result.status == "complete" for result in results), results
    return session, time.perf_counter() - start


def figure(name: str, value: float, target: float | None, **more: Any) -> bool:
    """Print one figure; returns False where a target is missed."""
    ok = None if target is None else value >= target
    print(json.dumps({"name": name, "value": round(value, 3), "target": target, "ok": ok, **more}), flush=True)
    return ok is not False


_PRODUCT = (
    "import torch, time; a = torch.randn(768, 768); n = 0; end = time.time() + 3\n"
    "while time.time() < end: torch.mm(a, a); n += 1\n"
    "print(n)"
)


def machine(processes: int) -> int:
    """Matrix products that so many processes finish in three seconds: what the cores give without us."""
    started = [subprocess.Popen([sys.executable, "-c", _PRODUCT], stdout=subprocess.PIPE) for _ in range(processes)]
    return sum(int(process.communicate()[0]) for process in started)


def speed_up(folder: Path, questions: int, rounds: int) -> list[bool]:
    """Tokens a second with no, one and two workers, each the best of some rounds taken in turn."""
    work = make_work(questions, 4, 60, 0)
    model = make_model(folder / "model", work)
    best: dict[int, float] = {}
    startup: dict[int, float] = {}
    floor: dict[int, int] = {}
    for _ in range(rounds):
        for processes in (1, 2):
            floor[processes] = max(floor.get(processes, 0), machine(processes))
        for workers in (0, 1, 2):
            watch, whole = score(folder, [model], work, workers, None)
            seen = watch.since(2 * workers)
            best[workers] = max(best.get(workers, 0.0), seen["tokens"] / seen["seconds"])
            startup[workers] = min(startup.get(workers, 1e9), whole - seen["seconds"])
    gained, possible = best[2] / best[1], floor[2] / floor[1]
    return [
        figure("scale/local_tokens_per_s", best[0], None),
        figure("scale/one_worker_over_local", best[1] / best[0], 0.9),
        figure("scale/two_workers_over_one", gained, 1.7 if possible > 1.9 else None),
        figure("scale/two_processes_over_one", possible, None, what="matrix products, without Ray or us"),
        figure("scale/of_the_possible_speed_up", gained / possible, 0.85),
        figure("scale/seconds_before_full_speed", startup[2], None, local=round(startup[0], 2)),
    ]


def ceiling(folder: Path, questions: int, candidates: int) -> list[bool]:
    """Requests a second through driver and store, with workers that cost nothing."""
    work = make_work(questions, 16, 60, 1)
    chosen = [named(f"c{i}", "fake") for i in range(candidates)]
    watch, _ = score(folder, chosen, work, 2, "fake")
    seen = watch.since(4)
    rate, alone = seen["rewards"] / seen["seconds"], seen["rewards"] / seen["cpu"]
    return [
        figure("scale/driver_requests_per_s", rate, 20 * H200_RESPONSES, requests=int(seen["rewards"])),
        figure("scale/driver_requests_per_cpu_s", alone, None),
        figure("scale/h200_fed_by_one_driver", rate / H200_RESPONSES, 20, responses_per_gpu_s=round(H200_RESPONSES)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, fewer questions")
    parser.add_argument("--rounds", type=int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = speed_up(Path(folder), 60 if options.quick else 200, options.rounds or (1 if options.quick else 3))
        good += ceiling(Path(folder), 400 if options.quick else 1319, 3 if options.quick else 10)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
