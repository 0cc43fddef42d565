"""Nights: the score of every role night by night, with its interval, its model changes and what the gate said."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from leaderboard import charts, view
from leaderboard.gate import REGRESSION
from leaderboard.nights import Night, NightScore, NightVerdict

DRAWN = 24  # roles of a task with a chart of their own; the table has all
SHOWN = 120  # nights in charts and tables, the newest; the history's files have all
NAMED = 3  # regressions of a night that its sentence names
MARKS = {"regression": "▼ regression", "not worse": "✓ not worse", "identical": "= same model",
         "inconclusive": "? inconclusive", "not compared": "– not compared"}  # fmt: skip

_BASELINES = {"previous": "the night before", "last-good": "the last night without a regression"}


def nights_page(nights: Sequence[Night]) -> dict[str, Any]:
    """Everything that the page of nights shows; `nights` oldest first, at least one."""
    shown = list(nights)[-SHOWN:]
    last = shown[-1]
    tasks = list(dict.fromkeys(s.task for night in shown for s in night.scores))
    return {
        "count": view.plural(len(nights), "night"),
        "left_out": len(nights) - len(shown),
        "last": last.night,
        "verdict": _sentence(last),
        "worse": last.verdict == REGRESSION,
        "rule": _rule(last),
        "tasks": [_task(task, shown) for task in tasks],
        "nights": [_night_row(night) for night in reversed(shown)],
    }


def _sentence(night: Night) -> str:
    worse = [f"{v.role} on {v.task}" for v in night.verdicts if v.verdict == REGRESSION]
    if worse:
        more = f" and {len(worse) - NAMED} more" if len(worse) > NAMED else ""
        return f"regression: {', '.join(worse[:NAMED])}{more}"
    failed = sum(s.status == "failed" for s in night.scores)
    told = "nothing to compare with yet" if not night.verdicts else f"gate: {night.verdict}"
    return f"{told}; {view.plural(failed, 'run')} failed" if failed else told


def _rule(night: Night) -> str:
    rule, base = night.rule, str(night.rule.get("baseline", "?"))
    return (
        f"{rule.get('metric', 'score')} against {_BASELINES.get(base, base)}: a regression is a loss proven to be"
        f" larger than {rule.get('margin', 0):g} points (one-sided, alpha {rule.get('alpha', 0):g},"
        " Holm over roles and tasks)"
    )


def _task(task: str, nights: Sequence[Night]) -> dict[str, Any]:
    roles = list(dict.fromkeys(s.role for night in nights for s in night.scores if s.task == task))
    tracks = {role: [(night, s) for night in nights if (s := night.score(role, task)) and "score" in s.metrics]
              for role in roles}  # fmt: skip
    drawn = [role for role in roles if len(tracks[role]) > 1]
    return {
        "name": task,
        "charts": [_chart(task, role, tracks[role]) for role in drawn[:DRAWN]],
        "undrawn": max(0, len(drawn) - DRAWN),
        "rows": [row for night in reversed(nights) for role in roles if (row := _row(night, role, task))],
    }


def _chart(task: str, role: str, track: Sequence[tuple[Night, NightScore]]) -> dict[str, Any]:
    points = [charts.Point(_day(night), *s.metrics["score"]) for night, s in track]
    svg = charts.line_chart(
        [charts.Series(role, points)],
        x_title="night",
        title=f"{task}: percent by night, {role}",
        markers=_marks(role, task, track),
        x_text=lambda day: f"{datetime.fromtimestamp(day * 86400, UTC):%m-%d}",
    )
    return {"name": role, "svg": svg}


def _marks(role: str, task: str, track: Sequence[tuple[Night, NightScore]]) -> list[tuple[float, str]]:
    """Where the gate fired, and where the model's content changed."""
    marks, before = [], track[0][1]
    for night, score in track:
        verdict = _verdict(night, role, task)
        if verdict is not None and verdict.verdict == REGRESSION:
            marks.append((_day(night), "▼ regression"))
        elif score.candidate_id != before.candidate_id:
            marks.append((_day(night), "model"))
        before = score
    return marks


def _day(night: Night) -> float:
    return float((date.fromisoformat(night.night) - date(1970, 1, 1)).days)


def _verdict(night: Night, role: str, task: str) -> NightVerdict | None:
    return next((v for v in night.verdicts if (v.role, v.task) == (role, task)), None)


def _row(night: Night, role: str, task: str) -> dict[str, Any] | None:
    score = next((s for s in night.scores if (s.role, s.task) == (role, task)), None)
    if score is None:
        return None
    verdict = _verdict(night, role, task)
    value = score.metrics.get("score")
    known = verdict is not None and verdict.low is not None
    return {
        "night": night.night,
        "role": role,
        "score": view.percent(value[0]) if value else score.status,
        "ci": view.interval(value[1], value[2]) if value else view.shorten(score.reason, view.NAME),
        "gate": MARKS.get(verdict.verdict, verdict.verdict) if verdict else "",
        "why": view.shorten(verdict.reason, view.NAME) if verdict else "",
        "worse": verdict is not None and verdict.verdict == REGRESSION,
        "difference": view.points(verdict.difference) if verdict else view.NOTHING,
        "difference_ci": f"{view.points(verdict.low)} to {view.points(verdict.high)}" if verdict and known else "",
        "against": verdict.against if verdict else view.NOTHING,
        "p": view.p_value(verdict.p_worse) if verdict else view.NOTHING,
        "model": view.shorten(score.candidate, view.NAME),
        "content": view.short(score.candidate_id, 8),
    }


def _night_row(night: Night) -> dict[str, Any]:
    return {
        "night": night.night,
        "said": _sentence(night),
        "worse": night.verdict == REGRESSION,
        "roles": view.number(len(night.roles)),
        "tested": view.number(sum(v.p_worse is not None for v in night.verdicts)),
        "code": str(night.exit_code),
    }
