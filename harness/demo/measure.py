"""What merging does in one trained world: accuracy over lambda, the paired test, and the two controls.

Merges are the harness' rule, lerp in fp32 rounded to the fp16 of the shipped files, scored in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from harness.demo import data, lessons, train, world
from harness.demo.world import Pair

LAMBDAS = tuple(i / 10 for i in range(11))
EXPERTS = ("sft", "base", "sft_wrong")
VALIDATION_PAIRS = 500  # a side; lambda is chosen on them, never on the shipped data
BATCH = 1000
GENERAL_COST = 0.01  # the chosen lambda may lose this much general accuracy on the validation pairs


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
def wins(model: Any, pairs: Sequence[Pair]) -> Tensor:
    """Which pairs the model gets right, shape (n,), bool: right strictly above wrong."""

    def scores(texts: list[list[int]]) -> Tensor:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = torch.empty(len(texts))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            out[rows] = train.rewards(model, [texts[i] for i in rows])
        return out

    right = scores([lessons.encode(p.question, p.right) for p in pairs])
    return right > scores([lessons.encode(p.question, p.wrong) for p in pairs])


def mcnemar(before: Tensor, after: Tensor) -> dict[str, float]:
    """Pairs gained and lost, and log10 of the exact two-sided p (p itself underflows below 1e-308)."""
    gained, lost = int((~before & after).sum()), int((before & ~after).sum())
    n, most = gained + lost, max(gained, lost)
    if n == 0:
        return {"gained": 0, "lost": 0, "log10_p": 0.0}
    terms = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(most, n + 1)
    ]
    top = max(terms)
    log_p = math.log(2) + top + math.log(sum(math.exp(t - top) for t in terms))
    return {"gained": gained, "lost": lost, "log10_p": round(min(0.0, log_p / math.log(10)), 2)}


def _validation(seed: int) -> tuple[list[Pair], list[Pair]]:
    dice = Random(f"validation {seed}")
    general = [world.general_pair(dice, held=True, hard=i % 2 == 0) for i in range(VALIDATION_PAIRS)]
    return general, [world.domain_pair(dice, held=True) for _ in range(VALIDATION_PAIRS)]


def _share(outcome: Tensor) -> float:
    return round(float(outcome.float().mean()), 4)


def _choose(general: Sequence[float], domain: Sequence[float]) -> float:
    allowed = [i for i in range(1, len(LAMBDAS)) if general[i] >= general[0] - GENERAL_COST] or [1]
    return LAMBDAS[max(allowed, key=lambda i: domain[i])]


@torch.no_grad()
def step_accuracy(model: Any, make: Callable[[Random], Pair], n: int = 300) -> float:
    """How often the language model's most likely token after `=` is the right digit."""
    dice = Random(7)
    ids = train.pad([lessons.encode(p.question, p.right) for p in (make(dice) for _ in range(n))])
    guess = model(input_ids=ids).logits.argmax(-1)[:, :-1]
    after = ids[:, :-1] == lessons.ID["="]
    return _share(guess[after] == ids[:, 1:][after])


def measure_world(folder: Path, seed: int, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """The table of one seed's four models on the shipped preference pairs.

    Returns lambdas, general and domain accuracy per expert and lambda, the lambda chosen on validation pairs, and
    McNemar's exact test of chosen lambda against lambda 0, general and domain, per expert.
    """
    rm = LlamaForSequenceClassification.from_pretrained(folder / "rm", dtype=torch.float16)
    experts = {n: LlamaForCausalLM.from_pretrained(folder / n, dtype=torch.float16) for n in EXPERTS}
    general, domain = data.general_pairs(), data.domain_pairs()
    held_general, held_domain = _validation(seed)
    outcomes: dict[str, list[tuple[Tensor, Tensor]]] = {}
    tuning: list[tuple[float, float]] = []
    for name, expert in experts.items():
        outcomes[name] = []
        for weight in LAMBDAS:
            model = merged(rm, expert, weight)
            outcomes[name].append((wins(model, general), wins(model, domain)))
            if name == "sft":
                tuning.append((_share(wins(model, held_general)), _share(wins(model, held_domain))))
            last = outcomes[name][-1]
            progress(f"seed {seed} {name} {weight:.1f}: general {_share(last[0]):.4f} domain {_share(last[1]):.4f}")
    chosen = _choose([g for g, _ in tuning], [d for _, d in tuning])
    at = LAMBDAS.index(chosen)
    return {
        "seed": seed,
        "lambdas": list(LAMBDAS),
        "pairs": {"general": len(general), "domain": len(domain), "validation_each": VALIDATION_PAIRS},
        "chosen_lambda": chosen,
        "validation": {"general": [g for g, _ in tuning], "domain": [d for _, d in tuning]},
        "expert_step_accuracy": {
            name: step_accuracy(model.float(), lambda dice: world.domain_pair(dice, held=True))
            for name, model in experts.items()
        },
        "experts": {
            name: {
                "general": [_share(g) for g, _ in rows],
                "domain": [_share(d) for _, d in rows],
                "mcnemar_general": mcnemar(rows[0][0], rows[at][0]),
                "mcnemar_domain": mcnemar(rows[0][1], rows[at][1]),
            }
            for name, rows in outcomes.items()
        },
    }
