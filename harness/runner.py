"""The one loop: candidate x task -> rewards in the store. Finished work is found there and never done again.

Order of effects: names are checked first, candidates identified, data read, and only then anything is scored; a bad
argument leaves nothing behind. A failed run never stops the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import candidate as candidates
from harness import plugins
from harness._environment import command_line, environment
from harness.candidate import Candidate
from harness.errors import ConfigError, RunFailed, UserError
from harness.loading import DataRequest, load_data
from harness.progress import Progress, Silence, progress, say
from harness.scoring._types import Backend, BatchReport, Request, ScoringOptions
from leaderboard.metrics import Measured, counts, metric_values
from results import queries
from results.records import DatasetRecord, ProtocolRecord, RewardRecord
from results.store import Store, open_store
from tasks._types import Message, TaskError


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

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints for a run."""
        return asdict(self)


def run_eval(request: EvalRequest) -> list[RunResult]:
    """Evaluate every model on every task. Raises the user's mistakes; failed runs come back as results."""
    files = request.data.task_files
    plugins.check(plugins.TASKS, [name for name in request.tasks if name not in files])
    if request.backend is not None:
        plugins.check(plugins.BACKENDS, [request.backend])
    chosen = [_candidate(spec, request) for spec in request.models]
    loaded = _load(list(dict.fromkeys([*request.tasks, *files])), request)
    with open_store(request.db, wait=request.wait, notify=say) as store:
        session = Session(store, request)
        work = {name: data if isinstance(data, TaskError) else Work(data) for name, data in loaded.items()}
        return [result for one in chosen for result in session.evaluate(one, work)]


def _load(names: Sequence[str], request: EvalRequest) -> dict[str, DatasetRecord | TaskError]:
    """All data before anything is written: bad data leaves no database behind that was not there."""
    fresh = not request.db.exists() and request.data.policy is None  # a sampled pool is worth keeping
    try:
        with open_store(request.db, wait=request.wait, notify=say) as store:
            return {name: load_data(name, request.data, store) for name in names}
    except (TaskError, UserError):
        if fresh:
            request.db.unlink(missing_ok=True)
        raise


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


class Work:
    """A data set as all candidates share it: its requests are made once, in the data set's order."""

    def __init__(self, data: DatasetRecord) -> None:
        self.data = data

    @cached_property
    def requests(self) -> list[Request]:
        """One request a response; an example that stands twice in the data set is scored once."""
        unique = {e.key: e for e in self.data.examples}
        return [
            Request(
                key, i, tuple(Message(role, text) for role, text in e.prompt), response, self.data.task, e.example_id
            )
            for key, e in unique.items()
            for i, response in enumerate(e.responses)
        ]


