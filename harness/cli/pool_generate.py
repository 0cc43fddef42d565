"""`harness pool generate` and `harness pool check`: sample a policy into a pool, and look at what a pool holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli._options import WAIT, files
from harness.cli.evaluate import DATA, DATA_DIR, DB, JSON
from harness.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from results.store import Store
    from tasks._types import LoadRequest, Pool

TASK = Annotated[str, typer.Argument(help="A Best-of-N task, for example gsm8k_bon.")]


def generate(
    task: TASK,
    model: Annotated[str, typer.Option("--model", "-m", help="The policy: a folder or hub id of a language model.")],
    n: Annotated[int | None, typer.Option("-n", "--samples", help="Samples a question; default: the task's.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Default: the task's paper's.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Default: the task's paper's.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest response in tokens; default: the task's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed: the same one gives the same texts.")] = 0,
    system_prompt: Annotated[str | None, typer.Option(help="Replaces the task's; '' for none.")] = None,
    few_shot: Annotated[int, typer.Option(help="Worked examples before each question.")] = 0,
    backend: Annotated[str | None, typer.Option(help="vllm (default where installed) or hf.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the pool; default: from policy and settings.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only N questions, seeded.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    data_dir: DATA_DIR = None,
    data: DATA = None,
    db: DB = Path("harness.duckdb"),
    wait: WAIT = False,
    as_json: JSON = False,
) -> None:
    """Sample a policy on a task's questions; stopped and started again, it samples only what is missing."""
    from harness.generation._check import check_pool
    from harness.generation._pool import ensure_pool
    from harness.generation._types import SampleRequest
    from harness.progress import say
    from results.store import open_store

    request = SampleRequest(
        policy=model,
        n=n,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        system_prompt=system_prompt,
        few_shot=few_shot,
        seed=seed,
        backend=backend,
        device=device,
        dtype=dtype,
        name=name,
        limit=limit,
    )
    with open_store(db, wait=wait, notify=say) as store:
        pool = ensure_pool(store, task, request, _load_request(task, data_dir, data))
    found = check_pool(pool)
    if as_json:
        print(json.dumps(found, allow_nan=False))
        return
    _print(found)
    print(f"stored in {db}; 'harness eval --tasks {task} --pool {task}={pool.name}' ranks these responses")


def check(
    task: TASK,
    pool: Annotated[str | None, typer.Option("--pool", help="Name of the pool; default: the newest.")] = None,
    data_dir: DATA_DIR = None,
    data: DATA = None,
    db: DB = Path("harness.duckdb"),
    wait: WAIT = False,
    as_json: JSON = False,
) -> None:
    """Print pass@n, repeated responses and verdicts of a stored pool; what has no label yet is labelled first."""
    from harness.generation._check import check_pool
    from harness.progress import say
    from results.store import open_store

    if not db.is_file():
        raise ConfigError(f"{db}: there is no such database; 'harness pool import' or 'pool generate' makes one")
    with open_store(db, wait=wait, notify=say) as store:
        found = check_pool(_labelled(store, task, pool, _load_request(task, data_dir, data)))
    if as_json:
        print(json.dumps(found, allow_nan=False))
    else:
        _print(found)


def _load_request(task: str, data_dir: Path | None, data: list[str] | None) -> LoadRequest:
    from tasks._types import LoadRequest

    given = files("--data", data or [])
    return LoadRequest(
        data_dir=data_dir,
        file=given.get(task),
        extras={name: path for name, path in given.items() if name != task},
        notify=lambda sentence: print(f"{task}: {sentence}", file=sys.stderr),
    )


def _labelled(store: Store, task: str, name: str | None, request: LoadRequest) -> Pool:
    """The chosen pool; labels that are missing are made and kept."""
    from harness import plugins
    from harness._datasets import label_and_store, pool_of
    from results.pools import load_pool, pool_names
    from tasks._types import PoolTask

    plugin = plugins.load_task(task)
    if not isinstance(plugin, PoolTask):
        raise ConfigError(f"{task} is not a Best-of-N task: it takes no pool")
    known = pool_names(store, task)
    if name is None and not known:
        raise ConfigError(f"{store.path} has no pool of {task}: 'harness pool import' or 'pool generate' makes one")
    chosen = known[-1] if name is None else name
    record = load_pool(store, task, chosen)
    if record is None and load_pool(store, task, chosen, complete=False) is not None:
        raise ConfigError(f"pool '{chosen}' of {task} was interrupted: the command that began it finishes it")
    if record is None:
        raise ConfigError(f"--pool {chosen}: no such pool of {task} in {store.path}: {did_you_mean(chosen, known)}")
    pool = pool_of(record)
    complete = all(row.correct is not None for row in record.rows)
    return pool if complete else label_and_store(store, plugin, pool, request)


def _print(found: dict[str, Any]) -> None:
    status = ", ".join(f"{count:,} {word}" for word, count in found["status"].items())
    size = f"{found['responses']:,} responses to {found['examples']:,} questions"
    print(f"pool '{found['pool']}' of {found['task']}: {size}")
    print(f"  {status}; {found['duplicates']:,} repeat another response to their question word for word")
    for key, value in found["pass"].items():
        print(f"  pass@{key.removeprefix('pass/'):<4} {100 * value:5.1f} %")
    if found["left_out"]:
        print(f"  pass@n leaves out {found['left_out']:,} questions that have responses without a label")
    for reason, count in found["reasons"].items():
        print(f"  {count:>7,}  {reason}")
