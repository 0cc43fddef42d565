"""Candidate x task -> rewards in the store. Finished work is found there and never done again.

Who scores is the executor's business (harness.executors); this is the side that knows the store, and its only writer.

Order of effects: names are checked first, candidates identified, data read, and only then anything is scored; a bad
argument leaves nothing behind. A failed run never stops the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import candidate as candidates
from harness import plugins
from harness._environment import command_line, environment
from harness.candidate import Candidate
from harness.errors import ConfigError, UserError
from harness.executors._named import open_named
from harness.executors._types import Executor, ExecutorOptions, Job, Key, Work
from harness.loading import DataRequest, load_data
from harness.progress import Progress, board, say
from harness.scoring._types import BatchReport, Request, ScoringOptions
from leaderboard.metrics import Measured, counts, metric_values
from results import queries
from results.bounds import reward_bound
from results.records import ProtocolRecord, RewardRecord
from results.store import Store, open_store
from tasks._types import TaskError


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """One evaluation: which candidates, which tasks, on which data, into which database."""

    models: Sequence[str | Candidate]
    tasks: Sequence[str]
    db: Path
    backend: str | None = None
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    data: DataRequest = field(default_factory=DataRequest)
    candidate_name: str | None = None
    wait: bool = False  # for another process that has the database open
    executor: str = "local"
    address: str | None = None  # of the executor's cluster
    workers: int | None = None

    @property
    def seed(self) -> int:
        return self.data.seed


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
    missing: tuple[str, ...] = ()
    unscored: int = 0  # examples with a response that has no reward
    cut: int = 0  # responses cut to the model's length
    undetermined: int = 0  # examples whose margin is within rounding
    run: str = ""  # id of the stored run; "" where there is none

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints for a run."""
        return asdict(self)


def run_eval(request: EvalRequest) -> list[RunResult]:
    """Evaluate every model on every task. Raises the user's mistakes; failed runs come back as results."""
    files = request.data.task_files
    plugins.check(plugins.TASKS, [name for name in request.tasks if name not in files])
    if request.backend is not None:
        plugins.check(plugins.BACKENDS, [request.backend])
    plugins.check(plugins.EXECUTORS, [request.executor])
    chosen = [_candidate(spec, request) for spec in request.models]
    names = list(dict.fromkeys([*request.tasks, *files]))
    with _executor(request) as executor:
        request = replace(request, data=replace(request.data, check=executor.check))
        return _evaluate(names, chosen, request, executor)


def _evaluate(
    names: Sequence[str], chosen: Sequence[Candidate], request: EvalRequest, executor: Executor
) -> list[RunResult]:
    """All data is loaded before anything is written: bad data leaves no database behind that was not there."""
    fresh = not request.db.exists() and request.data.policy is None  # a sampled pool is worth keeping
    work: dict[str, Work | TaskError] = {}
    try:
        with open_store(request.db, wait=request.wait, notify=say) as store:
            store.stay_small()
            loaded = {name: load_data(name, request.data, store) for name in names}
            work = {name: data if isinstance(data, TaskError) else Work(data) for name, data in loaded.items()}
            return Session(store, request, executor).evaluate(chosen, work)
    except (TaskError, UserError):
        if fresh and not work:
            request.db.unlink(missing_ok=True)
        raise


def _executor(request: EvalRequest) -> AbstractContextManager[Executor]:
    scoring = replace(request.scoring, seed=request.seed)
    return open_named(request.executor, ExecutorOptions(request.backend, scoring, request.address, request.workers))


def _candidate(spec: str | Candidate, request: EvalRequest) -> Candidate:
    if isinstance(spec, Candidate):
        return spec
    if request.backend == "replay":
        if request.candidate_name is None:
            raise ConfigError("--backend replay needs --candidate NAME: a replayed candidate is its name")
        return candidates.named(request.candidate_name, "replay")
    if request.backend in ("fake", "judge") and not spec.startswith("baseline:"):
        return candidates.named(request.candidate_name or spec, request.backend)
    return candidates.resolve(spec, name=request.candidate_name)


@dataclass(slots=True)
class _Run:
    """A started run: the store's keys for it, its progress bar."""

    keys: tuple[int, int, int]  # candidate, protocol, data set
    number: int
    shown: Progress


