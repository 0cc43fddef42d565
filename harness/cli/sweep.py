"""`harness sweep`: evaluate every lambda of a recipe, in memory, without writing or reloading a merge."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli._options import WAIT, comma_list, files, pairs
from harness.cli.evaluate import (
    DATA,
    DATA_DIR,
    DB,
    JSON,
    BackendName,
    BatchTokens,
    Device,
    Dtype,
    Limit,
    Pools,
    Seed,
    TaskFiles,
    Tasks,
    report,
)


def sweep(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML) with 'sweep: 0:1:0.05' or a list of lambdas.")],
    tasks: Tasks = None,
    task_file: TaskFiles = None,
    data_dir: DATA_DIR = None,
    data: DATA = None,
    pool: Pools = None,
    db: DB = Path("harness.duckdb"),
    backend: BackendName = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_tokens: BatchTokens = None,
    limit: Limit = None,
    seed: Seed = 0,
    wait: WAIT = False,
    as_json: JSON = False,
) -> None:
    """Evaluate every merge of a recipe; the parents are loaded once and nothing is written but results."""
    from harness.config import read_recipe

    wanted = read_recipe(recipe)
    customs = files("--task-file", task_file or [])
    from harness.loading import DataRequest
    from harness.runner import EvalRequest, run_eval
    from harness.scoring._types import ScoringOptions
    from harness.sweep import sweep_request

    scoring = ScoringOptions(
        device=device,
        dtype=dtype,
        batch_tokens=batch_tokens,
        notify=lambda sentence: print(sentence, file=sys.stderr),
    )
    where = DataRequest(
        data_dir=data_dir,
        data=files("--data", data or []),
        task_files=customs,
        pools=pairs("--pool", pool or []),
        limit=limit,
        seed=seed,
    )
    request = EvalRequest([], comma_list(tasks or []), db, backend=backend, scoring=scoring, data=where, wait=wait)
    results = run_eval(sweep_request(wanted, request))
    report(results, as_json, db)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(3)
