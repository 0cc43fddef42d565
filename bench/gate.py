"""The gate over 200 nights without a change, and over nights with a real loss, through the store and the report.

Every night a new model of the same true quality is scored anew on the same three tasks (1,019 plain pairs; 1,200
weighted pairs, a third of them repeating problems; 660 questions of Best-of-4) and held against the night before,
as `harness nightly` does it: rewards into DuckDB, paired tests, Holm over the tasks. A false alarm is a night with a
regression on any task. At the default margin of half a point they are nearly impossible; with no margin at all
the level must be alpha, and the count of 200 nights is held to its binomial bound (three standard errors).

Prints one JSON line a figure, exits 1 where a target is missed. `--quick`: 60 nights; `--nights N`: any number.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import numpy as np

from harness.comparing._gather import Asked, Gatherer
from harness.comparing._report import Pairing, Report, Side
from leaderboard.gate import REGRESSION, Rule, judge
from results import queries
from results.records import CandidateRecord, DatasetRecord, ExampleRecord, ProtocolRecord, RewardRecord
from results.store import Store, open_store

ALPHA, MARGIN, LOSS = 0.05, 0.005, 0.035
SPREAD = 0.45  # of a model's own luck on an example, against 1 of the example's difficulty: a tenth are discordant
PAIRS = ("autoj", 1019), ("rewardbench", 1200)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="60 nights instead of 200")
    parser.add_argument("--nights", type=int, default=None)
    args = parser.parse_args()
    nights = args.nights or (60 if args.quick else 200)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "nights.duckdb") as store:
        figures = _figures(World(store), nights)
    for figure in figures:
        print(json.dumps(figure))
    return 0 if all(figure["ok"] for figure in figures) else 1


def _figures(world: World, nights: int) -> list[dict[str, object]]:
    alarms = {MARGIN: 0, 0.0: 0}
    seen, losses = 0, []
    before = world.night("night 0", 0.0)
    for number in range(1, nights + 1):
        tonight = world.night(f"night {number}", 0.0)
        report = world.compare(tonight, before)
        for margin in alarms:
            alarms[margin] += _verdict(report, margin) == REGRESSION
        if number % 2 == 0:
            worse = world.compare(world.night(f"worse {number}", world.shift), before)
            losses += [-row.comparison.difference for row in worse.rows]
            seen += _verdict(worse, MARGIN) == REGRESSION
        before = tonight
    rates = {margin: count / nights for margin, count in alarms.items()}
    bound = ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / nights)
    power = seen / (nights // 2)
    return [
        _figure(
            f"gate_false_alarm_rate_{nights}_nights_margin_half_point", rates[MARGIN], ALPHA, rates[MARGIN] <= ALPHA
        ),
        _figure(f"gate_false_alarm_rate_{nights}_nights_margin_zero", rates[0.0], round(bound, 3), rates[0.0] <= bound),
        _figure(f"gate_power_at_a_loss_of_{100 * float(np.mean(losses)):.1f}_points", power, 0.8, power >= 0.8),
    ]


def _verdict(report: Report, margin: float) -> str:
    return judge({i: row.comparison for i, row in enumerate(report.rows)}, Rule(margin, ALPHA)).verdict


def _figure(name: str, value: float, target: float, ok: bool) -> dict[str, object]:
    return {"name": name, "value": round(value, 4), "target": target, "ok": bool(ok)}


class World:
    """Three data sets whose examples have a difficulty, and models that differ in luck, or in quality by a shift."""

    def __init__(self, store: Store) -> None:
        self._store, self._rng = store, np.random.default_rng(2024)
        self._data = [_pairs(*PAIRS[0]), _weighted(*PAIRS[1]), _best_of(660)]
        self._keys = [store.add_dataset(data) for data in self._data]
        self._hard = [self._rng.normal(-1.0, 1.0, len(data.examples)) for data in self._data]
        self._protocol = store.add_protocol(ProtocolRecord({"backend": "fake"}))
        self._environment = store.add_environment({})
        self.shift = LOSS / 0.25  # the latent density at the threshold is about a quarter

    def night(self, name: str, shift: float) -> Side:
        """Score one model on all tasks; every reward goes into the store."""
        record = CandidateRecord(f"id of {name}", name, "fake")
        candidate = self._store.add_candidate(record)
        for data, key, hard in zip(self._data, self._keys, self._hard, strict=True):
            run = self._store.start_run(candidate, self._protocol, key, self._environment, seed=0, command="")
            rewards = self._rewards(data.examples, hard + shift)
            self._store.add_rewards(candidate, self._protocol, rewards)
            self._store.finish_run(run, "complete")
        return Side(name, record.id)

    def _rewards(self, examples: Sequence[ExampleRecord], hard: np.ndarray) -> list[RewardRecord]:
        """A correct response beats the wrong ones where luck exceeds difficulty."""
        found = []
        for example, difficulty in zip(examples, hard, strict=True):
            luck = self._rng.normal(0, SPREAD, len(example.labels))
            found += [RewardRecord(example.key, i, float(luck[i] - difficulty * bool(label)))
                      for i, label in enumerate(example.labels)]  # fmt: skip
        return found

    def compare(self, a: Side, b: Side) -> Report:
        runs = [run for side in (a, b) for run in queries.runs(self._store, candidate=side.id)]
        pair = Pairing(a, b)
        gatherer = Gatherer(self._store, runs)
        return gatherer.report(
            [(pair, t) for t in gatherer.tasks(pair)], Asked(rule=Rule(MARGIN, ALPHA), resamples=2000)
        )


def _example(number: int, labels: list[bool], subset: str, cluster: str | None = None) -> ExampleRecord:
    texts = [f"answer {i}" for i in range(len(labels))]
    nothing = [None] * len(labels)
    return ExampleRecord(
        str(number), [("user", f"{subset} {number}")], texts, labels, nothing, texts, texts, subset, "", 1.0, cluster
    )  # fmt: skip


def _pairs(task: str, n: int) -> DatasetRecord:
    metrics = [{"key": "score", "parts": [["subset/all", None]], "outcome": "accuracy"}]
    return DatasetRecord(task, "accuracy", [_example(i, [True, False], "all") for i in range(n)], metrics)


def _weighted(task: str, n: int) -> DatasetRecord:
    """Three subsets of 1/6, 1/3 and 1/2 of the examples, weighed alike; the second's problems stand there twice."""
    subsets = ["x" if i % 6 == 0 else "y" if i % 3 == 1 else "z" for i in range(n)]
    examples = [_example(i, [True, False], s, f"problem {i // 6}" if s == "y" else None) for i, s in enumerate(subsets)]
    metrics = [{"key": "score", "parts": [[f"subset/{s}", 1.0] for s in "xyz"], "outcome": "accuracy"}]
    return DatasetRecord(task, "accuracy", examples, metrics)


def _best_of(n: int) -> DatasetRecord:
    rng = np.random.default_rng(7)
    examples = [_example(i, (rng.random(4) < 0.5).tolist(), "bon") for i in range(n)]
    return DatasetRecord("gsm8k_bon", "best_of_n", examples, [])


if __name__ == "__main__":
    sys.exit(main())
