"""The demo from end to end: data, pools, merges at every lambda, all tasks, the page.

The same functions as `harness pool import`, `harness sweep` and `harness leaderboard build`; nothing is special but
the size of the models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import plugins
from harness._datasets import label_and_store
from harness.candidate import Candidate, from_folder, from_sweep, resolve
from harness.config import Expert, Recipe
from harness.demo.data import DemoData, write_data
from harness.demo.folders import models_dir, seed_tables
from harness.loading import DataRequest
from harness.runner import EvalRequest, RunResult, run_eval
from leaderboard.render import Extra, build_site
from results.store import open_store
from tasks._types import LoadRequest, PoolTask, TaskError

LAMBDAS = [0.2, 0.4, 0.6, 0.8, 1.0]  # 0 is the reward model itself
CONTROL_LAMBDAS = [0.6]
TASKS = ("rewardbench", "autoj", "gsm8k_bon", "mbpp_bon")
Say = Callable[[str], None]


def run_demo(out: Path, say: Say, models: Path | None = None) -> tuple[Path, list[RunResult]]:
    """Run everything under `out`; returns the page and the results."""
    import torch

    torch.set_num_threads(1)  # models this small gain nothing from a second thread, and two that spin get in the way
    out.mkdir(parents=True, exist_ok=True)
    db = out / "demo.duckdb"
    data = write_data(out / "data")
    tasks = [task for task in TASKS if _import_pool(task, data, db, say)]
    quiet = DataRequest(data_dir=data.folder, notify=lambda _: None)  # that it is made up is said on the page
    request = EvalRequest(models=demo_candidates(models or models_dir()), tasks=tasks, db=db, data=quiet)
    results = run_eval(request)
    page = build_site(db, out / "site", baseline="rm", extra=about())
    return page, results


def demo_candidates(models: Path) -> list[Candidate]:
    """The reward model, its merges with the expert at five lambdas, two controls at one, and a length baseline."""
    rm = from_folder(models / "rm", "rm")
    sweeps = [("sft", LAMBDAS), ("base", CONTROL_LAMBDAS), ("sft_wrong", CONTROL_LAMBDAS)]
    merges = [
        candidate
        for expert, lambdas in sweeps
        for candidate in from_sweep(
            Recipe(rm=str(models / "rm"), experts=[Expert(model=str(models / expert))], sweep=lambdas)
        )
    ]
    return [rm, *merges, resolve("baseline:length")]


def _import_pool(name: str, data: DemoData, db: Path, say: Say) -> bool:
    """Import and label a task's pool; False (and one sentence) where the programs cannot be run here."""
    file = data.pools.get(name)
    if file is None:
        return True
    task = plugins.load_task(name)
    assert isinstance(task, PoolTask)
    request = LoadRequest(data_dir=data.folder)
    try:
        with open_store(db) as store:
            label_and_store(store, task, task.read_pool(file, "demo", request), request)
    except TaskError as error:
        say(f"the demo leaves {name} out: {error}")
        return False
    return True


def about() -> Extra:
    """What the page says about itself: what is shown, on all seeds, and what it does not prove."""
    tables = seed_tables()
    header, rows = _seed_rows(tables)
    return Extra(
        title="About this demonstration",
        paragraphs=(
            "Four language models of 0.47 million parameters, trained from one base on a made-up world, stand in for"
            " real ones. The reward model (rm) was trained on pairs of lists of facts only. The expert (sft) was"
            " trained on correct chains of arithmetic modulo 10 only, without any preferences. Merging their weights"
            " lets the reward model judge arithmetic (Reasoning, maths and code categories, Best-of-N) much better.",
            "Two controls show where the gain comes from: merging with the base itself (base) and with an expert"
            " trained on wrong arithmetic facts (sft_wrong). Neither comes near the expert; on one of three seeds each"
            " gains a little (the table below has all of them).",
            "What it does not prove: anything about models of 7 billion parameters or about the real benchmarks, whose"
            " column and subset names the made-up data borrows. It demonstrates the mechanism. The world was designed"
            " so that the mechanism can work; lambda was chosen on separate validation pairs.",
            "Programs (mbpp_bon) are outside these models' vocabulary: nearly every word of them is the unknown token,"
            " so the reward sees little more than their length and punctuation. That column shows that programs are"
            " run and scored, not that these models can judge them.",
        ),
        tables=((header, rows),),
    )


def _seed_rows(tables: list[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Domain accuracy by lambda for every seed and expert, as measured when the worlds were trained."""
    lambdas = [f"λ {weight:g}" for weight in tables[0]["lambdas"]]
    header = ("seed", "expert", "pairs", *lambdas, "chosen λ", "McNemar p")
    rows = []
    for table in tables:
        for expert, curves in table["experts"].items():
            for pairs in ("domain", "general"):
                shares = [f"{100 * value:.1f}" for value in curves[pairs]]
                p = curves["mcnemar"][pairs]["p"]
                chosen = f"{table['chosen_lambda']:g}"
                rows.append((str(table["seed"]), expert, pairs, *shares, chosen, f"{p:.1g}"))
    return header, tuple(rows)


def headline(results: list[RunResult], key: str = "section/Reasoning") -> Mapping[str, float]:
    """One metric of RewardBench's made-up twin by candidate, for the closing lines of `harness demo`."""
    return {r.candidate: r.metrics[key] for r in results if r.task == "rewardbench" and key in r.metrics}
