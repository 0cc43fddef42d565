"""What an executor is: it opens backends and scores; what comes of it goes to `Runs`, the one writer of the store.

An executor is a file of harness/executors with `open_executor(options)`, which gives a context manager; the file's
name is its name on the command line. `harness.executors.local` is the smallest complete one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from harness.candidate import Candidate
from harness.scoring._types import BatchReport, Request, ScoringOptions
from results.records import DatasetRecord, RewardRecord
from tasks._types import Message

Key = tuple[str, int]  # example key, position of the response


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


@dataclass(frozen=True, eq=False)
class Job:
    """One run to be done: a candidate on a task's data."""

    candidate: Candidate
    work: Work

    def __str__(self) -> str:
        return f"{self.candidate.name} on {self.work.data.task}"


class Runs(Protocol):
    """What an executor tells about its jobs, from the thread that called `execute`. Each job: start, store*, finish."""

    def start(
        self, job: Job, protocol: Mapping[str, Any], machine: Mapping[str, Any] | None = None
    ) -> Mapping[Key, float]:
        """The job's backend is open: its protocol, and the environment it runs in (None: this process).

        Returns the rewards that are stored already; they need not be scored.
        """
        ...

    def store(self, job: Job, batch: Sequence[RewardRecord]) -> None:
        """Commit finished rewards."""
        ...

    def report(self, job: Job, batch: BatchReport) -> None:
        """What a batch cost."""
        ...

    def finish(self, job: Job, failure: str = "") -> None:
        """Nothing more comes of it; `failure` is the sentence why it stopped early (it may never have started)."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """What the user said about where and with what to score."""

    backend: str | None = None
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    address: str | None = None  # of a cluster
    workers: int | None = None  # at most so many; None: what the machines offer


class Executor(Protocol):
    """Scores jobs. `check` runs programs in sandboxes elsewhere (like tasks.sandbox.check); None: this machine does."""

    check: Callable[..., Iterator[Any]] | None

    def execute(self, jobs: Sequence[Job], runs: Runs) -> None:
        """Do all jobs; a failed one never stops the others. Raises the user's mistakes (UserError)."""
        ...


class ExecutorModule(Protocol):
    """A file of harness/executors."""

    def open_executor(self, options: ExecutorOptions) -> AbstractContextManager[Executor]: ...
