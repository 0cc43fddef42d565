"""Progress for people: a bar with rate and ETA on a terminal, silence everywhere else. Always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Call with the number of finished units."""

    def __call__(self, done: int) -> None: ...


def say(sentence: str) -> None:
    """One sentence for the user, on stderr."""
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: int, unit: str = "responses") -> Iterator[Progress]:
    """A progress bar over `total` units, shown only when stderr is a terminal."""
    if not sys.stderr.isatty() or total == 0:
        yield lambda done: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        job = bar.add_task(label, total=total, rate="")

        def advance(done: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(job, advance=done, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance
