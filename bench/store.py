"""Speed and size of the results store: 50 candidates on four benchmarks, 1.86 million rewards.

    python bench/store.py [--quick] [--candidates 50] [--folder DIR]

The same rows are written to and read from plain Parquet in the same run: what one pays for transactions, keys that
are never scored twice, and resume. One JSON line a figure; exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leaderboard.metrics import Measured, metric_values
from results import queries
from results.digest import digest
from results.records import CandidateRecord, DatasetRecord, ExampleRecord, ProtocolRecord, RewardRecord
from results.store import Store, open_store

SHAPES = {"rewardbench": (2985, 2), "autoj": (1019, 2), "gsm8k_bon": (1319, 16), "mbpp_bon": (500, 16)}
BATCH = 8192  # rewards a commit


def make_dataset(task: str, count: int, size: int) -> DatasetRecord:
    """Examples with short texts, so that the file's size is what the store needs besides texts."""
    rng = np.random.default_rng(len(task))
    best_of_n = size > 2
    examples = [
        ExampleRecord(
            example_id=str(i), prompt=[("user", f"{task} {i}")], responses=[f"{i} {j}" for j in range(size)],
            labels=[bool(x) for x in rng.random(size) < 0.5] if best_of_n else [True, False],
            answers=[str(x) for x in rng.integers(0, 5, size)] if best_of_n else [None] * size,
            sources=[""] * size, reasons=[""] * size, subset=f"subset {i % 20}", stratum=f"section {i % 4}",
            weight=1 / count, cluster=None,
        )
        for i in range(count)
    ]  # fmt: skip
    parts = sorted({e.subset for e in examples})
    outcome = "best_of_n" if best_of_n else "accuracy"
    metrics = [{"key": "score", "parts": [[f"subset/{p}", None] for p in parts], "outcome": outcome}]
    return DatasetRecord(task, outcome, examples, metrics)


def make_rewards(data: DatasetRecord, seed: int) -> list[RewardRecord]:
    """Random float32 rewards of every response, as a backend yields them."""
    rng = np.random.default_rng(seed)
    keys = [e.key for e in data.examples]
    size = len(data.examples[0].responses)
    values = rng.normal(size=(len(keys), size)).astype(np.float32).tolist()
    tokens = rng.integers(50, 900, size=(len(keys), size)).tolist()
    return [RewardRecord(k, j, values[i][j], tokens[i][j]) for i, k in enumerate(keys) for j in range(size)]


def ingest(store: Store, data: dict[str, DatasetRecord], candidates: int, parquet: Path) -> dict[str, float]:
    """Rows, seconds (wall and processor) in the store, seconds of writing the same rows as Parquet."""
    rows, ours, plain, busy = 0, 0.0, 0.0, 0.0
    keys = {task: store.add_dataset(record) for task, record in data.items()}
    protocol, environment = store.add_protocol(ProtocolRecord({"backend": "bench"})), store.add_environment({})
    for number in range(candidates):
        candidate = store.add_candidate(CandidateRecord(f"c{number}", f"candidate {number}", "checkpoint"))
        for task, record in data.items():
            rewards = make_rewards(record, number)
            start, used = time.perf_counter(), time.process_time()
            run = store.start_run(candidate, protocol, keys[task], environment, seed=0, command="bench")
            for at in range(0, len(rewards), BATCH):
                store.add_rewards(candidate, protocol, rewards[at : at + BATCH])
            store.finish_run(run, "complete")
            ours += time.perf_counter() - start
            busy += time.process_time() - used
            start = time.perf_counter()
            names = ("example_key", "response", "reward", "tokens", "cut", "reason")
            table = pa.table({name: [getattr(r, name) for r in rewards] for name in names})
            with (parquet / f"{number}-{task}.parquet").open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            plain += time.perf_counter() - start
            rows += len(rewards)
    return {"rows": rows, "seconds": ours, "cpu": busy, "parquet": plain}


