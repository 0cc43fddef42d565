"""`harness demo`: the main job on tiny embedded models, from merge to page."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder for data, database and page.")] = Path("demo"),
    train: Annotated[bool, typer.Option("--train", help="Train the models anew first (minutes).")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --train.")] = 0,
) -> None:
    """Merge tiny models at every lambda, evaluate them on made-up data, and build the leaderboard."""
    from harness.demo.run import headline, run_demo

    started = time.monotonic()
    models = None
    if train:
        from harness.demo.train import train_world

        models = out / "models"
        train_world(seed, models, _say)
    page, results = run_demo(out, _say, models)
    scores = headline(results)
    best = max((name for name in scores if "sft" in name and "wrong" not in name), key=scores.__getitem__)
    print(f"arithmetic (made-up Reasoning section): rm {100 * scores['rm']:.1f}, {best} {100 * scores[best]:.1f}")
    print(f"{len(results)} runs in {time.monotonic() - started:.0f} s; the page is {page}")
    if any(result.status == "failed" for result in results):
        raise typer.Exit(3)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
