"""Progress for people: a bar with rate and ETA on a terminal, silence everywhere else. Always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from harness.scoring._types import BatchReport


class Progress(Protocol):
    """Call with the number of finished units."""

    def __call__(self, done: int) -> None: ...

    def report(self, batch: BatchReport) -> None:
        """What a batch cost: tokens a second, tokens saved, memory."""
        ...

    def close(self) -> None:
        """No more comes; the last state stays to be read."""
        ...


class Silence:
    """Progress where nobody looks."""

    def __call__(self, done: int) -> None: ...

    def report(self, batch: BatchReport) -> None: ...

    def close(self) -> None: ...


class Totals:
    """Sums over batches, as words."""

    def __init__(self) -> None:
        self._tokens = self._computed = 0
        self._seconds = 0.0

    def add(self, batch: BatchReport) -> str:
        """`12,345 tokens/s, 41% saved, GPU 97%, 3.2 GB`: real tokens, the share that was not computed, peak memory."""
        self._tokens += batch.tokens
        self._computed += batch.computed
        self._seconds += batch.seconds
        words = [f"{self._tokens / self._seconds:,.0f} tokens/s"] if self._seconds > 0 else []
        if self._computed < self._tokens:
            words.append(f"{1 - self._computed / self._tokens:.0%} saved")
        if batch.gpu is not None:
            words.append(f"GPU {batch.gpu}%")
        if batch.memory:
            words.append(f"{batch.memory / 1e9:.1f} GB")
        return ", ".join(words)


def say(sentence: str) -> None:
    """One sentence for the user, on stderr."""
    print(sentence, file=sys.stderr, flush=True)


Board = Callable[[str, int], "Progress"]
"""A new bar: label and number of units in all."""


@contextmanager
def progress(label: str, total: int, unit: str = "responses") -> Iterator[Progress]:
    """A progress bar over `total` units, shown only when stderr is a terminal."""
    with board(unit) as new:
        yield new(label, total)


@contextmanager
def board(unit: str = "responses") -> Iterator[Board]:
    """Room for several bars at a time; a bar that is closed scrolls away upwards. Nothing without a terminal."""
    if not sys.stderr.isatty():
        yield lambda _label, _total: Silence()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[cost]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield lambda label, total: _Bar(bars, label, total) if total else Silence()


class _Bar:
    def __init__(self, bars: Any, label: str, total: int) -> None:
        self._bars, self._totals = bars, Totals()
        self._job = bars.add_task(label, total=total, rate="", cost="")

    def _task(self) -> Any:
        return next(task for task in self._bars.tasks if task.id == self._job)

    def __call__(self, done: int) -> None:
        speed = self._task().speed
        self._bars.update(self._job, advance=done, rate=f"{speed:,.0f}/s" if speed else "")

    def report(self, batch: BatchReport) -> None:
        self._bars.update(self._job, cost=self._totals.add(batch))

    def close(self) -> None:
        self._bars.console.print(self._bars.make_tasks_table([self._task()]))
        self._bars.remove_task(self._job)
