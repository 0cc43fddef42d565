"""Scoring against the loops that others publish, in one process, round by round in turn.

    peer      reward-bench's loop, from its description: data set order, 8 prompts a batch, each response in a pass
              of its own, padded on the left to the longest
    dogerm    DogeRM's loop: the responses of one question are one batch, padded on the right
    ours      each prompt once, packed by token budget, attention merged from prefix and response

Real texts (Auto-J pairs, GSM8K questions with 4 and 16 real answers, with and without a system prompt), a random
Llama of 41M parameters, one thread, CPU time. `--device cuda` uses a random 7B in bfloat16 and the clock. Prints one
JSON line a figure; exits 1 where a target is missed. `--quick` takes a quarter of the model and fewer texts.
`--only memory` is the peak memory of whole evaluations of pools of growing size (_scoring_memory.py).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from _scoring_memory import measure
from _scoring_work import SIZES, SYSTEM, Group, autoj, encode, gsm, random_model, train_tokenizer

from harness.scoring._attention import register
from harness.scoring._batching import Encoded, groups
from harness.scoring._forward import PackedForward
from harness.scoring._heads import apply_head

Rows = list[list[Encoded]]
TARGETS = {"autoj": 2.5, "gsm16": 2.2, "gsm16+sys": 2.6}
BUDGET = {"cpu": 2048, "cuda": 16384}


class Bench:
    """One model and the three loops over it."""

    def __init__(self, size: str, device: torch.device, dtype: torch.dtype, attention: str) -> None:
        self.model = random_model(size, device, dtype)
        self.device, self.budget = device, BUDGET[device.type]
        self.forward = PackedForward(self.model.base_model, device, register(attention))
        self.head = apply_head(self.model.score.weight.detach().float(), None)

    def clock(self) -> float:
        """CPU seconds, or the wall once the GPU is done."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    @torch.inference_mode()
    def padded(self, rows: Sequence[Sequence[int]], side: str) -> list[float]:
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), 2)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            place = slice(width - len(row), width) if side == "left" else slice(len(row))
            ids[i, place], mask[i, place] = torch.tensor(row), 1
        out = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False)
        return out.logits[:, 0].float().tolist()  # type: ignore[no-any-return]

    def peer(self, work: Rows, batch: int = 8) -> list[list[float]]:
        found: list[list[float]] = [[0.0] * len(group) for group in work]
        for start in range(0, len(work), batch):
            some = work[start : start + batch]
            for k in range(len(some[0])):
                for i, value in enumerate(self.padded([group[k].ids.tolist() for group in some], "left")):
                    found[start + i][k] = value
        return found

    def dogerm(self, work: Rows) -> list[list[float]]:
        return [self.padded([e.ids.tolist() for e in group], "right") for group in work]

    def ours(self, work: Rows, budget: int | None = None) -> list[list[float]]:
        flat = [e for group in work for e in group]
        values = [0.0] * len(flat)
        for batch in self.forward.plan(groups(flat), budget or self.budget):
            states = self.forward(batch, _last, budget or self.budget)
            with torch.inference_mode():
                found = self.head(states.last())[:, 0].tolist()
            branches = [branch for group in batch for branch in group.branches]
            for branch, value in zip(branches, found, strict=True):
                for i in branch.members:
                    values[i] = value
        ends = [sum(len(g) for g in work[: i + 1]) for i in range(len(work))]
        return [values[end - len(group) : end] for end, group in zip(ends, work, strict=True)]

    def stock(self, work: Rows) -> list[list[float]]:
        """Ours without the packed linear layers."""
        fast, self.forward._fast = self.forward._fast, nullcontext
        try:
            return self.ours(work)
        finally:
            self.forward._fast = fast

    def computed(self, work: Rows) -> int:
        plan = self.forward.plan(groups([e for group in work for e in group]), self.budget)
        return sum(self.forward.computed(batch, self.budget) for batch in plan)

    def flops(self, tokens: int) -> float:
        """Of the linear layers for so many tokens, of the last layer keys and values only; without attention."""
        weights = {n: p.numel() for n, p in self.model.named_parameters() if p.dim() == 2 and ".layers." in n}
        last = f".layers.{self.model.config.num_hidden_layers - 1}."
        return (
            2.0 * tokens * sum(size for n, size in weights.items() if last not in n or "k_proj" in n or "v_proj" in n)
        )

    def peak(self) -> float:
        """Best FLOP/s of the model's largest product, stock or packed, in this run."""
        config, rows = self.model.config, 2048 if self.device.type == "cpu" else 16384
        layer = self.model.base_model.layers[0].mlp.up_proj
        x = torch.randn(rows, config.hidden_size, device=self.device, dtype=layer.weight.dtype)
        best = 0.0
        with torch.inference_mode():
            for around in (nullcontext, self.forward._fast):
                for _ in range(8):
                    with around():
                        start = self.clock()
                        layer(x)
                        best = max(best, 2.0 * rows * layer.weight.numel() / (self.clock() - start))
        return best


