"""What the Best-of-N tasks share: problems, sampling defaults, and turning a pool into examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from tasks._types import Example, Message, Pool, PoolNeededError, StoredRows, TaskError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a policy is sampled for a task by default. The response is `prefill` and what the policy adds to it."""

    system: str
    prefill: str
    n: int
    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a Best-of-N task: its id, what the policy and the reward model are asked, the raw statement."""

    id: str
    prompt: tuple[Message, ...]
    statement: str


def pool_needed(task: str) -> PoolNeededError:
    """The error of a task that has no responses to choose from; it names the three ways to get some."""
    return PoolNeededError(
        f"{task} needs a pool of responses: import one (harness pool import {task} FILE), sample one (harness pool "
        f"generate {task} --model POLICY), or let the evaluation sample it first (harness eval --policy POLICY)"
    )


class PoolExamples(Sequence[Example]):
    """Examples of problems that a pool answers, made when they are asked for."""

    def __init__(self, problems: Sequence[Problem], pool: Pool, subset: str) -> None:
        self._problems, self._pool, self._subset = problems, pool, subset

    def __len__(self) -> int:
        return len(self._problems)

    def __iter__(self) -> Iterator[Example]:
        return self._of(self._problems)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> PoolExamples: ...
    def __getitem__(self, index: int | slice) -> Example | PoolExamples:
        if isinstance(index, slice):
            return PoolExamples(self._problems[index], self._pool, self._subset)
        return next(self._of([self._problems[index]]))

    def _of(self, problems: Sequence[Problem]) -> Iterator[Example]:
        rows = self._pool.read(problem.id for problem in problems)
        for problem, (_, responses) in zip(problems, rows, strict=True):
            yield Example(problem.id, problem.prompt, responses, self._subset)


def pool_examples(problems: Sequence[Problem], pool: Pool, subset: str) -> tuple[PoolExamples, tuple[str, ...]]:
    """Examples of the problems that the pool answers, in the task's order, and what is missing (for the record)."""
    known = {problem.id for problem in problems}
    strange = [example_id for example_id in pool.rows if example_id not in known]
    if strange:
        raise TaskError(
            f"pool '{pool.name}' answers example '{strange[0]}', which {pool.task} does not have "
            f"(it has {len(known)} examples, '{problems[0].id}' to '{problems[-1].id}')"
        )
    answered = [problem for problem in problems if problem.id in pool.rows]
    if not answered:
        raise TaskError(f"pool '{pool.name}' has no responses at all")
    left_out = len(problems) - len(answered)
    missing = (f"{left_out} of {len(problems)} problems (no responses in the pool)",) if left_out else ()
    return PoolExamples(answered, pool, subset), missing


def is_labelled(pool: Pool) -> bool:
    """True when every response has been looked at: it has a verdict, or a reason for having none."""
    if isinstance(pool.rows, StoredRows):
        return pool.rows.labelled
    return all(r.correct is not None or r.reason for responses in pool.rows.values() for r in responses)
