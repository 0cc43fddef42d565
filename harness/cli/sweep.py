"""`harness sweep`: evaluate every lambda of a recipe, in memory, without writing or reloading a merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli._options import ADDRESS, EXECUTOR, WAIT, WORKERS, comma_list, files
from harness.cli.evaluate import (
    DATA,
    DATA_DIR,
    DB,
    JSON,
    Attn,
    BackendName,
    BackendOptions,
    BatchTokens,
    ChatTemplate,
    Device,
    Dtype,
    Limit,
    LogJson,
    MaxLength,
    Policy,
    Pools,
    RemoteCode,
    Seed,
    Side,
    SystemPrompt,
    TaskFiles,
    TaskOptions,
    Tasks,
    Weights,
    data_request,
    finish,
    scoring_options,
)

RECIPE = Annotated[str, typer.Argument(help="A recipe (YAML), or the name of a shipped one ('harness ls recipes').")]
SETS = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe, like sweep=0:1:0.1; may be repeated.")
]


def sweep(
    recipe: RECIPE,
    sets: SETS = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan with its cost; score nothing.")] = False,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print the whole configuration.")] = False,
    price: Annotated[float | None, typer.Option(min=0, help="Price of an hour of the machine, for --dry-run.")] = None,
    tflops: Annotated[
        float | None, typer.Option(min=0.001, help="Speed that --dry-run reckons with; default: half the measured.")
    ] = None,
    tasks: Tasks = None,
    task_file: TaskFiles = None,
    data_dir: DATA_DIR = None,
    data: DATA = None,
    pool: Pools = None,
    policy: Policy = None,
    weights: Weights = None,
    task_option: TaskOptions = None,
    db: DB = Path("harness.duckdb"),
    backend: BackendName = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_tokens: BatchTokens = None,
    attn: Attn = None,
    backend_option: BackendOptions = None,
    trust_remote_code: RemoteCode = False,
    log_json: LogJson = None,
    chat_template: ChatTemplate = None,
    system_prompt: SystemPrompt = None,
    max_length: MaxLength = None,
    truncation_side: Side = None,
    limit: Limit = None,
    seed: Seed = 0,
    executor: EXECUTOR = "local",
    address: ADDRESS = None,
    workers: WORKERS = None,
    wait: WAIT = False,
    as_json: JSON = False,
) -> None:
    """Evaluate every merge of a recipe; the parents are loaded once and nothing is written but results."""
    from harness._grid import read_sweep

    config = read_sweep(recipe, sets or [])
    if show_config:
        print(config.as_yaml(), end="")
        return
    customs = files("--task-file", task_file or [])
    from harness.runner import EvalRequest, run_eval
    from harness.sweep import sweep_request

    scoring = scoring_options(
        device, dtype, batch_tokens, attn, backend_option, trust_remote_code, log_json, chat_template, system_prompt,
        max_length, truncation_side,
    )  # fmt: skip
    rows = data_request(data_dir, data, customs, pool, policy, weights, task_option, limit, seed)
    request = EvalRequest(
        [], comma_list(tasks or []), db, backend=backend, scoring=scoring, data=rows, wait=wait, executor=executor,
        address=address, workers=workers,
    )  # fmt: skip
    request = sweep_request(config.recipes, request)
    if not dry_run:
        finish(run_eval(request), as_json, db)
        return
    from harness.cli._plan import show_plan

    show_plan(request, price, tflops, as_json)
