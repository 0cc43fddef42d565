"""The one loop: candidate x task -> rewards in the store. Finished work is found there and never done again.

Order of effects: names are checked first, then data is read, then candidates are identified, then the store is
written; so a bad argument leaves nothing behind. A failed run never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import candidate as candidates
from harness import plugins
from harness._datasets import dataset_record, pool_of
from harness._environment import command_line, environment
from harness.candidate import Candidate
from harness.errors import ConfigError, RunFailed, UserError, did_you_mean
from harness.progress import progress, say
from harness.scoring._types import Backend, Request, ScoringOptions
from leaderboard.metrics import counts, metric_values
from results import queries
from results.pools import load_pool, pool_names
from results.records import DatasetRecord, ProtocolRecord, RewardRecord
from results.store import Store, open_store
from tasks._custom import load_custom
from tasks._limit import limit_examples
from tasks._types import LoadRequest, Message, PoolNeededError, PoolTask, TaskData, TaskError


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """One `harness eval`: which candidates, which tasks, on which data, into which database."""

    models: Sequence[str | Candidate]
    tasks: Sequence[str]
    db: Path
    backend: str | None = None
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    data_dir: Path | None = None
    data: Mapping[str, Path] = field(default_factory=dict)
    task_files: Mapping[str, Path] = field(default_factory=dict)
    task_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pools: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    seed: int = 0
    candidate_name: str | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of one candidate on one task; fractions are in 0..1."""

    candidate: str
    candidate_id: str
    task: str
    status: str  # complete | partial | failed
    n: int
    ties: int
    metrics: Mapping[str, float]
    reason: str = ""
    missing: Sequence[str] = ()
    unscored: int = 0
    cut: int = 0

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints for a run."""
        shown: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return {k: dict(v) if isinstance(v, Mapping) else list(v) if isinstance(v, tuple | list) else v
                for k, v in shown.items()}  # fmt: skip


Opener = Callable[[Candidate, ScoringOptions], Backend]


def run_eval(request: EvalRequest) -> list[RunResult]:
    """Evaluate every model on every task. Raises the user's mistakes; failed runs come back as results."""
    names = [name for name in request.tasks if name not in request.task_files]
    plugins.check(plugins.TASKS, names)
    if request.backend is not None:
        plugins.check(plugins.BACKENDS, [request.backend])
    chosen = [_candidate(spec, request) for spec in request.models]
    with open_store(request.db) as store:
        loaded = {name: _load(name, request, store) for name in [*request.tasks, *request.task_files]}
        env = store.add_environment(environment())
        results = []
        for one in chosen:
            results += _Candidate(store, one, request, env).run(loaded)
        return results


def _candidate(spec: str | Candidate, request: EvalRequest) -> Candidate:
    if isinstance(spec, Candidate):
        return spec
    if request.backend == "replay":
        if request.candidate_name is None:
            raise ConfigError("--backend replay needs --candidate NAME: a replayed candidate is its name")
        return candidates.named(request.candidate_name, "replay")
    if request.backend == "fake" and not spec.startswith("baseline:"):
        return candidates.named(request.candidate_name or spec, "fake")
    return candidates.resolve(spec, name=request.candidate_name)


def _load(name: str, request: EvalRequest, store: Store) -> DatasetRecord | TaskError:
    """A task's data, or the error that keeps this one task from running (a missing pool)."""
    if name in request.task_files:
        data = load_custom(name, request.task_files[name])
    else:
        task = plugins.load_task(name)
        try:
            data = task.load(load_request(name, request, store))
        except PoolNeededError as error:
            say(f"{name}: {error}")
            return error
    for note in data.notes:
        say(f"{name}: {note}")
    chosen, limit = _limited(data, request)
    return dataset_record(chosen, limit=limit)


def _limited(data: TaskData, request: EvalRequest) -> tuple[TaskData, int | None]:
    if request.limit is None or request.limit >= len(data.examples):
        return data, None
    return limit_examples(data, request.limit, request.seed), request.limit


def load_request(name: str, request: EvalRequest, store: Store) -> LoadRequest:
    """What a task is asked to load: its file, options and pool (the named one, else the only stored one)."""
    task = plugins.load_task(name)
    pool = None
    if isinstance(task, PoolTask):
        stored = pool_names(store, name)
        wanted = request.pools.get(name, stored[-1] if stored else None)
        if wanted is not None and wanted not in stored:
            raise ConfigError(f"--pool {name}={wanted}: no such pool in {store.path}: {did_you_mean(wanted, stored)}")
        if wanted is not None:
            if name not in request.pools and len(stored) > 1:
                say(f"{name}: pool '{wanted}', the newest of {', '.join(stored)} (--pool {name}=NAME chooses)")
            record = load_pool(store, name, wanted)
            pool = None if record is None else pool_of(record)
    return LoadRequest(
        data_dir=request.data_dir,
        file=request.data.get(name),
        extras={key: path for key, path in request.data.items() if key not in request.tasks},
        pool=pool,
        options=request.task_options.get(name, {}),
        notify=lambda sentence: say(f"{name}: {sentence}"),
    )


