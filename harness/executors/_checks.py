"""Sandboxed checks as Ray tasks, on nodes that offer the custom resource `sandbox` (one for each check at a time)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import ray

from tasks import sandbox
from tasks._types import TaskError

TOGETHER = 32  # checks of one task: a task costs about a millisecond, a check some
RETRIES = 3  # of a task whose node is lost


def offered() -> int:
    """Sandboxes that the cluster has at the moment."""
    return int(ray.cluster_resources().get("sandbox", 0))


def check(
    checks: Iterable[sandbox.Check], *, limits: sandbox.Limits | None = None, unsafe: bool = False
) -> Iterator[sandbox.Verdict]:
    """tasks.sandbox.check on the cluster: verdicts in order, equal checks judged once.

    Runs here where no node offers a sandbox, or none is wanted (`unsafe`). Raises SandboxError as that does.
    """
    places = 0 if unsafe else offered()
    if places == 0:
        yield from sandbox.check(checks, limits=limits, unsafe=unsafe)
        return
    wanted = list(checks)
    known: dict[sandbox.Check, sandbox.Verdict] = {}
    results = _verdicts(iter(dict.fromkeys(wanted)), limits, places)
    for one in wanted:
        while one not in known:
            known.update(next(results))
        yield known[one]


def _verdicts(
    distinct: Iterator[sandbox.Check], limits: sandbox.Limits | None, places: int
) -> Iterator[dict[sandbox.Check, sandbox.Verdict]]:
    """Batches of verdicts in order, two tasks for every place at a time."""
    run = ray.remote(_run).options(num_cpus=1, resources={"sandbox": 1}, max_retries=RETRIES)
    flying: deque[tuple[list[sandbox.Check], Any]] = deque()
    while True:
        while len(flying) < 2 * places and (batch := list(islice(distinct, TOGETHER))):
            flying.append((batch, run.remote(batch, limits)))
        if not flying:
            return
        batch, result = flying.popleft()
        try:
            yield dict(zip(batch, ray.get(result), strict=True))
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, TaskError) else error) from None
        except ray.exceptions.RayError as error:
            raise sandbox.SandboxError(
                f"{len(batch)} checks were lost {RETRIES + 1} times with the nodes that ran them"
                f" ({type(error).__name__}): import the pool again, what is labelled is kept"
            ) from None


def _run(batch: list[sandbox.Check], limits: sandbox.Limits | None) -> list[sandbox.Verdict]:
    return list(sandbox.check(batch, limits=limits, workers=1))
