"""The words every task speaks: messages, responses, examples, metrics, pools, and where data came from.

A task turns published data into `Example`s and says, as data, how outcomes become metrics (`Metric`).
Nothing here scores or judges: rewards come from harness, outcomes and statistics from leaderboard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

_TOGETHER = 128  # examples of a stored pool that are read at a time


class TaskError(ValueError):
    """Bad data, pool or option. The text is one sentence for the user: what, where, what to do."""


class PoolNeededError(TaskError):
    """A Best-of-N task has no pool and no default pool; the text names the three ways to get one."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Response:
    """One answer to a prompt: the whole assistant turn as the reward model sees it."""

    text: str
    correct: bool | None  # None: unknown (a status, never counted as wrong)
    answer: str | None = None  # canonical final answer, what majority votes count; None: no answer
    source: str = ""  # who wrote it (a model's name), "" where unknown
    reason: str = ""  # why `correct` is what it is: extraction rule, sandbox status, ...


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with k responses. A preference pair is k=2 with one correct; a tie has both correct."""

    id: str
    prompt: tuple[Message, ...]
    responses: tuple[Response, ...]
    subset: str
    stratum: str = ""  # the section that the subset belongs to; "" where there are none
    cluster: str | None = None  # examples that repeat one problem share it (standard errors)


Outcome = Literal["accuracy", "agreement", "best_of_n"]
"""accuracy: the one correct response strictly beats all others (examples without exactly one are left out).
agreement: like accuracy, and a pair labelled a tie (both correct) wants equal rewards.
best_of_n: correctness of the highest-rewarded of n responses, exact over all n-subsets."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A named weighted mean. `parts` name subsets as "subset/NAME" or other metrics by their key.

    Value = sum(w_i * part_i) / sum(w_i) over the parts present. A weight of None is the number of examples of
    that part which have an outcome, so that every example counts once. `outcome` applies to subset parts.
    """

    key: str
    parts: tuple[tuple[str, float | None], ...]
    outcome: Outcome = "accuracy"


@dataclass(frozen=True, slots=True)
class Source:
    """Where bytes came from. `pinned` is False when `sha256` is not the one this release was checked with."""

    name: str
    location: str  # repository and path, or local path as given by the user
    revision: str | None
    sha256: str
    pinned: bool


@runtime_checkable
class StoredRows(Protocol):
    """Rows of a pool that are not in memory: best read many at a time."""

    @property
    def labelled(self) -> bool:
        """Whether every response has a verdict, or a reason for having none."""
        ...

    def many(self, ids: Sequence[str]) -> Mapping[str, tuple[Response, ...]]:
        """Responses of some examples."""
        ...


@dataclass(frozen=True, slots=True)
class Pool:
    """The responses a policy sampled for a Best-of-N task: example id -> responses, in sampling order."""

    task: str
    name: str
    rows: Mapping[str, tuple[Response, ...]]  # in memory, or StoredRows
    source: Source
    settings: Mapping[str, str] = field(default_factory=dict)  # policy, sampling parameters, ... as recorded

    def read(self, ids: Iterable[str] | None = None) -> Iterator[tuple[str, tuple[Response, ...]]]:
        """Examples (all, or these) with their responses, in order; of stored rows a few at a time are in memory."""
        wanted = iter(self.rows if ids is None else ids)
        while some := list(islice(wanted, _TOGETHER)):
            found = self.rows.many(some) if isinstance(self.rows, StoredRows) else self.rows
            yield from ((example_id, found[example_id]) for example_id in some)


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What the user said about a task's data; an empty one means the hub and the defaults."""

    data_dir: Path | None = None
    file: Path | None = None  # --data TASK=FILE
    extras: Mapping[str, Path] = field(default_factory=dict)  # --data priors=FILE, by name
    pool: Pool | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # e.g. {"weights": "pre-2024-09-10"}
    notify: Callable[[str], None] = lambda _: None  # one sentence for the user (stderr)
    check: Callable[..., Iterator[Any]] | None = None  # tasks.sandbox.check by other means; None: in this process


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task, loaded: what a run scores and how its metrics are made."""

    task: str
    outcome: Outcome  # of the headline metric `score`
    examples: Sequence[Example]  # those of a stored pool are read anew in every pass
    metrics: tuple[Metric, ...]  # "subset/*" metrics are implied; best_of_n keys too
    sources: tuple[Source, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()  # subsets the protocol has and the data lacks: the run is partial
    notes: tuple[str, ...] = ()  # warnings to record and show


class Task(Protocol):
    """What a file of tasks/ exposes as TASK. The file's name is the task's name."""

    title: str
    summary: str  # one line for `harness ls tasks`

    def load(self, request: LoadRequest) -> TaskData:
        """Read, check and label the data. Raises TaskError with one sentence."""
        ...


@runtime_checkable
class PoolTask(Task, Protocol):
    """A Best-of-N task: it can read its pool formats and label responses."""

    def read_pool(self, path: Path, name: str, request: LoadRequest) -> Pool:
        """Read any of the supported pool formats (told apart by content); labels are not yet set."""
        ...

    def label(self, pool: Pool, request: LoadRequest) -> Pool:
        """The same pool with `correct`, `answer` and `reason` set. Slow work (a sandbox) happens here, once."""
        ...
