"""`harness ls`: what there is. Lists are read from file names and docstrings, without importing the plugins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli._options import WAIT

app = typer.Typer(help="List tasks, methods, backends, recipes, candidates and runs.", no_args_is_help=True)

DB = Annotated[Path, typer.Option("--db", help="Results database.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _show(rows: Sequence[dict[str, Any]], as_json: bool, empty: str) -> None:
    if as_json:
        print(json.dumps(rows, default=str))
        return
    if not rows:
        print(empty)
        return
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in [dict(zip(widths, widths, strict=True)), *rows]:
        print("  ".join(str(row[key]).ljust(width) for key, width in widths.items()).rstrip())


def _plugins(word: str, as_json: bool) -> None:
    from harness import plugins

    kind = {"task": plugins.TASKS, "method": plugins.METHODS, "backend": plugins.BACKENDS,
            "executor": plugins.EXECUTORS}[word]  # fmt: skip
    rows = [{"name": name, "what": plugins.summary(kind, name)} for name in sorted(plugins.known(kind))]
    _show(rows, as_json, f"no {word}s")


@app.command()
def tasks(as_json: AS_JSON = False) -> None:
    """Benchmarks that can be run."""
    _plugins("task", as_json)


@app.command()
def methods(as_json: AS_JSON = False) -> None:
    """Merge methods."""
    _plugins("method", as_json)


@app.command()
def backends(as_json: AS_JSON = False) -> None:
    """Ways to score."""
    _plugins("backend", as_json)


@app.command()
def executors(as_json: AS_JSON = False) -> None:
    """Places to score."""
    _plugins("executor", as_json)


@app.command()
def recipes(as_json: AS_JSON = False) -> None:
    """Recipes that come with the harness, for `harness sweep NAME`."""
    from harness._grid import shipped

    rows = [
        {"name": name, "what": path.read_text(encoding="utf-8").split("\n")[0].removeprefix("# ")}
        for name, path in shipped().items()
    ]
    _show(rows, as_json, "no recipes")


@app.command()
def candidates(db: DB = Path("harness.duckdb"), wait: WAIT = False, as_json: AS_JSON = False) -> None:
    """Candidates in the database."""
    from harness.progress import say
    from results import queries
    from results.store import open_store

    with open_store(db, read_only=True, wait=wait, notify=say) as store:
        rows = queries.candidates(store)
    names = ("name", "id", "kind", "runs", "rewards")
    shown = [{key: row[key][:12] if key == "id" and not as_json else row[key] for key in names} for row in rows]
    _show(shown, as_json, f"{db} has no candidates yet")


@app.command()
def runs(db: DB = Path("harness.duckdb"), wait: WAIT = False, as_json: AS_JSON = False) -> None:
    """Runs in the database, oldest first."""
    from harness.progress import say
    from results import queries
    from results.store import open_store

    with open_store(db, read_only=True, wait=wait, notify=say) as store:
        rows = queries.runs(store)
    names = ("candidate", "task", "status", "reason", "started", "ended", "seed", "command")
    _show([{key: row[key] for key in names} for row in rows], as_json, f"{db} has no runs yet")
