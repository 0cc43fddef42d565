"""On the workers of a Ray cluster: several GPUs or nodes, one open backend each; lost work is done again elsewhere.

Without --address a cluster of this machine's GPUs (or cores) is started and ended. docs/cluster.md has recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from harness.executors._cluster import cluster, shape
from harness.executors._types import ExecutorOptions, Job, Runs
from harness.executors.local import LocalExecutor

_WITHOUT_MODEL = ("baseline", "replay")  # done in no time, and their files lie here


class RayExecutor:
    """Scores on a connected cluster."""

    def __init__(self, options: ExecutorOptions) -> None:
        from harness.executors import _checks

        self._options = options
        self.check: Callable[..., Iterator[Any]] | None = _checks.check if _checks.offered() else None

    def execute(self, jobs: Sequence[Job], runs: Runs) -> None:
        here = [job for job in jobs if job.candidate.kind in _WITHOUT_MODEL]
        LocalExecutor(self._options).execute(here, runs)
        rest = [job for job in jobs if job not in here]
        if rest:
            import ray

            from harness.executors._crew import Crew

            place = shape(ray.nodes(), self._options.workers, self._options.scoring.device)
            Crew(rest, runs, self._options.backend, self._options.scoring, place).work()


@contextmanager
def open_executor(options: ExecutorOptions) -> Iterator[RayExecutor]:
    """Raises UserError where there is no Ray, or no cluster."""
    scoring = options.scoring
    if scoring.chat_template is not None:  # a file of the driver's is not on the workers
        from harness.scoring._template import read_template

        scoring = replace(scoring, chat_template=read_template(scoring.chat_template))
    with cluster(options.address):
        yield RayExecutor(replace(options, scoring=scoring))
