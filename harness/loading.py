"""From what the user asked to a task's data: files, options and pools in, the record that is scored out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import plugins
from harness._datasets import dataset_record, stored_pool
from harness.errors import ConfigError, did_you_mean
from harness.progress import say
from results.pools import pool_names
from results.records import DatasetRecord
from results.store import Store
from tasks._custom import load_custom
from tasks._data import UnreachableError
from tasks._limit import limit_examples
from tasks._types import LoadRequest, Pool, PoolNeededError, PoolTask, Task, TaskData, TaskError


@dataclass(frozen=True, slots=True)
class DataRequest:
    """Where the tasks' data comes from; an empty one means the hub and the defaults."""

    data_dir: Path | None = None
    data: Mapping[str, Path] = field(default_factory=dict)
    task_files: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # task -> option -> value
    pools: Mapping[str, str] = field(default_factory=dict)
    policy: str | None = None  # samples the pools that are missing
    limit: int | None = None
    seed: int = 0
    notify: Callable[[str], None] = say
    check: Callable[..., Iterator[Any]] | None = None  # runs programs elsewhere (LoadRequest.check)


def load_data(name: str, request: DataRequest, store: Store) -> DatasetRecord | TaskError:
    """A task's data; or the error that keeps this one task from running (no pool, data out of reach).

    Raises the mistakes that the user must put right first: unknown names, damaged files.
    """
    if name in request.task_files:
        data = load_custom(name, request.task_files[name])
    else:
        task = plugins.load_task(name)
        try:
            data = task.load(load_request(name, task, request, store))
        except (PoolNeededError, UnreachableError) as error:
            request.notify(str(error))
            return error
    for note in data.notes:
        request.notify(f"{name}: {note}")
    chosen, limit = _limited(data, request)
    return dataset_record(chosen, limit=limit)


def _limited(data: TaskData, request: DataRequest) -> tuple[TaskData, int | None]:
    if request.limit is None or request.limit >= len(data.examples):
        return data, None
    return limit_examples(data, request.limit, request.seed), request.limit


def load_request(name: str, task: Task, request: DataRequest, store: Store) -> LoadRequest:
    """What a task is asked to load: its file, its options, and its pool."""
    asked = LoadRequest(
        data_dir=request.data_dir,
        file=request.data.get(name),
        extras=request.data,
        options=request.options.get(name, {}),
        notify=lambda sentence: request.notify(f"{name}: {sentence}"),
        check=request.check,
    )
    return replace(asked, pool=_pool(name, request, store, asked)) if isinstance(task, PoolTask) else asked


def _pool(name: str, request: DataRequest, store: Store, asked: LoadRequest) -> Pool | None:
    """The pool asked for by name, else the policy's (sampled now where it is missing), else the newest stored one."""
    if request.policy is not None and name not in request.pools:
        from harness.generation._pool import ensure_pool
        from harness.generation._types import SampleRequest

        sampling = SampleRequest(request.policy, limit=request.limit, seed=request.seed)
        chosen: str | None = ensure_pool(store, name, sampling, asked).name
    else:
        chosen = _pool_name(name, request, store)
    return None if chosen is None else stored_pool(store, name, chosen)


def _pool_name(name: str, request: DataRequest, store: Store) -> str | None:
    """The pool asked for, else the newest stored one, else None."""
    stored = pool_names(store, name)
    wanted = request.pools.get(name)
    if wanted is None:
        if len(stored) > 1:
            request.notify(
                f"{name}: pool '{stored[-1]}', the newest of {', '.join(stored)} (--pool {name}=NAME chooses)"
            )
        return stored[-1] if stored else None
    if wanted not in stored:
        raise ConfigError(f"--pool {name}={wanted}: no such pool in {store.path}: {did_you_mean(wanted, stored)}")
    return wanted