class Session:
    """An evaluation in progress: one open store, to which only this writes what its executor brings."""

    def __init__(
        self, store: Store, request: EvalRequest, executor: Executor, *, also: Mapping[str, Any] | None = None
    ) -> None:
        """`also` is recorded with each run, beside the environment."""
        self._also = dict(also or {})
        self._store, self._request, self._executor = store, request, executor
        self._runs: dict[Job, _Run] = {}  # started, not finished
        self._results: dict[tuple[str, str], RunResult] = {}  # (candidate id, task)
        self._datasets: dict[str, int] = {}  # task -> key
        self._environment: int | None = None

    def evaluate(self, chosen: Sequence[Candidate], loaded: Mapping[str, Work | TaskError]) -> list[RunResult]:
        """All runs of all candidates; results candidate by candidate. Raises the user's mistakes."""
        once = {one.id: one for one in chosen}.values()
        jobs = [Job(one, work) for one in once for work in loaded.values() if isinstance(work, Work)]
        try:
            with board() as self._board:
                self._executor.execute(jobs, self)
        except (UserError, KeyboardInterrupt) as error:
            stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else "the scoring backend refused"
            for job, run in self._runs.items():
                status, reason = self._verdict(job, run)  # what was complete before stays complete
                self._store.finish_run(run.number, status, reason if status != "failed" else stopped)
            raise
        return [
            _failed(one, task, str(work)) if isinstance(work, TaskError) else self._results[one.id, task]
            for one in chosen
            for task, work in loaded.items()
        ]

    def start(self, job: Job, protocol: Mapping[str, Any], machine: Mapping[str, Any] | None = None) -> int:
        """Runs.start: a run of this candidate under its backend's protocol, resumed where there was one."""
        keys = (
            self._store.add_candidate(job.candidate.record()),
            self._store.add_protocol(ProtocolRecord(protocol)),
            self._dataset(job.work),
        )
        place = self._here() if machine is None else self._store.add_environment(dict(machine))
        number = self._store.start_run(*keys, place, seed=self._request.seed, command=command_line())
        stored, total = queries.progress(self._store, *keys)
        shown = self._board(f"{job.candidate.name} · {job.work.data.task}", total)
        shown(stored)
        self._runs[job] = _Run(keys, number, shown)
        return total if job.candidate.kind == "replay" else total - stored

    def done(self, job: Job, requests: Sequence[Request]) -> Collection[Key]:
        """Runs.done; nothing of a replayed candidate, so that `store` sees all that its file says."""
        self._store.trim()
        if job.candidate.kind == "replay":
            return frozenset()
        return self._stored(self._runs[job], (r.example_key for r in requests)).keys()

    def store(self, job: Job, batch: Sequence[RewardRecord]) -> None:
        """Runs.store: every batch commits before the next one is asked for."""
        run = self._runs[job]
        if job.candidate.kind == "replay":
            self._same(job.candidate, batch, self._stored(run, (r.example_key for r in batch)))
        run.shown(self._store.add_rewards(run.keys[0], run.keys[1], batch))

    def _stored(self, run: _Run, examples: Iterable[str]) -> Mapping[Key, float]:
        return queries.stored_rewards(self._store, run.keys[0], run.keys[1], set(examples))

    def report(self, job: Job, batch: BatchReport) -> None:
        """Runs.report: to the bar and to the log."""
        self._runs[job].shown.report(batch)
        self._request.scoring.on_batch(batch)

    def finish(self, job: Job, failure: str = "") -> None:
        """Runs.finish: the verdict, from what is stored."""
        if failure:
            say(f"{job}: {failure}")
        run = self._runs.get(job)
        name = job.candidate.id, job.work.data.task
        if run is None:
            self._results[name] = _failed(job.candidate, job.work.data.task, failure)
            return
        status, reason = ("failed", failure) if failure else self._verdict(job, run)
        self._store.finish_run(run.number, status, reason)
        run.shown.close()
        del self._runs[job]
        self._results[name] = summarise(self._store, run.number)

    def _here(self) -> int:
        """This process as an environment, asked for when the first backend is open: then torch says what it has."""
        if self._environment is None:
            self._environment = self._store.add_environment(environment() | self._also)
        return self._environment

    def _dataset(self, work: Work) -> int:
        if work.data.task not in self._datasets:
            self._datasets[work.data.task] = self._store.add_dataset(work.data)
        return self._datasets[work.data.task]

    def _same(self, one: Candidate, batch: Sequence[RewardRecord], stored: Mapping[Key, float]) -> None:
        """A replayed candidate is its name: other rewards under the same name are a mistake, not an update."""
        for r in batch:
            held = stored.get((r.example_key, r.response))
            if held is not None and r.reward is not None and held != r.reward:
                raise UserError(
                    f"candidate '{one.name}' already has other rewards in {self._store.path}"
                    f" ({held:g}, the file says {r.reward:g}): give the new ones another --candidate name"
                )

    def _verdict(self, job: Job, run: _Run) -> tuple[str, str]:
        """Status and reason of a run, from what is stored."""
        stored, total = queries.progress(self._store, *run.keys)
        lacking, partial = total - stored, job.work.data.partial
        if lacking and job.candidate.kind == "replay":
            return "partial", "; ".join(filter(None, [partial, f"{lacking} of {total} rewards not in the file"]))
        if lacking:
            reason = queries.unscored_reason(self._store, *run.keys)
            return "failed", f"{lacking} of {total} responses have no reward ({reason})"
        return ("partial", partial) if partial else ("complete", "")


def _failed(one: Candidate, task: str, reason: str) -> RunResult:
    """A run that could not be started."""
    return RunResult(one.name, one.id, task, "failed", 0, 0, {}, reason)


def summarise(store: Store, run: int) -> RunResult:
    """Metrics of a stored run, computed from its raw rewards."""
    store.trim()
    row = next(r for r in queries.runs(store) if r["key"] == run)
    rewards = queries.run_rewards(store, row)
    measured = Measured(rewards)
    tally = counts(measured, reward_bound(row["protocol"], rewards.rewards))
    return RunResult(
        candidate=row["candidate"],
        candidate_id=row["candidate_id"],
        task=row["task"],
        status=row["status"],
        n=len(rewards.example_ids),
        ties=tally["ties"],
        metrics=metric_values(measured) if rewards.scored.any() else {},
        reason=row["reason"],
        missing=tuple(row["missing"]),
        unscored=tally["unscored"],
        cut=tally["cut_responses"],
        undetermined=tally["undetermined"],
        run=row["id"],
    )