def best(work: Callable[[], Any], rounds: int = 15) -> tuple[float, float]:
    """Best wall and processor seconds of a call: what it takes when nobody else wants the machine."""
    wall, busy = [], []
    for _ in range(rounds):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        busy.append(time.process_time() - used)
    return min(wall), min(busy)


def read_back(store: Store, number: int) -> None:
    """One candidate's headline score on every task, from its raw rewards."""
    for run in queries.runs(store, candidate=f"c{number}"):
        metric_values(Measured(queries.run_rewards(store, run)))


def resume(store: Store, data: dict[str, DatasetRecord]) -> None:
    """What `harness eval` does when all of a candidate's work is done: data sets by content, rewards by key."""
    candidate = store.add_candidate(CandidateRecord("c0", "candidate 0", "checkpoint"))
    protocol = store.add_protocol(ProtocolRecord({"backend": "bench"}))
    for record in data.values():
        dataset = store.add_dataset(record)
        stored, total = queries.progress(store, candidate, protocol, dataset)
        assert stored == total


def figure(name: str, value: float, target: float | None, ok: bool | None, **more: Any) -> bool:
    """Print one figure; returns False where a target is missed."""
    shown = {"name": name, "value": round(value, 4), "target": target, "ok": ok, **more}
    print(json.dumps(shown), flush=True)
    return ok is not False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 candidates instead of 50")
    parser.add_argument("--candidates", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    count = options.candidates or (8 if options.quick else 50)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return measure(Path(folder), count)


def measure(folder: Path, count: int) -> int:
    data = {task: make_dataset(task, *shape) for task, shape in SHAPES.items()}
    path, parquet = folder / "bench.duckdb", folder / "parquet"
    parquet.mkdir()
    with open_store(path) as store:
        took = ingest(store, data, count, parquet)
    rows, speed = int(took["rows"]), took["rows"] / took["seconds"]
    size = path.stat().st_size / 1e6
    plain_size = sum(file.stat().st_size for file in parquet.iterdir()) / 1e6
    bound = 150 * rows / 1.86e6 + 10 * (count < 50)  # the file's fixed part shows at --quick
    good = [
        figure("store/rows", rows, None, None, candidates=count),
        figure("store/ingest_rows_per_s", speed, 200_000, speed >= 200_000, batch=BATCH,
               rows_per_cpu_s=round(rows / took["cpu"])),
        figure("store/ingest_seconds_over_parquet", took["seconds"] / took["parquet"], None, None),
        figure("store/size_mb_besides_texts", size, round(bound, 1), size <= bound),
        figure("store/size_over_parquet", size / plain_size, None, None),
    ]  # fmt: skip
    return 0 if all([*good, *queries_of(path, parquet, data, count)]) else 1


def queries_of(path: Path, parquet: Path, data: dict[str, DatasetRecord], count: int) -> list[bool]:
    """Figures of reading: one candidate in the middle of the file."""
    middle = count // 2
    with open_store(path) as store:
        query, busy = best(lambda: read_back(store, middle))
        raw, _ = best(lambda: [queries.run_rewards(store, r) for r in queries.runs(store, candidate=f"c{middle}")])
        scan, _ = best(lambda: [pq.read_table(file) for file in parquet.glob(f"{middle}-*.parquet")])
        decision, decision_busy = best(lambda: resume(store, data), 5)
        whole, _ = best(lambda: digest(store), 1)
    return [
        figure("store/candidate_metrics_ms", 1e3 * query, 100, query <= 0.1, tasks=len(SHAPES),
               cpu_ms=round(1e3 * busy, 1)),
        figure("store/candidate_rewards_ms", 1e3 * raw, None, None),
        figure("store/candidate_rewards_over_parquet", raw / scan, None, None),
        figure("store/resume_decision_s", decision, 1, decision <= 1, cpu_s=round(decision_busy, 3)),
        figure("store/digest_s", whole, None, None),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
