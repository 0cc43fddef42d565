"""Many checks on all cores: threads that own a worker each, results in order, equal checks judged once."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from tasks.sandbox import _cgroup
from tasks.sandbox._limits import Check, Limits, Tier, Verdict
from tasks.sandbox._tiers import best_tier, unsafe_tier
from tasks.sandbox._worker import Worker

_AHEAD = 256  # checks in flight per worker: results come in order, and one slow check must not idle the others


def check(
    checks: Iterable[Check], *, limits: Limits | None = None, workers: int | None = None, unsafe: bool = False
) -> Iterator[Verdict]:
    """The verdict on each check, in order, as they become ready.

    limits: what one check may use. workers: programs at a time; default: one per core. unsafe: without a sandbox, in
    which case every verdict's tier is "unsafe". Checks with equal keys are judged once.
    Raises SandboxError at the first result when no tier holds here and `unsafe` is not set.
    """
    tier = unsafe_tier() if unsafe else best_tier()
    with Pool(tier, limits or Limits(), workers or len(os.sched_getaffinity(0))) as pool:
        yield from pool.run(checks)


class Pool:
    """Worker threads under one tier and one set of limits; leaving the `with` block leaves nothing behind."""

    def __init__(self, tier: Tier, limits: Limits, workers: int) -> None:
        self._tier, self._limits, self._size = tier, limits, max(1, workers)
        self._cores = sorted(os.sched_getaffinity(0))
        self._jobs: queue.SimpleQueue[tuple[Check, Future[Verdict]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: list[Worker] = []
        self._janitor: _cgroup.Janitor | None = None
        self._stopping = False

    def __enter__(self) -> Pool:
        if self._tier.name == "A":
            _cgroup.sweep()
            self._janitor = _cgroup.Janitor()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for worker in self._workers:
            self._jobs.put(None)
            worker.stop()
        for thread in self._threads:
            thread.join()
        if self._janitor is not None:
            self._janitor.close()

    def run(self, checks: Iterable[Check]) -> Iterator[Verdict]:
        """Verdicts in order. Holds a few hundred checks per worker at a time, and a verdict per distinct check."""
        known: dict[str, Future[Verdict] | Verdict] = {}
        pending: deque[str] = deque()
        source = iter(checks)
        while True:
            for item in itertools.islice(source, _AHEAD * self._size - len(pending)):
                key = item.key(self._limits, self._tier.interpreter)
                if key not in known:
                    known[key] = self._submit(item)
                pending.append(key)
            if not pending:
                return
            key = pending.popleft()
            found = known[key]
            if not isinstance(found, Verdict):
                found = known[key] = found.result()  # a future weighs ten times as much
            yield found

    def _submit(self, item: Check) -> Future[Verdict]:
        future: Future[Verdict] = Future()
        self._jobs.put((item, future))
        if len(self._threads) < self._size:
            number = len(self._threads)
            thread = threading.Thread(target=self._work, args=(number,), name=f"sandbox-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def _settle(self, number: int) -> None:
        """A core for each worker, its boxes included (they inherit it), where there are enough workers for all cores.

        Judge and program call each other in turn: on one core that is a switch, across two a core is woken each time.
        """
        if self._size >= len(self._cores):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, {self._cores[number % len(self._cores)]})

    def _work(self, number: int) -> None:
        self._settle(number)
        worker = Worker(self._tier, self._limits, self._janitor)
        self._workers.append(worker)
        with contextlib.closing(worker):
            while (job := self._jobs.get()) is not None and not self._stopping:
                item, future = job
                try:
                    future.set_result(worker.check(item))
                except BaseException as error:  # noqa: BLE001 (it belongs to whoever waits for the result)
                    future.set_exception(error)
