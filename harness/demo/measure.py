"""What merging does in one trained world: accuracy over lambda, the paired test, and the two controls.

Merges are the harness' rule, lerp in fp32 rounded to the fp16 of the shipped files, scored in fp32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from harness.demo import data, lessons, train, world
from harness.demo.train import Progress
from harness.demo.world import Pair, Words
from leaderboard.stats.mcnemar import mcnemar_exact

LAMBDAS = tuple(i / 10 for i in range(11))
EXPERTS = ("sft", "base", "sft_wrong")
VALIDATION_PAIRS = 500  # a side; lambda is chosen on them, never on the shipped data
BATCH = 1000


def merged(rm: Any, expert: Any, weight: float) -> Any:
    """The reward model with its body moved towards the expert's; the head stays the reward model's."""
    model = LlamaForSequenceClassification(rm.config)
    body, other = rm.model.state_dict(), expert.model.state_dict()
    if weight == 1:
        body = other
    elif weight:
        body = {name: torch.lerp(w.float(), other[name].float(), weight).half() for name, w in body.items()}
    model.model.load_state_dict(body)
    model.score.load_state_dict(rm.score.state_dict())
    return model.float().eval()


@torch.no_grad()
def score(model: Any, texts: Sequence[Sequence[int]]) -> Tensor:
    """Rewards, shape (n,); equal texts are scored once, in batches of like lengths."""
    distinct = sorted({tuple(text) for text in texts}, key=len)
    found: dict[tuple[int, ...], float] = {}
    for start in range(0, len(distinct), BATCH):
        batch = distinct[start : start + BATCH]
        found.update(zip(batch, train.rewards(model, batch).tolist(), strict=True))
    return torch.tensor([found[tuple(text)] for text in texts])


def wins(model: Any, pairs: Sequence[Pair]) -> Tensor:
    """Which pairs the model gets right, shape (n,), bool: right strictly above wrong."""
    right = [lessons.encode(p.question, p.right) for p in pairs]
    wrong = [lessons.encode(p.question, p.wrong) for p in pairs]
    scores = score(model, right + wrong)
    return scores[: len(pairs)] > scores[len(pairs) :]


def best_of_n(model: Any, questions: Sequence[Words], attempts: Sequence[Sequence[Words]]) -> Tensor:
    """Whether the final digit of the highest-rewarded attempt is right, shape (questions,); the first on ties."""
    texts = [lessons.encode(("calc", *q), a) for q, rows in zip(questions, attempts, strict=True) for a in rows]
    best = score(model, texts).view(len(questions), -1).argmax(1).tolist()
    answers = [rows[i][-1] for rows, i in zip(attempts, best, strict=True)]
    return torch.tensor([a == world.solve(q)[0][-1] for a, q in zip(answers, questions, strict=True)])


def compare(before: Tensor, after: Tensor) -> dict[str, float]:
    """Examples gained and lost, and McNemar's exact two-sided p."""
    gained, lost = int((~before & after).sum()), int((before & ~after).sum())
    return {"gained": gained, "lost": lost, "p": float(mcnemar_exact(gained, lost))}


def _validation(seed: int) -> tuple[list[Pair], list[Pair]]:
    dice = Random(f"validation {seed}")
    general = [world.general_pair(dice, held=True, hard=i % 2 == 0) for i in range(VALIDATION_PAIRS)]
    return general, [world.domain_pair(dice, held=True) for _ in range(VALIDATION_PAIRS)]


def _share(outcome: Tensor) -> float:
    return round(float(outcome.float().mean()), 4)


def _choose(general: Sequence[float], domain: Sequence[float]) -> float:
    """The lambda above 0 whose mean of general and domain accuracy is highest; the smallest on ties."""
    return LAMBDAS[max(range(1, len(LAMBDAS)), key=lambda i: (round(general[i] + domain[i], 4), -i))]


