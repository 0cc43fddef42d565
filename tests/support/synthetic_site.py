"""Results databases made up for the page: a sweep with a real effect, controls without, four tasks in miniature.

Rewards are seeded normal numbers: candidate quality moves the correct responses up. Nothing here is a result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from results.records import (
    CandidateRecord,
    DatasetRecord,
    ExampleRecord,
    ProtocolRecord,
    RewardRecord,
    content_key,
)
from results.store import Store, open_store

SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "donotanswer": 136,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
    },
    "Reasoning": {
        "math-prm": 447,
        **dict.fromkeys(["hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"], 164),
    },
}
WORDS = ["step", "the", "sum", "equals", "value", "therefore", "function", "list", "because", "answer", "loop", "prime"]


@dataclass(frozen=True)
class Person:
    """A candidate with how much it knows in general and in the domain (log-odds-like, 0 = nothing)."""

    record: CandidateRecord
    general: float
    domain: float


@dataclass(frozen=True)
class Spec:
    """What to write. `scale` shrinks every task; `words` is the length of a response."""

    people: Sequence[Person]
    tasks: Sequence[str] = ("rewardbench", "autoj", "gsm8k_bon", "mbpp_bon")
    scale: float = 0.1
    pool: int = 4
    words: int = 8
    seed: int = 0
    statuses: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)  # (name, task) -> status, reason
    round_to: float | None = None  # rewards in steps: makes ties


def sweep(steps: int = 11, controls: bool = True) -> list[Person]:
    """A reward model and its merges with three experts: one that helps, two that do not."""
    rm = CandidateRecord(content_key("rm"), "tiny RM", "checkpoint", {"weights": content_key("weights")})
    people = [Person(rm, 1.2, 0.5)]
    for expert, gain in (("maths expert", 0.9), ("the base itself", 0.0), ("wrong facts", -0.05))[
        : 3 if controls else 1
    ]:
        for lam in np.linspace(0, 1, steps)[1:].round(4).tolist():
            peak = math.exp(-(((lam - 0.4) / 0.25) ** 2))
            detail = merge_detail("tiny RM", rm.id, expert, lam)
            name = f"tiny RM + {expert} λ={lam:g}"
            fall = 1.1 * max(0.0, lam - 0.6) ** 1.5
            people.append(
                Person(CandidateRecord(content_key(name), name, "merge", detail), 1.2 - fall, 0.5 + gain * peak - fall)
            )
    return people


def merge_detail(rm: str, rm_id: str, expert: str, lam: float, method: str = "linear") -> dict[str, Any]:
    """Recipe fields as merges record them."""
    return {
        "rm": rm,
        "rm_id": rm_id,
        "experts": [{"name": expert, "id": content_key(expert), "weight": lam}],
        "method": method,
        "formula": "lerp",
        "lambda": lam,
        "sweep": content_key([rm_id, expert, method]),
    }


def baselines() -> list[Person]:
    """A rule and a replayed model."""
    length = CandidateRecord(content_key({"baseline": "length"}), "baseline:length", "baseline", {"rule": "length"})
    replay = CandidateRecord(content_key({"replay": "other"}), "somebody's 7B", "replay")
    return [Person(length, 0.1, 0.1), Person(replay, 1.5, 0.6)]


def write_database(path: Path, spec: Spec) -> Path:
    """Write the whole database; returns `path`."""
    rng = np.random.default_rng(spec.seed)
    data = {name: dataset(name, spec, rng) for name in spec.tasks}
    hardness = {name: [rng.normal(0, 1, len(e.responses)) for e in d.examples] for name, d in data.items()}
    with open_store(path) as store:
        environment = store.add_environment(
            {"versions": {"python": "3.12", "torch": "2.9"}, "platform": "Linux", "processor": "test", "cores": 2}
        )
        settings = {"template": content_key("template"), "max_length": 2048, "dtype": "float32", "backend": "fake"}
        protocol = store.add_protocol(ProtocolRecord(settings))
        for person in spec.people:
            key = store.add_candidate(person.record)
            for name, record in data.items():
                status, reason = spec.statuses.get((person.record.name, name), ("complete", ""))
                command = f"harness eval --model '{person.record.name}' --tasks {name}"
                run = store.start_run(key, protocol, store.add_dataset(record), environment, seed=0, command=command)
                _score(store, key, protocol, record, person, hardness[name], spec)
                store.finish_run(run, status, reason)
    return path


def _score(
    store: Store, key: int, protocol: int, data: DatasetRecord, person: Person, hard: list[Any], spec: Spec
) -> None:
    rng = np.random.default_rng(int(person.record.id[:8], 16) + spec.seed)
    rows = []
    for example, base in zip(data.examples, hard, strict=True):
        skill = person.domain if _domain(data.task, example.subset) else person.general
        right = np.array([bool(x) for x in example.labels])
        values = 0.8 * base + 0.5 * rng.normal(size=len(base)) + skill * right
        if spec.round_to:
            values = np.round(values / spec.round_to) * spec.round_to
        rows += [
            RewardRecord(example.key, i, float(np.float32(v)), 40, i == 0 and v > 2.6) for i, v in enumerate(values)
        ]
    store.add_rewards(key, protocol, rows)


def _domain(task: str, subset: str) -> bool:
    return task.endswith("_bon") or subset.startswith(("math", "hep-", "code"))


def dataset(name: str, spec: Spec, rng: np.random.Generator) -> DatasetRecord:
    """One of the four tasks, made up in its published shape."""
    make = {"rewardbench": _rewardbench, "autoj": _autoj}.get(name, _best_of_n)
    examples, metrics, outcome = make(name, spec, rng)
    source = {
        "name": f"made-up {name}",
        "location": f"{name}.jsonl",
        "revision": None,
        "sha256": content_key(name),
        "pinned": False,
    }
    return DatasetRecord(name, outcome, examples, metrics, [source], notes=["made-up data, for tests only."])


def _example(
    i: int, spec: Spec, rng: np.random.Generator, labels: Sequence[bool], subset: str, **more: Any
) -> ExampleRecord:
    def text(word: str) -> str:
        picks = rng.integers(0, len(WORDS), spec.words)
        return f"{word} {i}: " + " ".join(
            WORDS[p] + str(n) for p, n in zip(picks, rng.integers(0, 100, spec.words), strict=True)
        )

    values = {"answers": [None] * len(labels), "reasons": [""] * len(labels), "stratum": "", "cluster": None} | more
    return ExampleRecord(
        example_id=str(i),
        prompt=[("user", text(f"Question in {subset}"))],
        responses=[text(f"Response {k} to") for k in range(len(labels))],
        labels=list(labels),
        sources=["made up"] * len(labels),
        subset=subset,
        weight=0.0,
        **values,
    )


def _rewardbench(_: str, spec: Spec, rng: np.random.Generator) -> tuple[list[ExampleRecord], list[dict[str, Any]], str]:
    examples: list[ExampleRecord] = []
    metrics: list[dict[str, Any]] = []
    for section, subsets in SECTIONS.items():
        for subset, n in subsets.items():
            for j in range(max(2, round(n * spec.scale))):
                cluster = f"problem {j}" if subset.startswith("hep-") else None
                examples.append(
                    _example(len(examples), spec, rng, [True, False], subset, stratum=section, cluster=cluster)
                )
        parts = [[f"subset/{s}", 984.0 if s == "math-prm" else float(n)] for s, n in subsets.items()]
        metrics.append({"key": f"section/{section}", "parts": parts, "outcome": "accuracy"})
    hep = [[f"subset/{s}", 164.0] for s in SECTIONS["Reasoning"] if s.startswith("hep-")]
    metrics.append({"key": "category/Code", "parts": hep, "outcome": "accuracy"})
    metrics.append({"key": "category/Math", "parts": [["subset/math-prm", 984.0]], "outcome": "accuracy"})
    metrics.append({"key": "score", "parts": [[f"section/{s}", 1.0] for s in SECTIONS], "outcome": "accuracy"})
    return examples, metrics, "accuracy"


def _autoj(_: str, spec: Spec, rng: np.random.Generator) -> tuple[list[ExampleRecord], list[dict[str, Any]], str]:
    groups = {
        "Exam": ["math_reasoning", "exam"],
        "Code": ["code_generation", "code_fixing"],
        "Writing": ["letters", "songs"],
    }
    examples = []
    for i in range(max(12, round(1392 * spec.scale))):
        subset = [s for members in groups.values() for s in members][i % 6]
        labels = [True, True] if i % 4 == 3 else [i % 2 == 0, i % 2 == 1]
        examples.append(
            _example(i, spec, rng, labels, subset, stratum=next(g for g, m in groups.items() if subset in m))
        )
    metrics = [
        {"key": f"category/{g}", "parts": [[f"subset/{s}", None] for s in m], "outcome": "accuracy"}
        for g, m in groups.items()
    ]
    metrics += [
        {"key": f"group/{g}", "parts": [[f"subset/{s}", None] for s in m], "outcome": "agreement"}
        for g, m in groups.items()
    ]
    metrics.append(
        {"key": "score", "parts": [[f"subset/{s}", None] for m in groups.values() for s in m], "outcome": "accuracy"}
    )
    return examples, metrics, "accuracy"


def _best_of_n(
    name: str, spec: Spec, rng: np.random.Generator
) -> tuple[list[ExampleRecord], list[dict[str, Any]], str]:
    total = 1319 if name.startswith("gsm8k") else 500
    examples = []
    for i in range(max(6, round(total * spec.scale))):
        labels = (rng.random(spec.pool) < rng.beta(0.8, 1.3)).tolist()
        more: dict[str, Any] = {"answers": ["18" if x else str(rng.integers(0, 5)) for x in labels]}
        if name.startswith("mbpp"):
            more = {"reasons": ["passed" if x else "failed: assertion 2 of 3" for x in labels]}
        examples.append(_example(i, spec, rng, labels, "all", **more))
    return examples, [], "best_of_n"