class Session:
    """An evaluation in progress: one open store, one backend at a time."""

    def __init__(self, store: Store, request: EvalRequest) -> None:
        self._store, self._request = store, request
        self._environment = store.add_environment(environment())
        self._backend: Backend | None = None
        self._last: Candidate | None = None
        self._progress: Progress = Silence()
        self._datasets: dict[str, int] = {}  # task -> key

    def evaluate(
        self, one: Candidate, loaded: Mapping[str, Work | TaskError], backend: Backend | None = None
    ) -> list[RunResult]:
        """All runs of one candidate, with `backend` or the one that the request asks for."""
        results = []
        for task, work in loaded.items():
            if isinstance(work, TaskError):
                results.append(RunResult(one.name, one.id, task, "failed", 0, 0, {}, str(work)))
            else:
                results.append(self._run(one, work, backend or self._open(one)))
        return results

    def _open(self, one: Candidate) -> Backend:
        """The candidate's backend; the merges of one sweep follow each other in one live model."""
        if self._backend is not None and one is self._last:
            return self._backend
        before = None if self._last is None else self._last.sweep
        follow = getattr(self._backend, "follow", None)
        if follow is not None and one.sweep is not None and one.sweep == before:
            follow(one)
        else:
            self._backend = None  # frees the model before the next one is loaded
            module = plugins.load(plugins.BACKENDS, backend_name(one, self._request.backend))
            options = replace(self._request.scoring, seed=self._request.seed, on_batch=self._report)
            self._backend = module.open_backend(one, options)
        self._last = one
        assert self._backend is not None
        return self._backend

    def _report(self, batch: BatchReport) -> None:
        self._progress.report(batch)
        self._request.scoring.on_batch(batch)

    def _dataset(self, work: Work) -> int:
        if work.data.task not in self._datasets:
            self._datasets[work.data.task] = self._store.add_dataset(work.data)
        return self._datasets[work.data.task]

    def _run(self, one: Candidate, work: Work, backend: Backend) -> RunResult:
        protocol = self._store.add_protocol(ProtocolRecord(backend.protocol()))
        keys = (self._store.add_candidate(one.record()), protocol, self._dataset(work))
        run = self._store.start_run(*keys, self._environment, seed=self._request.seed, command=command_line())
        try:
            self._score(one, work, backend, keys)
            status, reason = self._verdict(one, work, keys)
        except RunFailed as error:
            status, reason = "failed", str(error)
            say(f"{one.name} on {work.data.task}: {error}")
        except (UserError, KeyboardInterrupt) as error:
            stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else "the scoring backend refused"
            status, reason = self._verdict(one, work, keys)  # what was complete before stays complete
            self._store.finish_run(run, status, reason if status != "failed" else stopped)
            raise
        self._store.finish_run(run, status, reason)
        return summarise(self._store, run)

    def _score(self, one: Candidate, work: Work, backend: Backend, keys: tuple[int, int, int]) -> None:
        """Score what is not in the store yet; every batch commits before the next one is asked for."""
        stored = queries.stored_rewards(self._store, *keys)
        with progress(f"{one.name} · {work.data.task}", len(work.requests)) as advance:
            self._progress = advance
            advance(len(stored))
            for batch in backend.score(work.requests, stored.keys()):
                if one.kind == "replay":
                    self._same(one, batch, stored)
                fresh = [r for r in batch if (r.example_key, r.response) not in stored]
                self._store.add_rewards(keys[0], keys[1], fresh)
                advance(len(fresh))

    def _same(self, one: Candidate, batch: Sequence[RewardRecord], stored: Mapping[tuple[str, int], float]) -> None:
        """A replayed candidate is its name: other rewards under the same name are a mistake, not an update."""
        for r in batch:
            held = stored.get((r.example_key, r.response))
            if held is not None and r.reward is not None and held != r.reward:
                raise UserError(
                    f"candidate '{one.name}' already has other rewards in {self._store.path}"
                    f" ({held:g}, the file says {r.reward:g}): give the new ones another --candidate name"
                )

    def _verdict(self, one: Candidate, work: Work, keys: tuple[int, int, int]) -> tuple[str, str]:
        """Status and reason of a run, from what is stored."""
        total, partial = len(work.requests), work.data.partial
        lacking = total - len(queries.stored_rewards(self._store, *keys))
        if lacking and one.kind == "replay":
            return "partial", "; ".join(filter(None, [partial, f"{lacking} of {total} rewards not in the file"]))
        if lacking:
            reason = queries.unscored_reason(self._store, *keys)
            return "failed", f"{lacking} of {total} responses have no reward ({reason})"
        return ("partial", partial) if partial else ("complete", "")


def backend_name(one: Candidate, wanted: str | None) -> str:
    """The backend that scores a candidate: the one asked for, unless its kind allows only one."""
    return "baseline" if one.kind == "baseline" else wanted or "hf"


def summarise(store: Store, run: int) -> RunResult:
    """Metrics of a stored run, computed from its raw rewards."""
    row = next(r for r in queries.runs(store) if r["key"] == run)
    rewards = queries.run_rewards(store, row)
    measured = Measured(rewards)
    tally = counts(measured)
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
    )
