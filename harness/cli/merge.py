"""`harness merge`: arguments -> recipe -> merged folder, plan, or verification."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness._collector import paused
from harness.errors import ConfigError, MergeError

if TYPE_CHECKING:
    from harness.config import Recipe
    from harness.merging._plan import MergePlan


@paused(to_the_end=True)
def merge(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe file, instead of --rm, --sft and --lambda.")] = None,
    rm: Annotated[str | None, typer.Option("--rm", help="The reward model: folder or hub id.")] = None,
    sft: Annotated[list[str] | None, typer.Option("--sft", help="The expert: folder or hub id.")] = None,
    weight: Annotated[list[str] | None, typer.Option("--lambda", help="Weight of the expert, 0 to 1.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder to make.")] = None,
    method: Annotated[str | None, typer.Option(help="`harness ls methods` lists them.", show_default="linear")] = None,
    base: Annotated[str | None, typer.Option(help="The common base, for methods that need it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan only.")] = False,
    verify: Annotated[Path | None, typer.Option(help="Make the merge in DIR again and compare.")] = None,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Read .bin weights (tensors only).")] = False,
    merge_adapter: Annotated[
        bool, typer.Option("--merge-adapter", help="Merge LoRA adapters into their base first, through peft.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Merge a reward model with one or more experts into a folder that loads like any reward model."""
    if verify is not None:
        _verify(verify, as_json)
        return
    wanted = _recipe(recipe, rm, sft or [], _one(weight), method, base)
    allowed = {"pickle": "allow"} if allow_pickle else {}
    allowed |= {"adapters": "merge"} if merge_adapter else {}
    wanted = wanted.model_copy(update={"options": {**wanted.options, **allowed}})
    if out is None and not dry_run:
        raise ConfigError("say where to: -o FOLDER (or --dry-run to see the plan only)")
    from harness.merging._plan import plan_merge
    from harness.merging._writer import write_merge

    plan = plan_merge(wanted, headers_only=True)  # what cannot be merged is refused before weights are fetched
    if dry_run or out is None:
        _print(_plan_summary(plan), as_json, _plan_lines(plan))
        return
    if not plan.complete:
        plan = plan_merge(wanted)
    with _progress() as progress:
        report = write_merge(plan, out, progress=progress)
    summary = {
        "out": str(report.out), "id": report.id, "weights": report.weights, "bytes": report.nbytes,
        "tokens": report.tokens, "seconds": round(report.seconds, 3), "notes": list(report.notes),
    }  # fmt: skip
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    rate = report.nbytes / 1e9 / max(report.seconds, 1e-9)
    done = (
        f"{report.out}: {report.nbytes / 1e9:.3g} GB in {report.seconds:.1f} s ({rate:.2f} GB/s), id {report.id[:12]}"
    )
    _print(summary, as_json, [done])


def _one(weights: list[str] | None) -> str | None:
    if weights and len(weights) > 1:
        return ", ".join(weights)  # refused as a list is
    return weights[0] if weights else None


def parse_lambda(text: str) -> float:
    """A number in [0, 1]. A list is refused: it could mean a sweep or weights by layer."""
    if any(mark in text for mark in ",[:; "):
        raise ConfigError(
            f"--lambda {text}: one merge has one lambda; for many use 'sweep:' in a recipe (harness sweep), "
            "for different layers use 'layers:'"
        )
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"--lambda {text}: is not a number between 0 and 1") from None
    if math.isnan(value) or not 0 <= value <= 1:
        raise ConfigError(f"--lambda {text}: must be between 0 (the reward model) and 1 (the expert's body)")
    return value


def _recipe(
    path: Path | None, rm: str | None, sft: list[str], weight: str | None, method: str | None, base: str | None
) -> Recipe:
    from harness.config import Expert, Recipe, read_recipe

    if path is not None:
        if rm or sft or base or method:
            raise ConfigError(
                f"{path}: a recipe names its models and method itself; leave out --rm, --sft, --base and --method"
            )
        recipe = read_recipe(path)
        if weight is None:
            return recipe
        if recipe.sweep is None:
            raise ConfigError("--lambda: the recipe gives its weights itself; it goes with a recipe that sweeps")
        return recipe.at(parse_lambda(weight))
    missing = [name for name, value in (("--rm", rm), ("--sft", sft), ("--lambda", weight)) if not value]
    if missing:
        raise ConfigError(f"give a recipe file, or --rm, --sft and --lambda ({', '.join(missing)} missing)")
    assert rm is not None
    assert weight is not None
    share = parse_lambda(weight) / len(sft)
    return Recipe(
        rm=rm, experts=[Expert(model=name, weight=share) for name in sft], method=method or "linear", base=base
    )


def _plan_summary(plan: MergePlan) -> dict[str, Any]:
    return {
        "rm": plan.rm.name, "experts": [parent.name for parent in plan.experts], "method": plan.recipe.method,
        "weights": [expert.weight for expert in plan.recipe.experts], "formula": plan.method.formula,
        "tensors": len(plan.tensors), "bytes": plan.nbytes, "tokens": plan.alignment.counts, "notes": list(plan.notes),
    }  # fmt: skip


def _plan_lines(plan: MergePlan) -> list[str]:
    kinds = {kind: sum(t.kind == kind for t in plan.tensors) for kind in ("body", "rows", "keep")}
    weights = [expert.weight for expert in plan.recipe.experts]
    experts = [
        f"{parent.name} ({'swept' if weight is None else f'{weight:g}'})"
        for parent, weight in zip(plan.experts, weights, strict=True)
    ]
    counts = plan.alignment.counts
    return [
        f"{plan.rm.name} + {', '.join(experts)} by {plan.recipe.method}: {plan.method.formula}",
        f"{kinds['body']} tensors merged, {kinds['rows']} by token, {kinds['keep']} kept from the reward model",
        f"tokens: {counts['shared']:,} shared, {counts['rm_only']:,} only in the reward model, "
        f"{counts['expert_only']:,} only in experts",
        f"output: {plan.nbytes / 1e9:.3g} GB",
        *(f"note: {note}" for note in plan.notes),
    ]


def _verify(folder: Path, as_json: bool) -> None:
    from harness.merging._verify import verify_merge

    found = verify_merge(folder)
    _print({"folder": str(folder), **found}, as_json, [f"{folder}: {found['message']}"])
    if not found["ok"]:
        raise MergeError(f"{folder}: {found['message']}") if not as_json else typer.Exit(2)


def _print(summary: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    typer.echo(json.dumps(summary) if as_json else "\n".join(lines))


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar with the time left, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("merging", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("merging", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
