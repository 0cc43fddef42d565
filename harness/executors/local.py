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
        self._left = 0  # responses of later windows without a reward

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing outlives the process."""

    def execute(self, jobs: Sequence[Job], runs: Runs) -> None:
        for job, following in zip(jobs, [*jobs[1:], None], strict=False):  # strict would refuse no jobs at all
            backend = self._given or self._open.of(job.candidate)
            self._now, self._left, failure = (job, runs), runs.start(job, backend.protocol()), ""
            coming = following if following is not None and _same_model(job, following) else None
            try:
                if self._left:
                    self._score(backend, job, coming, runs)
            except RunFailed as error:
                failure = str(error)
            runs.finish(job, failure)

    def _score(self, backend: Backend, job: Job, coming: Job | None, runs: Runs) -> None:
        """Window by window; while one is scored, the next one (of the job that is coming, at the end) is prepared."""
        getattr(backend, "check", _nothing)(job.work.requests)
        windows = job.work.windows()
        ahead = iter(()) if coming is None else coming.work.windows()
        window = next(windows, None)
        while window is not None:
            following = next(windows, None)
            done = runs.done(job, window)
            if len(done) < len(window):
                self._left -= len(window) - len(done)
                prepared = following or next(ahead, None)
                if prepared is not None:
                    getattr(backend, "prepare", _nothing)(prepared)
                for batch in backend.score(window, done):
                    runs.store(job, batch)
            window = following

    def _report(self, batch: BatchReport) -> None:
        if self._now is not None:
            job, runs = self._now
            runs.report(job, replace(batch, left=batch.left + self._left))


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
