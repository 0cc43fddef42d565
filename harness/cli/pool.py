"""`harness pool`: bring a policy's responses for Best-of-N tasks into the database, labelled once."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import pool_generate
from harness.cli._options import ADDRESS, EXECUTOR, WAIT, WORKERS, files, task_options
from harness.cli.evaluate import DATA, DATA_DIR, DB, JSON, TaskOptions, UnsafeExec
from harness.errors import ConfigError

app = typer.Typer(help="Pools of sampled responses for Best-of-N tasks.", no_args_is_help=True)
app.command("generate")(pool_generate.generate)
app.command("check")(pool_generate.check)


@app.callback()
def pools() -> None:
    """Pools of sampled responses for Best-of-N tasks."""


@app.command("import")
def import_pool(
    task: Annotated[str, typer.Argument(help="A Best-of-N task, for example gsm8k_bon.")],
    file: Annotated[Path, typer.Argument(help="Responses: our JSONL, DogeRM's JSON, lm-eval samples, ...")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the pool; default: the file's name.")] = None,
    data_dir: DATA_DIR = None,
    data: DATA = None,
    task_option: TaskOptions = None,
    unsafe_exec: UnsafeExec = False,
    db: DB = Path("harness.duckdb"),
    executor: EXECUTOR = "local",
    address: ADDRESS = None,
    workers: WORKERS = None,
    wait: WAIT = False,
    as_json: JSON = False,
) -> None:
    """Import a policy's responses; each is labelled once and the labels are kept, batch by batch."""
    from harness import plugins
    from harness._datasets import label_and_store
    from harness.executors._named import open_named
    from harness.executors._types import ExecutorOptions
    from harness.progress import say
    from results.store import open_store
    from tasks._types import LoadRequest, PoolTask

    plugin = plugins.load_task(task)
    if not isinstance(plugin, PoolTask):
        raise ConfigError(f"{task} is not a Best-of-N task: it takes no pool")
    if not file.is_file():
        raise ConfigError(f"{file}: there is no such file")
    sources = files("--data", data or [])
    request = LoadRequest(
        data_dir=data_dir,
        file=sources.get(task),
        extras=sources,
        options=task_options(task_option or [], {task: {"unsafe_exec": "yes"}} if unsafe_exec else {}).get(task, {}),
        notify=lambda sentence: print(f"{task}: {sentence}", file=sys.stderr),
    )
    pool = plugin.read_pool(file, name or _stem(file), request)
    places = ExecutorOptions(address=address, workers=workers)
    with open_named(executor, places) as elsewhere, open_store(db, wait=wait, notify=say) as store:
        pool = label_and_store(store, plugin, pool, replace(request, check=elsewhere.check))
    responses = [r for row in pool.rows.values() for r in row]
    summary = {
        "task": task,
        "pool": pool.name,
        "examples": len(pool.rows),
        "responses": len(responses),
        "correct": sum(r.correct is True for r in responses),
        "unlabelled": sum(r.correct is None for r in responses),
    }
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"pool '{pool.name}' of {task}: {summary['responses']} responses to {summary['examples']} questions,"
        f" {summary['correct']} correct, {summary['unlabelled']} without a label; stored in {db}"
    )


def _stem(file: Path) -> str:
    return file.name.split(".")[0]
