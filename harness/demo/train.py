"""Trains the demo's models from nothing, on a CPU: a base, a reward model, an expert and the control expert.

The order is DogeRM's: one base; a reward model from it by the Bradley-Terry loss on general pairs only; an expert
from it by language modelling on the domain only. Same seed, machine and thread count: same weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from harness.demo import lessons, world
from harness.demo.folders import save_model
from harness.demo.lessons import ID, IGNORED, Mix
from harness.demo.world import Pair

Progress = Callable[[str], None]

BASE_STEPS_MAX, BASE_DECAY, BASE_RATE, BASE_BATCH = 2400, 400, 2e-3, 64
BASE_GOAL = 0.95  # of both verdict accuracies: with a fixed number of steps one reward model did not learn
RM_STEPS, RM_RATE, RM_HEAD_RATE, RM_BATCH = 80, 3e-4, 1e-3, 32
EXPERT_STEPS, EXPERT_RATE = 400, 2e-3


def pad(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Right-padded ids, shape (n, longest); causal attention makes a mask unnecessary."""
    ids = torch.full((len(sequences), max(map(len, sequences))), ID[world.PAD], dtype=torch.long)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = torch.tensor(sequence)
    return ids


def last(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column indices of each sequence's last real token."""
    return torch.arange(len(ids)), (ids != ID[world.PAD]).sum(1) - 1


def rewards(model: Any, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Raw rewards, shape (n,), read at the last real token."""
    ids = pad(sequences)
    hidden = model.model(input_ids=ids).last_hidden_state
    return model.score(hidden[last(ids)]).squeeze(-1)  # type: ignore[no-any-return]


def _new_base(seed: int) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(world.VOCABULARY),
            hidden_size=96,
            intermediate_size=192,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            pad_token_id=ID[world.PAD],
            bos_token_id=ID[world.BOS],
            eos_token_id=ID[world.EOS],
            tie_word_embeddings=False,
            initializer_range=0.04,
        )
    )


def _optimizer(groups: Any, rate: float, weight_decay: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=weight_decay)


def _cosine(step: int, steps: int, warm_up: int) -> float:
    return min(1.0, (step + 1) / warm_up) * (0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.05)


def _update(model: nn.Module, optimizer: torch.optim.AdamW, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def _language_loss(model: Any, batch: Sequence[lessons.Lesson]) -> Tensor:
    ids = pad([tokens for tokens, _ in batch])
    labels = torch.full_like(ids, IGNORED)
    for i, (_, wanted) in enumerate(batch):
        labels[i, : len(wanted)] = torch.tensor(wanted)
    rows, columns = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    hidden = model.model(input_ids=ids).last_hidden_state
    return F.cross_entropy(model.lm_head(hidden[rows, columns]), labels[rows, columns + 1])


@torch.no_grad()
def verdict_accuracy(model: Any, make: Callable[[Random], Pair], n: int = 200) -> float:
    """Balanced accuracy of the model's own `ok`/`bad` after n right and n wrong answers."""
    dice = Random(5)
    pairs = [make(dice) for _ in range(n)]
    hits = 0
    for right in (True, False):
        ids = pad([lessons.encode(p.question, p.right if right else p.wrong) for p in pairs])
        logits = model(input_ids=ids).logits[last(ids)]
        hits += int(((logits[:, ID["ok"]] > logits[:, ID["bad"]]) == right).sum())
    return hits / (2 * n)


def train_base(seed: int, progress: Progress) -> Any:
    """Constant rate until both verdict accuracies reach the goal (looked at each 100 steps), then a linear decay."""
    model, dice = _new_base(seed), Random(seed)
    optimizer = _optimizer(model.parameters(), BASE_RATE, 0.01)
    stop, step = BASE_STEPS_MAX, 0
    decaying = False
    while step < stop:
        if not decaying and step and step % 100 == 0:
            model.eval()
            seen = min(verdict_accuracy(model, world.general_pair), verdict_accuracy(model, world.easy_pair))
            progress(f"base step {step}: verdict accuracy {seen:.3f}")
            model.train()
            decaying = seen >= BASE_GOAL or step + BASE_DECAY >= BASE_STEPS_MAX
            stop = step + BASE_DECAY if decaying else stop
        scale = max(0.02, (stop - step) / BASE_DECAY) if decaying else min(1.0, (step + 1) / 50)
        optimizer.param_groups[0]["lr"] = BASE_RATE * scale
        _update(model, optimizer, _language_loss(model, [lessons.base_mix(dice) for _ in range(BASE_BATCH)]))
        step += 1
    return model.eval()


def train_expert(base: Any, mix: Mix, seed: int, steps: int = EXPERT_STEPS, rate: float = EXPERT_RATE) -> Any:
    """A copy of the base, fine-tuned as a language model on one mix (no weight decay)."""
    model, dice = copy.deepcopy(base).train(), Random(seed)
    optimizer = _optimizer(model.parameters(), rate, 0.0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * _cosine(step, steps, 50)
        _update(model, optimizer, _language_loss(model, [mix(dice) for _ in range(BASE_BATCH)]))
    return model.eval()


def train_reward_model(base: Any, seed: int, make: Callable[[Random], Pair] = world.general_pair) -> Any:
    """A copy of the base with a fresh head; Bradley-Terry loss, -log sigmoid(chosen - rejected), general pairs."""
    torch.manual_seed(seed)
    config = copy.deepcopy(base.config)
    config.num_labels = 1
    model = LlamaForSequenceClassification(config).train()
    model.model.load_state_dict(base.model.state_dict())
    nn.init.normal_(model.score.weight, std=0.02)
    dice = Random(seed)
    groups = [{"params": model.model.parameters()}, {"params": model.score.parameters()}]
    optimizer = _optimizer(groups, RM_RATE, 0.01)
    for step in range(RM_STEPS):
        for group, rate in zip(optimizer.param_groups, (RM_RATE, RM_HEAD_RATE), strict=True):
            group["lr"] = rate * _cosine(step, RM_STEPS, 20)
        pairs = [make(dice) for _ in range(RM_BATCH)]
        chosen = [lessons.encode(p.question, p.right) for p in pairs]
        rejected = [lessons.encode(p.question, p.wrong) for p in pairs]
        scores = rewards(model, chosen + rejected)
        _update(model, optimizer, -F.logsigmoid(scores[:RM_BATCH] - scores[RM_BATCH:]).mean())
    return model.eval()


def train_world(seed: int, out: Path, progress: Progress = lambda _: None) -> None:
    """Train all four models of one seed and write out/base, out/rm, out/sft and out/sft_wrong (fp16).

    Minutes on one core. The control expert sees the same problems in the same order as the expert.
    """
    base = train_base(seed, progress)
    save_model(base, out / "base")
    progress("base written; training the reward model")
    save_model(train_reward_model(base, seed + 100), out / "rm")
    progress("reward model written; training the expert")
    save_model(train_expert(base, lessons.expert_mix, seed + 200), out / "sft")
    progress("expert written; training the control expert on wrong facts")
    save_model(train_expert(base, lessons.wrong_expert_mix, seed + 200), out / "sft_wrong")
    progress("all four models written")
