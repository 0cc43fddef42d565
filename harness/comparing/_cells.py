"""A row of a comparison as words: rounding is leaderboard.view's, so that all formats and pages agree."""

from __future__ import annotations

import math

from harness.comparing._report import SHOWN, Report, Row
from leaderboard import view
from leaderboard.gate import IDENTICAL, INCONCLUSIVE

METHODS = {"mcnemar": "exact McNemar", "signflip": "sign-flip permutation", "midp": "mid-p McNemar"}
SIGNS = {"regression": "✗", "not worse": "✓", "identical": "=", "inconclusive": "?"}


def header(report: Report) -> list[str]:
    columns = ["task", "A", "B", "A − B, points", f"{100 * report.level:g}% interval", "p (Holm)", "flipped", "mde"]
    return [*(["pair"] if report.several else []), *columns, *(["verdict"] if report.question else [])]


def cells(report: Report, row: Row) -> list[str]:
    """One cell a column of `header`."""
    c, d = row.comparison, row.decision
    same = d.verdict == IDENTICAL
    shown = [
        row.task,
        view.percent(c.a, 2),
        view.percent(c.b, 2),
        view.points(c.difference, 2),
        "–" if same else f"{view.points(c.low, 2)} to {view.points(c.high, 2)}",
        "–" if same else view.p_value(c.p_adjusted),
        f"+{len(row.flips.better)} −{len(row.flips.worse)} of {view.number(c.n)}",
        "–" if same else view.percent(c.mde, 2),
    ]
    verdict = [f"{SIGNS[d.verdict]} {d.verdict}"] if report.question else []
    return [*([row.pair.title] if report.several else []), *shown, *verdict]


def details(report: Report, row: Row) -> list[str]:
    """Sentences under a row: which examples flipped, and what the gate's p are."""
    c, d, found = row.comparison, row.decision, []
    name = f"{row.task} ({row.pair.title})" if report.several else row.task
    for word, ids in (("better", row.flips.better), ("worse", row.flips.worse)):
        if ids:
            more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
            found.append(f"{name}: A does {word} on {', '.join(ids[:SHOWN])}{more}")
    if not c.whole:
        found.append(f"{name}: only the {view.number(c.n)} examples with an outcome in both runs are compared")
    if report.question and d.verdict != IDENTICAL:
        margin = f"{100 * report.rule.margin:g} points"
        text = f"{name}: worse by more than {margin}: p {view.p_value(d.p_worse_adjusted)} (one-sided, Holm)"
        text += f"; not worse by {margin}: p {view.p_value(d.p_not_worse)}"
        if d.verdict == INCONCLUSIVE:
            text += (
                "; no loss is detectable with so few examples"
                if math.isnan(d.seen)
                else f"; a loss of {view.percent(d.seen, 2)} points would mostly be seen"
            )
        found.append(text)
    return found


def legend(report: Report) -> str:
    """What the columns mean."""
    methods = " and ".join(dict.fromkeys(METHODS.get(r.comparison.method, r.comparison.method) for r in report.rows))
    return (
        f"{report.metric} in percent; A is the candidate, B the baseline; paired test: {methods or 'none'},"
        " p two-sided, Holm over the rows; mde: the smallest difference that such a test mostly sees"
    )