@torch.no_grad()
def step_accuracy(model: Any, make: Callable[[Random], Pair], n: int = 300) -> float:
    """How often the language model's most likely token after `=` is the right digit."""
    dice = Random(7)
    ids = train.pad([lessons.encode(p.question, p.right) for p in (make(dice) for _ in range(n))])
    guess = model(input_ids=ids).logits.argmax(-1)[:, :-1]
    after = ids[:, :-1] == lessons.ID["="]
    return _share(guess[after] == ids[:, 1:][after])


class _Sets:
    """What each merge is measured on: the shipped pairs and questions, all held out from training."""

    def __init__(self) -> None:
        self.general, self.domain = data.general_pairs(), data.domain_pairs()
        self.questions, self.attempts = data.questions(), data.attempts()
        self.hard = slice(data.GENERAL_PER_SUBSET * len(data.CHAT), -data.GENERAL_PER_SUBSET * len(data.SAFETY))

    def outcomes(self, model: Any) -> dict[str, Tensor]:
        general = wins(model, self.general)
        return {
            "general": general,
            "chat_hard": general[self.hard],
            "domain": wins(model, self.domain),
            "best_of_16": best_of_n(model, self.questions, self.attempts),
        }


def measure_world(folder: Path, seed: int, progress: Progress = lambda _: None) -> dict[str, Any]:
    """The table of one seed's four models on the shipped data.

    Returns the lambdas; per expert the accuracy at each of them (general, chat_hard, domain, best_of_16) and
    McNemar's exact test of the chosen lambda against lambda 0; and how lambda was chosen, on validation pairs.
    """
    rm = LlamaForSequenceClassification.from_pretrained(folder / "rm", dtype=torch.float16)
    experts = {n: LlamaForCausalLM.from_pretrained(folder / n, dtype=torch.float16) for n in EXPERTS}
    sets, validation = _Sets(), _validation(seed)
    rows: dict[str, list[dict[str, Tensor]]] = {name: [] for name in experts}
    tuning: list[tuple[float, float]] = []
    for name, expert in experts.items():
        for weight in LAMBDAS:
            model = merged(rm, expert, weight)
            rows[name].append(sets.outcomes(model))
            if name == "sft":
                tuning.append((_share(wins(model, validation[0])), _share(wins(model, validation[1]))))
            shares = ", ".join(f"{key} {_share(value):.3f}" for key, value in rows[name][-1].items())
            progress(f"seed {seed}, {name} at {weight:.1f}: {shares}")
    chosen = _choose([g for g, _ in tuning], [d for _, d in tuning])
    return {
        "seed": seed,
        "lambdas": list(LAMBDAS),
        "sizes": {key: len(outcome) for key, outcome in rows["sft"][0].items()},
        "chosen_lambda": chosen,
        "validation": {"general": [g for g, _ in tuning], "domain": [d for _, d in tuning]},
        "step_accuracy": {name: step_accuracy(model.float(), _held_domain) for name, model in experts.items()},
        "experts": {name: _summary(table, LAMBDAS.index(chosen)) for name, table in rows.items()},
    }


def _held_domain(dice: Random) -> Pair:
    return world.domain_pair(dice, held=True)


def _summary(table: Sequence[dict[str, Tensor]], chosen: int) -> dict[str, Any]:
    curves = {key: [_share(row[key]) for row in table] for key in table[0]}
    return curves | {"mcnemar": {key: compare(table[0][key], table[chosen][key]) for key in table[0]}}


def train_seeds(seeds: Sequence[int], out: Path, progress: Progress = lambda _: None) -> Path:
    """Train and measure several worlds: out/seed-N/ each, and all tables in out/seeds.json, which is returned."""
    path = out / "seeds.json"
    tables = []
    for seed in seeds:
        train.train_world(seed, out / f"seed-{seed}", lambda text, seed=seed: progress(f"seed {seed}: {text}"))  # type: ignore[misc]
        tables.append(measure_world(out / f"seed-{seed}", seed, progress))
        write_tables(tables, path)
    return path


def write_tables(tables: Sequence[dict[str, Any]], path: Path) -> None:
    """Write tables of measure_world as the JSON that `folders.seed_tables` reads, one line a seed."""
    lines = ",\n".join(json.dumps(table) for table in tables)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