class _Candidate:
    """One candidate's runs: the backend is opened at the first task that needs it."""

    def __init__(self, store: Store, one: Candidate, request: EvalRequest, env: int) -> None:
        self._store, self._one, self._request, self._env = store, one, request, env
        self._backend: Backend | None = None
        self._key = 0

    def run(self, loaded: Mapping[str, DatasetRecord | TaskError]) -> list[RunResult]:
        results = []
        for task, data in loaded.items():
            if isinstance(data, TaskError):
                results.append(RunResult(self._one.name, self._one.id, task, "failed", 0, 0, {}, str(data)))
            else:
                results.append(self._run(data))
        return results

    def _open(self) -> Backend:
        if self._backend is None:
            module = plugins.load(plugins.BACKENDS, backend_name(self._one, self._request.backend))
            opener: Opener = module.open_backend
            options = replace(self._request.scoring, seed=self._request.seed)
            self._backend = opener(self._one, options)
            self._key = self._store.add_candidate(self._one.record())
        return self._backend

    def _run(self, data: DatasetRecord) -> RunResult:
        backend = self._open()
        protocol = self._store.add_protocol(ProtocolRecord(backend.protocol()))
        dataset = self._store.add_dataset(data)
        run = self._store.start_run(
            self._key, protocol, dataset, self._env, seed=self._request.seed, command=command_line()
        )
        try:
            self._score(backend, data, protocol, dataset)
            status, reason = self._verdict(data, protocol, dataset)
        except RunFailed as error:
            status, reason = "failed", str(error)
            say(f"{self._one.name} on {data.task}: {error}")
        except UserError:
            self._store.finish_run(run, "failed", "the scoring backend refused")
            raise
        except KeyboardInterrupt:
            self._store.finish_run(run, "failed", "interrupted")
            raise
        self._store.finish_run(run, status, reason)
        return summarise(self._store, run)

    def _score(self, backend: Backend, data: DatasetRecord, protocol: int, dataset: int) -> None:
        """Score what is not in the store yet; every batch commits before the next one starts."""
        requests = make_requests(data)
        stored = queries.stored_rewards(self._store, self._key, protocol, dataset)
        label = f"{self._one.name} · {data.task}"
        with progress(label, len(requests)) as advance:
            advance(len(stored))
            for batch in backend.score(requests, stored.keys()):
                self._same(batch, stored)
                fresh = [r for r in batch if (r.example_key, r.response) not in stored]
                self._store.add_rewards(self._key, protocol, fresh)
                advance(len(fresh))

    def _same(self, batch: Sequence[RewardRecord], stored: Mapping[tuple[str, int], float]) -> None:
        """A replayed candidate is its name: other rewards under the same name are a mistake, not an update."""
        if self._one.kind != "replay":
            return
        for r in batch:
            held = stored.get((r.example_key, r.response))
            if held is not None and r.reward is not None and held != r.reward:
                raise UserError(
                    f"candidate '{self._one.name}' already has other rewards in {self._store.path}"
                    f" ({held:g}, the file says {r.reward:g}): give the new ones another --candidate name"
                )

    def _verdict(self, data: DatasetRecord, protocol: int, dataset: int) -> tuple[str, str]:
        stored = queries.scored(self._store, self._key, protocol, dataset)
        total = sum(len(e.responses) for e in unique_examples(data))
        lacking = total - sum(len(s) for s in stored.values())
        if lacking and self._one.kind == "replay":
            return "partial", "; ".join(filter(None, [data.partial, f"{lacking} of {total} rewards not in the file"]))
        if lacking:
            reason = queries.unscored_reason(self._store, self._key, protocol, dataset)
            return "failed", f"{lacking} of {total} responses have no reward ({reason})"
        return ("partial", data.partial) if data.partial else ("complete", "")


def backend_name(one: Candidate, wanted: str | None) -> str:
    """The backend that scores a candidate: the one asked for, unless its kind allows only one."""
    return "baseline" if one.kind == "baseline" else wanted or "hf"


def unique_examples(data: DatasetRecord) -> list[Any]:
    """The data set's examples, each content once."""
    return list({e.key: e for e in data.examples}.values())


def make_requests(data: DatasetRecord) -> list[Request]:
    """One request a response, each example content once, in the data set's order."""
    return [
        Request(e.key, i, tuple(Message(role, text) for role, text in e.prompt), response, data.task, e.example_id)
        for e in unique_examples(data)
        for i, response in enumerate(e.responses)
    ]


def summarise(store: Store, run: int) -> RunResult:
    """Metrics of a stored run, computed from its raw rewards."""
    row = next(r for r in queries.runs(store) if r["key"] == run)
    rewards = queries.run_rewards(store, row)
    tally = counts(rewards)
    metrics = metric_values(rewards) if rewards.scored.any() else {}
    return RunResult(
        candidate=row["candidate"],
        candidate_id=row["candidate_id"],
        task=row["task"],
        status=row["status"],
        n=len(rewards.example_ids),
        ties=int(tally["ties"]),
        metrics=metrics,
        reason=row["reason"],
        missing=tuple(row["missing"]),
        unscored=int(tally["unscored"]),
        cut=int(rewards.cut.sum()),
    )
