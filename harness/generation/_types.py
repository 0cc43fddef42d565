"""What an engine is: prompts as token ids in, sampled token ids out, question by question.

An engine is a file of harness/generation with `open_engine(options)`; the file's name is what --backend takes. It
never sees text: prompts are rendered and samples decoded in one place, so that engines differ in speed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.candidate import Candidate
from harness.scoring._describe import Description
from tasks._bestofn import Problem, Sampling
from tasks._types import LoadRequest, Message, PoolTask


@runtime_checkable
class SampledTask(PoolTask, Protocol):
    """A Best-of-N task that says how a policy is asked."""

    sampling: Sampling

    def problems(self, request: LoadRequest) -> tuple[Problem, ...]:
        """The problems, in the task's order."""
        ...

    def shots(self, request: LoadRequest, count: int) -> tuple[tuple[Message, Message], ...]:
        """`count` worked examples from outside the test set: (user turn, whole assistant turn)."""
        ...


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What the user said about a pool to be sampled; None means: as the task's paper does it."""

    policy: str  # folder or hub id
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    system_prompt: str | None = None  # "" means none
    few_shot: int = 0
    seed: int = 0
    backend: str | None = None  # None: vllm where it is installed, else hf
    device: str | None = None
    dtype: str | None = None
    name: str | None = None  # None: the policy's name and a hash of everything that decides the texts
    limit: int | None = None  # only so many questions


@dataclass(frozen=True, slots=True)
class Job:
    """One question to sample: sample i is drawn with `seed` + i, whatever else is sampled beside it."""

    example_id: str
    prompt: tuple[int, ...]  # token ids
    n: int
    seed: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """The samples of one question, in order: token ids without the prompt, the stop token still at the end."""

    example_id: str
    samples: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What every engine is told. `device` and `dtype` are settled; `stop` are token ids that end a response."""

    policy: Candidate
    found: Description
    device: str
    dtype: str
    temperature: float
    top_p: float
    stop: tuple[int, ...]
    notify: Callable[[str], None] = lambda _: None


class Engine(Protocol):
    """An open engine. Opening is cheap: weights are loaded by the first `generate`."""

    def versions(self) -> Mapping[str, str]:
        """Package -> version of what decides the texts."""
        ...

    def generate(self, jobs: Sequence[Job]) -> Iterator[Sampled]:
        """Yield each question when its samples are finished, in any order.

        The samples of a job depend on the job alone. Raises UserError, one sentence, for what cannot run here.
        """
        ...

    def close(self) -> None:
        """Give back the memory of weights and caches."""
        ...
