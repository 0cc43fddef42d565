"""What an executor is: it opens backends and scores; what comes of it goes to `Runs`, the one writer of the store.

An executor is a file of harness/executors with `open_executor(options)`, which gives a context manager; the file's
name is its name on the command line. `harness.executors.local` is the smallest complete one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.candidate import Candidate
from harness.scoring._types import BatchReport, Request, ScoringOptions
from results.records import DatasetRecord, ExampleRecord, RewardRecord
from tasks._types import Message

Key = tuple[str, int]  # example key, position of the response


WINDOW = 4_000_000  # characters, about a million tokens: what the last batch of a window lacks is less than a per cent


class Work:
    """A data set as all candidates share it: its responses in windows of a bounded size, read anew in every pass."""

    def __init__(self, data: DatasetRecord) -> None:
        self.data = data

    def windows(self) -> Iterator[list[Request]]:
        """Requests of whole examples, in the data set's order; a window holds at most WINDOW characters.

        They are the same windows in every pass. An example longer than that is a window alone.
        """
        window: list[Request] = []
        held = 0
        for key, example in self._examples():
            prompt = tuple(Message(role, text) for role, text in example.prompt)
            length = sum(len(m.content) for m in prompt) + sum(map(len, example.responses))
            if window and held + length > WINDOW:
                yield window
                window, held = [], 0
            about = self.data.task, example.example_id
            window += [Request(key, i, prompt, text, *about) for i, text in enumerate(example.responses)]
            held += length
        if window:
            yield window

    @property
    def requests(self) -> Iterator[Request]:
        """All requests, one after the other."""
        return (request for window in self.windows() for request in window)

    def _examples(self) -> Iterator[tuple[str, ExampleRecord]]:
        """Each example once, with its key; 32 bytes of it are remembered."""
        seen: set[bytes] = set()
        for example in self.data.examples:
            key = example.key
            known = len(seen)
            seen.add(bytes.fromhex(key))
            if len(seen) > known:
                yield key, example


@dataclass(frozen=True, eq=False)
class Job:
    """One run to be done: a candidate on a task's data."""

    candidate: Candidate
    work: Work

    def __str__(self) -> str:
        return f"{self.candidate.name} on {self.work.data.task}"


class Runs(Protocol):
    """What an executor tells about its jobs, from the thread that called `execute`.

    Each job: start, (done, store*)*, finish.
    """

    def start(self, job: Job, protocol: Mapping[str, Any], machine: Mapping[str, Any] | None = None) -> int:
        """The job's backend is open: its protocol, and the environment it runs in (None: this process).

        Returns how many responses have no reward yet.
        """
        ...

    def done(self, job: Job, requests: Sequence[Request]) -> Collection[Key]:
        """Which of these requests of a started job need not be scored."""
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
