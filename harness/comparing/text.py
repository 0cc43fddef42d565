"""Tables for the terminal."""

from __future__ import annotations

import io
import shutil
import sys
from typing import Any

from harness.comparing._cells import cells, details, header, legend
from harness.comparing._report import Report


def render(report: Report) -> str:
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 160
    console = Console(file=io.StringIO(), width=max(80, width), highlight=False)

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, soft_wrap=True)

    if report.settings is not None:
        if report.settings:
            console.print(_table(["setting", "A", "B"], [[s.key, s.a or "–", s.b or "–"] for s in report.settings]))
        else:
            say("the two configurations are equal")
        say("")
    if report.rows:
        if not report.several:
            say(f"A: {report.rows[0].pair.a.name} [{report.rows[0].pair.a.id[:12]}]")
            say(f"B: {report.rows[0].pair.b.name} [{report.rows[0].pair.b.id[:12]}], the baseline")
        console.print(_table(header(report), [cells(report, row) for row in report.rows]))
        for row in report.rows:
            for sentence in details(report, row):
                say(f"- {sentence}")
    for refusal in report.refusals:
        say(f"- not compared: {refusal.sentence}")
    for note in report.notes:
        say(f"- {note}")
    say(legend(report))
    if report.question:
        say(report.headline)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def _table(columns: list[str], rows: list[list[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
