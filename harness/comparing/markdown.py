"""GitHub-flavoured Markdown, for a step summary, a comment or an issue.

Names and ids come from files and models: they stand in code spans, where no markup, link or mention works.
"""

from __future__ import annotations

from harness.comparing._cells import SIGNS, cells, details, header, legend
from harness.comparing._report import Report
from leaderboard import view

LIMIT = 200  # rows; a step summary holds 1 MiB
DETAILS = 60


def render(report: Report) -> str:
    lines = [f"### {SIGNS[report.verdict]} {plain(report.headline)}" if report.question else "### Comparison", ""]
    if report.rows and not report.several:
        pair = report.rows[0].pair
        lines += [
            f"A: {code(pair.a.name)} ({pair.a.id[:12]}) · B, the baseline: {code(pair.b.name)} ({pair.b.id[:12]})",
            "",
        ]
    if report.settings:
        lines += table(
            ["setting", "A", "B"], [[code(s.key), code(s.a or "–"), code(s.b or "–")] for s in report.settings]
        )
    elif report.settings is not None:
        lines += ["The two configurations are equal.", ""]
    rows = list(report.rows)[:LIMIT]
    first = 2 if report.several else 1  # leading columns hold names, the others our own numbers and words
    if rows:
        shown = [cells(report, row) for row in rows]
        lines += table(header(report), [[code(c) if i < first else c for i, c in enumerate(row)] for row in shown])
    if len(report.rows) > LIMIT:
        lines += [f"{len(report.rows) - LIMIT} more rows are left out here.", ""]
    lines += [f"- not compared: {code(refusal.sentence)}" for refusal in list(report.refusals)[:LIMIT]]
    lines += [f"- {code(note)}" for note in report.notes]
    said = [sentence for row in rows for sentence in details(report, row)]
    if said:
        lines += ["", "<details><summary>Flipped examples and p-values</summary>", ""]
        lines += [f"- {code(sentence)}" for sentence in said[:DETAILS]]
        lines += [f"- and {len(said) - DETAILS} more"] if len(said) > DETAILS else []
        lines += ["", "</details>"]
    return "\n".join([*lines, "", f"<sub>{plain(legend(report))}</sub>", ""])


def table(columns: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(columns), _row(["---"] * len(columns)), *(_row(row) for row in rows), ""]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def code(text: str) -> str:
    """A code span that its text cannot leave, nor break the table it stands in."""
    line = view.visible(" ".join(text.split())).replace("`", "ˋ").replace("|", "\\|")
    return f"`{line}`" if line else "–"


def plain(text: str) -> str:
    """Text with every character that Markdown or HTML could read as markup made harmless."""
    shown = view.visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace("@", "&#64;")
    return "".join(f"\\{c}" if c in "\\`*_[]#|~" else c for c in shown)