def _last(group: Any, branch: Any) -> list[int]:
    return [len(group.prefix) + len(branch.suffix) - 1]


def figure(name: str, value: float | None, target: str = "", ok: bool | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": None if value is None else float(f"{value:.4g}"), "target": target, "ok": ok, **more}


def compare(bench: Bench, name: str, work: Rows, rounds: int) -> list[dict[str, Any]]:
    """Speed of ours against both loops; the largest difference between their rewards."""
    loops: dict[str, Callable[[Rows], list[list[float]]]] = {
        "peer": bench.peer, "dogerm": bench.dogerm, "stock": bench.stock, "ours": bench.ours,
    }  # fmt: skip
    if bench.device.type == "cuda":
        del loops["stock"]  # the packed linear layers are for the CPU
    times: dict[str, list[float]] = {loop: [] for loop in loops}
    rewards: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for loop, run in loops.items():
            start = bench.clock()
            rewards[loop] = run(work)
            times[loop].append(bench.clock() - start)
    best = {loop: min(seconds) for loop, seconds in times.items()}
    cuda = bench.device.type == "cuda"
    target = None if cuda else TARGETS.get(name)
    speed = best["peer"] / best.get("stock", best["ours"])
    flat = {loop: [r for group in rows for r in group] for loop, rows in rewards.items()}
    spread = statistics.pstdev(flat["dogerm"]) or 1.0
    apart = max(abs(a - b) for a, b in zip(flat["ours"], flat["dogerm"], strict=True)) / spread
    real, computed = sum(len(e.ids) for group in work for e in group), bench.computed(work)
    use = bench.flops(computed) / best["ours"] / bench.peak()
    seconds = {loop: round(value, 2) for loop, value in best.items()}
    doge = best["dogerm"] / best["ours"]
    return [
        figure(f"{name}: times reward-bench's loop", speed, f">= {target}" if target else "",
               speed >= target if target else None, seconds=seconds, responses=len(flat["ours"]), rounds=rounds),
        figure(f"{name}: times reward-bench's loop, packed linear layers", best["peer"] / best["ours"], "stretch 4.5"),
        figure(f"{name}: times DogeRM's loop", doge, ">= 3" if cuda and "+sys" in name else "",
               doge >= 3 if cuda and "+sys" in name else None),
        figure(f"{name}: tokens computed / real tokens", computed / real, tokens=real),
        figure(f"{name}: model FLOP use of the best product", use, ">= 0.5" if cuda else "",
               use >= 0.5 if cuda else None),
        figure(f"{name}: largest difference in deviations", apart, "" if cuda else "<= 1e-4",
               None if cuda else apart <= 1e-4),
    ]  # fmt: skip


def invariance(tokenizer: Any, work: list[Group], times: int) -> dict[str, Any]:
    """How many shuffles and budgets give every reward the same bits (a small model on CPU, subsets of the texts)."""
    bench = Bench("tiny", torch.device("cpu"), torch.float32, "cascade")
    flat = [e for group in encode(tokenizer, work, None) for e in group]
    right = bench.ours([flat])[0]
    made = random.Random(0)
    same = 0
    for _ in range(times):
        order = made.sample(range(len(flat)), made.randint(1, len(flat)))
        found = bench.ours([[flat[i] for i in order]], made.choice([1, 64, 300, 1000, 4096, 20000]))[0]
        same += found == [right[i] for i in order]
    return figure("shuffles and budgets with the same bits", same, f"{times} of {times}", same == times)


def sweep(bench: Bench, work: Rows, lambdas: int) -> dict[str, Any]:
    """A sweep's cost over scoring alone: weights are set in place, texts are encoded once."""
    parameters = list(bench.model.base_model.parameters())
    parents = [[p.detach().clone() for p in parameters] for _ in range(2)]
    scoring = total = 0.0
    for step in range(lambdas):
        start = bench.clock()
        with torch.no_grad():
            for p, a, b in zip(parameters, *parents, strict=True):
                torch.lerp(a, b, step / max(1, lambdas - 1), out=p.data)
        middle = bench.clock()
        bench.ours(work)
        scoring += bench.clock() - middle
        total += bench.clock() - start
    return figure(f"{lambdas} lambdas / {lambdas} scorings", total / scoring, "<= 1.05", total / scoring <= 1.05)


def main() -> int:
    """Run every part and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller model, fewer texts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("HARNESS_DATA_DIR"))
    parser.add_argument("--size", choices=sorted(SIZES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", help="one of autoj, gsm4, gsm16, gsm16+sys, invariance, sweep, memory")
    args = parser.parse_args()
    if args.data_dir is None:
        print(json.dumps(figure("scoring", None, reason="needs --data-dir DIR or HARNESS_DATA_DIR")))
        return 0
    figures = []
    for found in run(args):
        print(json.dumps(found), flush=True)
        figures.append(found)
    return 1 if any(found["ok"] is False for found in figures) else 0


def run(args: argparse.Namespace) -> Any:
    """Figures as they come."""
    cpu = args.device == "cpu"
    if cpu:
        torch.set_num_threads(1)
    data, few = Path(args.data_dir), args.quick
    texts = {
        "autoj": autoj(data, (8 if few else 32) if cpu else 512),
        "gsm4": gsm(data, 8 if cpu else 256, 4),
        "gsm16": gsm(data, 8 if cpu else 256, 16),
        "gsm16+sys": gsm(data, 8 if cpu else 256, 16),
    }

    def wanted(part: str) -> bool:
        return args.only in (None, part)

    if wanted("memory"):
        yield from (figure(name, value, target, ok, **more) for name, value, target, ok, more in measure(few))
    tokenizer = train_tokenizer([group for some in texts.values() for group in some])
    if wanted("invariance"):
        yield invariance(tokenizer, texts["gsm4"][:4] + texts["autoj"][:4], 40 if few else 200)
    if args.only in ("memory", "invariance"):
        return
    size = args.size or (("9m" if few else "41m") if cpu else "7b")
    dtype = torch.float32 if cpu else torch.bfloat16
    bench = Bench(size, torch.device(args.device), dtype, "cascade" if cpu else "varlen")
    work = {name: encode(tokenizer, some, SYSTEM if "+sys" in name else None) for name, some in texts.items()}
    bench.ours([work["gsm4"][0][:2]])  # first calls allocate and choose kernels
    for name, rows in work.items():
        if wanted(name):
            yield from compare(bench, name, rows, args.rounds)
    if wanted("sweep"):
        yield sweep(bench, work["gsm4"], (3 if few else 11))
    peak = torch.cuda.max_memory_allocated() if not cpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield figure("peak memory, GB", peak / 1e9, budget=bench.budget, size=size)


if __name__ == "__main__":
    sys.exit(main())
