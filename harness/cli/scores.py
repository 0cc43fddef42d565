"""`harness scores`: bring rewards that were computed elsewhere into the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli._options import WAIT, files
from harness.cli.evaluate import DATA, DATA_DIR, DB, JSON, report
from harness.errors import ConfigError

app = typer.Typer(help="Rewards computed elsewhere.", no_args_is_help=True)


@app.callback()
def scores() -> None:
    """Rewards computed elsewhere."""


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Our JSONL, reward-bench or RewardMATH results, lm-eval, Inspect.")],
    candidate: Annotated[str, typer.Option("--candidate", help="Name of the candidate; it is its identity.")],
    task: Annotated[str | None, typer.Option("--task", "-t", help="The task the scores belong to.")] = None,
    task_file: Annotated[
        list[str] | None, typer.Option("--task-file", help="NAME=FILE: a task of your own (JSONL).")
    ] = None,
    data_dir: DATA_DIR = None,
    data: DATA = None,
    scorer: Annotated[str | None, typer.Option("--scorer", help="Inspect logs: which score is the reward.")] = None,
    db: DB = Path("harness.duckdb"),
    wait: WAIT = False,
    as_json: JSON = False,
) -> None:
    """Store a file's scores as rewards; rows are joined by id or text, and a file that does not join is refused."""
    from harness.importing._document import ImportOptions
    from harness.importing._run import import_scores
    from harness.loading import DataRequest
    from harness.runner import EvalRequest

    customs = files("--task-file", task_file or [])
    name = task or next(iter(customs), None)
    if name is None:
        raise ConfigError("which task do the scores belong to? give --task NAME or --task-file NAME=FILE")
    if not file.is_file():
        raise ConfigError(f"{file}: there is no such file")
    request = EvalRequest(
        models=[candidate],
        tasks=[] if name in customs else [name],
        db=db,
        data=DataRequest(data_dir=data_dir, data=files("--data", data or []), task_files=customs),
        candidate_name=candidate,
        wait=wait,
    )
    result = import_scores(file, name, candidate, request, ImportOptions(scorer=scorer))
    report([result], as_json, db)
    if result.status == "failed":
        raise typer.Exit(3)
