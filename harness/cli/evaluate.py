"""`harness eval`: score candidates on tasks and store every raw reward."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli._options import ADDRESS, EXECUTOR, WAIT, WORKERS, comma_list, files, pairs, task_options
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.loading import DataRequest
    from harness.runner import RunResult
    from harness.scoring._types import BatchReport, ScoringOptions

DB = Annotated[Path, typer.Option("--db", help="Results database.")]
DATA_DIR = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="HARNESS_DATA_DIR", help="Folder with the published data; default: the hub."),
]
DATA = Annotated[list[str] | None, typer.Option("--data", help="TASK=FILE: one task's data (also priors=FILE).")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Folder, recipe.yaml, hub id or baseline:RULE; may be repeated."),
]
Tasks = Annotated[list[str] | None, typer.Option("--tasks", "-t", help="Tasks, separated by commas.")]
TaskFiles = Annotated[list[str] | None, typer.Option("--task-file", help="NAME=FILE: a task of your own (JSONL).")]
Pools = Annotated[list[str] | None, typer.Option("--pool", help="TASK=NAME: which imported pool to use.")]
Policy = Annotated[
    str | None, typer.Option("--policy", help="Language model that samples the pools which are missing first.")
]
Weights = Annotated[str | None, typer.Option("--weights", help="rewardbench: current or pre-2024-09-10.")]
TaskOptions = Annotated[
    list[str] | None, typer.Option("--task-option", help="TASK.NAME=VALUE, like mbpp_bon.variant=sanitized.")
]
UnsafeExec = Annotated[
    bool, typer.Option("--unsafe-exec", help="Run programs without a sandbox; every label and row says so.")
]
BackendName = Annotated[str | None, typer.Option("--backend", help="See 'harness ls backends'.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16.")]


def batch_size(text: str) -> int | None:
    """--batch-tokens: a number, or None for auto."""
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise typer.BadParameter(f"'{text}' is neither a number of at least 1 nor auto")
    return int(text)


BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--batch-tokens", parser=batch_size, metavar="N|auto", help="Tokens a batch; auto (default) finds what fits."
    ),
]
Attn = Annotated[str | None, typer.Option("--attn", help="cascade, varlen, flex or padded; default: the fastest.")]
BackendOptions = Annotated[
    list[str] | None, typer.Option("--backend-option", help="NAME=VALUE of one backend; may be repeated.")
]
LogJson = Annotated[Path | None, typer.Option("--log-json", help="Append one JSON line a batch to this file.")]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run model classes that a checkpoint brings.")]
ChatTemplate = Annotated[
    str | None, typer.Option("--chat-template", help="Template or its file; default: the candidate's own.")
]
SystemPrompt = Annotated[str | None, typer.Option("--system-prompt", help="Replaces any system prompt.")]
MaxLength = Annotated[int | None, typer.Option("--max-length", min=1, help="Longest input in tokens.")]
Side = Annotated[str | None, typer.Option("--truncation-side", help="left (default) or right: which end is cut.")]
Rewards = Annotated[Path | None, typer.Option("--rewards", help="Rewards file of --backend replay.")]
Name = Annotated[str | None, typer.Option("--candidate", help="Name to store this candidate under.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only N examples, spread over subsets.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]


def evaluate(
    model: Models = None,
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
    rewards: Rewards = None,
    candidate: Name = None,
    limit: Limit = None,
    seed: Seed = 0,
    executor: EXECUTOR = "local",
    address: ADDRESS = None,
    workers: WORKERS = None,
    wait: WAIT = False,
    as_json: JSON = False,
) -> None:
    """Score candidates on tasks; every raw reward goes into the database, finished work is never repeated."""
    models, names, customs = list(model or []), comma_list(tasks or []), files("--task-file", task_file or [])
    _check(models, names, customs, backend, candidate)
    from harness.runner import EvalRequest, run_eval

    scoring = scoring_options(
        device, dtype, batch_tokens, attn, backend_option, trust_remote_code, log_json, chat_template, system_prompt,
        max_length, truncation_side,
    )  # fmt: skip
    rows = data_request(data_dir, data, customs, pool, policy, weights, task_option, limit, seed)
    request = EvalRequest(
        models=models or [candidate or ""],
        tasks=names,
        db=db,
        backend=backend,
        scoring=replace(scoring, rewards_file=rewards),
        data=rows,
        candidate_name=candidate,
        wait=wait,
        executor=executor,
        address=address,
        workers=workers,
    )
    finish(run_eval(request), as_json, db)


def scoring_options(
    device: str | None,
    dtype: str | None,
    batch_tokens: int | None,
    attn: str | None,
    backend_option: list[str] | None,
    trust_remote_code: bool,
    log_json: Path | None,
    chat_template: str | None,
    system_prompt: str | None,
    max_length: int | None,
    truncation_side: str | None,
) -> ScoringOptions:
    """How to score, as the command line says; raises ConfigError."""
    from harness.progress import say
    from harness.scoring._types import ScoringOptions

    if truncation_side not in (None, "left", "right"):
        raise ConfigError(f"--truncation-side {truncation_side}: left or right")
    return ScoringOptions(
        device=device,
        dtype=dtype,
        batch_tokens=batch_tokens,
        attn=attn,
        extra=pairs("--backend-option", backend_option or []),
        trust_remote_code=trust_remote_code,
        on_batch=batch_log(log_json),
        chat_template=chat_template,
        system_prompt=system_prompt,
        max_length=max_length,
        truncation_side=truncation_side,
        notify=say,
    )


def data_request(
    data_dir: Path | None,
    data: list[str] | None,
    customs: dict[str, Path],
    pool: list[str] | None,
    policy: str | None,
    weights: str | None,
    task_option: list[str] | None,
    limit: int | None,
    seed: int,
) -> DataRequest:
    """Which data to use, as the command line says; raises ConfigError."""
    from harness.loading import DataRequest

    return DataRequest(
        data_dir=data_dir,
        data=files("--data", data or []),
        task_files=customs,
        options=task_options(task_option or [], {"rewardbench": {"weights": weights}} if weights else {}),
        pools=pairs("--pool", pool or []),
        policy=policy,
        limit=limit,
        seed=seed,
    )


def finish(results: list[RunResult], as_json: bool, db: Path) -> None:
    """Report, and end with exit code 3 where a run failed."""
    report(results, as_json, db)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(3)


def batch_log(path: Path | None) -> Callable[[BatchReport], None]:
    """What writes --log-json: one line a batch, at once, so that it can be followed."""
    if path is None:
        return lambda _: None
    try:
        file = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise ConfigError(f"--log-json {path}: cannot be written ({error.strerror})") from None
    return lambda report: print(json.dumps(report.as_json()), file=file)


def _check(
    models: list[str],
    names: list[str],
    customs: dict[str, Path],
    backend: str | None,
    candidate: str | None,
) -> None:
    if not names and not customs:
        raise ConfigError("nothing to evaluate: give --tasks (see 'harness ls tasks') or --task-file NAME=FILE")
    if not models and backend != "replay":
        raise ConfigError("nothing to evaluate: give --model FOLDER")
    if len(models) > 1 and candidate is not None:
        raise ConfigError("--candidate names one candidate, and several --model were given")


def report(results: list[RunResult], as_json: bool, db: Path) -> None:
    """Print results: one JSON object, or a table."""
    if as_json:
        print(json.dumps({"runs": [result.as_json() for result in results]}, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("candidate", "task", "status", "n", "ties", "score", "parts", box=None)
    for r in results:
        parts = [f"{key.split('/', 1)[1]} {100 * v:.1f}" for key, v in r.metrics.items() if _headline(key)]
        score = f"{100 * r.metrics['score']:.1f}" if "score" in r.metrics else "-"
        table.add_row(r.candidate, r.task, r.status, str(r.n), str(r.ties), score, ", ".join(parts))
    console = Console()
    console.print(table)
    for r in results:
        if r.reason:
            console.print(f"{r.candidate} on {r.task}: {r.status}: {r.reason}", soft_wrap=True, markup=False)
        if r.cut:
            console.print(f"{r.candidate} on {r.task}: {r.cut} responses were cut to the model's length", markup=False)
    console.print(f"rewards are in {db}; 'harness leaderboard build --db {db} -o site/' makes the page", soft_wrap=True)


def _headline(key: str) -> bool:
    return key.startswith(("section/", "category/", "bon/"))
