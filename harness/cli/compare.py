"""`harness compare A B`: is candidate A worse than baseline B? Paired tests on what both have stored, and a gate."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli._options import WAIT, comma_list
from harness.cli.evaluate import DB
from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.comparing._gather import Asked
    from harness.comparing._report import Report


def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="The candidate judged: name, id, start of an id, or recipe.yaml.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The baseline it is held against, in the same ways.")],
    task: Annotated[
        list[str] | None, typer.Option("--task", "--tasks", "-t", help="Tasks, with commas between; default: all.")
    ] = None,
    metric: Annotated[str, typer.Option("--metric", help="Any metric of the task, like section/Reasoning.")] = "score",
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit 1 if A is proven worse than B by more than the margin.")
    ] = False,
    non_inferior: Annotated[
        bool, typer.Option("--non-inferior", help="Ask for proof that A is not worse than B by the margin.")
    ] = False,
    margin: Annotated[float, typer.Option("--margin", help="Loss that is tolerated, in percentage points.")] = 0.5,
    alpha: Annotated[float, typer.Option("--alpha", help="One-sided error level of the gate.")] = 0.05,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 4 where the question stays open.")] = False,
    form: Annotated[str, typer.Option("--format", help="text, markdown, junit or json.")] = "text",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write into this file instead of stdout.")] = None,
    db: DB = Path("harness.duckdb"),
    wait: WAIT = False,
) -> None:
    """Compare candidate A with baseline B on stored rewards; differences are A minus B.

    Exit codes with --fail-if-worse or --non-inferior: 1 regression proven, 4 open (with --strict), 0 otherwise.
    """
    from harness import plugins

    formats = plugins.Kind("format", "harness.comparing")
    plugins.check(formats, [form])
    asked = _asked(metric, margin / 100, alpha, fail_if_worse, non_inferior, strict)
    report = _report(a, b, comma_list(task or []), db, asked, wait)
    emit(plugins.load(formats, form).render(report), out)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _asked(metric: str, margin: float, alpha: float, worse: bool, non_inferior: bool, strict: bool) -> Asked:
    from harness.comparing._gather import Asked
    from harness.comparing._report import FAIL_IF_WORSE, NON_INFERIOR
    from leaderboard.gate import Rule

    if worse and non_inferior:
        raise ConfigError("--fail-if-worse and --non-inferior are two questions: ask one of them")
    if strict and not worse and not non_inferior:
        raise ConfigError("--strict needs a question: --fail-if-worse or --non-inferior")
    if non_inferior and not margin > 0:
        raise ConfigError("--non-inferior needs a --margin above 0: not even an equal model is proven not worse at all")
    if math.isnan(margin):
        raise ConfigError("--margin nan: expected percentage points, like 0.5")
    return Asked(metric, Rule(margin, alpha), FAIL_IF_WORSE if worse else NON_INFERIOR * non_inferior, strict)


def _report(a: str, b: str, tasks: list[str], db: Path, asked: Asked, wait: bool) -> Report:
    from dataclasses import replace

    from harness.comparing._gather import Gatherer
    from harness.comparing._sides import resolve_sides
    from harness.errors import did_you_mean
    from harness.progress import say
    from results import queries
    from results.store import open_store

    with open_store(db, read_only=True, wait=wait, notify=say) as store:
        runs = queries.runs(store)
        known = {str(run["task"]) for run in runs}
        for name in tasks:
            if name not in known:
                raise ConfigError(f"--task {name}: no run of it in {db}: {did_you_mean(name, known)}")
        sides = resolve_sides(a, b, runs)
        gatherer = Gatherer(store, runs)
        wanted = [(pair, name) for pair in sides.pairs for name in tasks or gatherer.tasks(pair)]
        report = gatherer.report(wanted, asked)
    if not report.rows:
        more = f" (and {len(report.refusals) - 1} more)" if len(report.refusals) > 1 else ""
        raise ConfigError(f"nothing can be compared: {report.refusals[0].sentence}{more}" if report.refusals else
                          f"nothing can be compared: neither {a} nor {b} has a run")  # fmt: skip
    return replace(report, settings=sides.settings, notes=[*sides.notes, *report.notes])


def emit(text: str, out: Path | None) -> None:
    """To stdout, or whole into a file."""
    if out is None:
        sys.stdout.write(text)
        return
    from leaderboard._errors import LeaderboardError
    from leaderboard.nights import write_whole

    if not out.parent.is_dir():  # a folder that is not there is more likely a typo than a wish
        raise ConfigError(f"-o {out}: cannot be written (No such file or directory)")
    try:
        write_whole(out, text)
    except LeaderboardError as error:
        raise ConfigError(f"-o {error}") from None
