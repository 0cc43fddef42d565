"""Every path against the model alone: the parity table.

The reference is transformers' own model in float64, one sequence at a time, eager attention. For each architecture,
tokenizer setting, path and dtype: the largest difference of the path (float32: allowed 2e-5 of the rewards' standard
deviation, or what transformers' own float32 differs), and its mean difference over that of the model alone in the
same dtype (half precision: allowed 1.25). Texts: prompts longer than a sliding window, empty, identical and unicode
responses, responses of different lengths, and, in a row of its own, one cut to the longest length.

The vllm path runs where vllm can be imported (.venv-vllm of .ci/vllm). Prints one JSON line a row, a summary figure
last, and exits 1 where a bound is broken. `--quick` takes two architectures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "scoring"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from scoring_models import candidate, conversation, reference, request, rewards, write_model
from tiny import WORDS

from harness.scoring import hf
from harness.scoring._types import ScoringOptions

KINDS = ("llama", "mistral", "qwen2", "gemma2")
HEADS = {"hidden_size": 64, "head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}  # what vLLM takes
EDGES: dict[str, dict[str, Any]] = {
    "pad is eos": {},
    "own pad token": {
        "special_tokens_map.json": {"pad_token": "[PAD]"},
        "tokenizer_config.json": {"pad_token": "[PAD]"},
    },
    "left padding": {"tokenizer_config.json": {"padding_side": "left"}},
    "no pad token": {"tokenizer_config.json": {"pad_token": None}},
    "cut to 40": {},
}
BOUND, HALF = 2e-5, 1.25


def edit(folder: Path, changes: dict[str, dict[str, Any]]) -> None:
    """Change keys of a folder's JSON files."""
    for name, values in changes.items():
        path = folder / name
        if path.is_file():
            path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def paths() -> dict[str, Callable[[Any, ScoringOptions], Any]]:
    """Name -> opener."""
    found: dict[str, Callable[[Any, ScoringOptions], Any]] = {"cascade": hf.open_backend, "padded": hf.open_backend}
    if find_spec("vllm") is not None:
        from harness.scoring import vllm

        found["vllm"] = vllm.open_backend
    return found


def table(kinds: tuple[str, ...], root: Path) -> Iterator[dict[str, Any]]:
    """One row for each architecture, edge, dtype and path."""
    for kind in kinds:
        for number, (edge, changes) in enumerate(EDGES.items()):
            folder = write_model(root / f"{kind}-{number}", kind, **HEADS)
            edit(folder, changes)
            limit = 40 if edge.startswith("cut") else None
            yield from rows(kind, edge, folder, limit)


def varied(count: int) -> list[Any]:
    """Prompts and responses of random words and lengths: means over a handful of sequences say little."""
    made = random.Random(0)

    def words(low: int, high: int) -> str:
        return " ".join(made.choices(WORDS.split(), k=made.randint(low, high)))

    return [request(f"r{n}", 0, words(3, 60), words(1, 60)) for n in range(count)]


def rows(kind: str, edge: str, folder: Path, limit: int | None) -> Iterator[dict[str, Any]]:
    asked, options = [*conversation(6), *varied(40)], ScoringOptions(max_length=limit, device="cpu")
    exact = reference(folder, asked, options, torch.float64)
    keys, spread = list(exact), float(np.std(list(exact.values())))

    def difference(found: dict[Any, Any]) -> Any:
        return np.array([abs(found[key] - exact[key]) for key in keys]) / spread

    for dtype in ("float32", "bfloat16"):
        alone = difference(reference(folder, asked, options, getattr(torch, dtype)))
        for path, opener in paths().items():
            if path == "vllm" and edge != "pad is eos" and limit is None:
                continue  # vLLM is given token ids: the tokenizer's settings cannot reach it
            attn = None if path == "vllm" else path
            chosen = ScoringOptions(max_length=limit, device="cpu", dtype=dtype, attn=attn)
            ours = difference(rewards(opener(candidate(folder), chosen), asked))
            ratio = float(ours.mean() / alone.mean())
            ok = ours.max() <= max(BOUND, 1.25 * alone.max()) if dtype == "float32" else ratio <= HALF
            yield {
                "model": kind, "edge": edge, "dtype": dtype, "path": path, "max": float(f"{ours.max():.2g}"),
                "alone_max": float(f"{alone.max():.2g}"), "mean_over_alone": round(ratio, 2), "ok": bool(ok),
            }  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two architectures")
    parser.add_argument("--only", choices=KINDS, help="one architecture")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = []
        kinds = (args.only,) if args.only else KINDS[:2] if args.quick else KINDS
        for row in table(kinds, Path(place)):
            print(json.dumps(row), flush=True)
            found.append(row["ok"])
    print(
        json.dumps({"name": "parity rows within bounds", "value": sum(found), "target": len(found), "ok": all(found)})
    )
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
