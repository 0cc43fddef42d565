"""`harness leaderboard`: build the static site from a results database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli._options import WAIT, comma_list

app = typer.Typer(help="Build the leaderboard, a folder of pages that open without a server.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `build` a subcommand although it is the only one."""


@app.command()
def build(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; an older site there is replaced.")],
    db: Annotated[Path, typer.Option("--db", help="Results database.")] = Path("harness.duckdb"),
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="Candidate that the others are compared with: its name or the start of its id. "
            "Default: the reward model that most merges start from.",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option("--tasks", "-t", help="Tasks to show, with commas between; all by default.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option("--history", help="Folder that 'harness nightly' keeps: adds the page of nights.")
    ] = None,
    wait: WAIT = False,
) -> None:
    """Write a static site with scores, intervals, comparisons and sweep curves."""
    from harness.progress import say
    from leaderboard.nights import read_nights
    from leaderboard.render import build_site

    nights = [] if history is None else read_nights(history)
    index = build_site(
        db, out, baseline=baseline, tasks=comma_list(tasks or []) or None, nights=nights, wait=wait, notify=say
    )
    print(index)
