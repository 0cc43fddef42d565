"""In this process, one candidate after the other: the default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import ConfigError, RunFailed
from harness.executors._backend import OpenBackend
from harness.executors._types import ExecutorOptions, Job, Runs
from harness.scoring._types import Backend, BatchReport


class LocalExecutor:
    """Scores with `backend`, where one is given, else with the one that the options ask for."""

    check: Callable[..., Iterator[Any]] | None = None

    def __init__(self, options: ExecutorOptions, backend: Backend | None = None) -> None:
        self._given = backend
        self._open = OpenBackend(options.backend, replace(options.scoring, on_batch=self._report))
        self._now: tuple[Job, Runs] | None = None

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing outlives the process."""

    def execute(self, jobs: Sequence[Job], runs: Runs) -> None:
        for job, following in zip(jobs, [*jobs[1:], None], strict=False):  # strict would refuse no jobs at all
            backend = self._given or self._open.of(job.candidate)
            done = runs.start(job, backend.protocol())
            self._now, failure = (job, runs), ""
            if following is not None and following.work is not job.work and _same_model(job, following):
                getattr(backend, "prepare", _nothing)(following.work.requests)
            try:
                for batch in backend.score(job.work.requests, done.keys()):
                    runs.store(job, batch)
            except RunFailed as error:
                failure = str(error)
            runs.finish(job, failure)

    def _report(self, batch: BatchReport) -> None:
        if self._now is not None:
            job, runs = self._now
            runs.report(job, batch)


def _same_model(job: Job, following: Job) -> bool:
    """Whether the next job brings the same tokenizer: the same candidate, or the next lambda of its sweep."""
    one, other = job.candidate, following.candidate
    return one.id == other.id or (one.sweep is not None and one.sweep == other.sweep)


def _nothing(_: object) -> None:
    """For backends that have nothing to prepare."""


def open_executor(options: ExecutorOptions) -> LocalExecutor:
    if options.address is not None or options.workers is not None:
        raise ConfigError("--address and --workers are for --executor ray")
    return LocalExecutor(options)
