"""History: each candidate's score per night, with marks where its model, the data or the protocol changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from leaderboard import charts, view
from leaderboard.history import History, Moment, Track
from leaderboard.pages._common import Site

DRAWN = 60  # charts; the table has every track


def history_page(site: Site, history: History) -> dict[str, Any]:
    """Everything that the history page shows."""
    tasks = []
    for task in dict.fromkeys(t.task for t in history.tracks):
        tracks = [t for t in history.tracks if t.task == task]
        long = [t for t in tracks if len(t.moments) > 1]
        tasks.append(
            {
                "name": task,
                "charts": [_chart(t) for t in long[:DRAWN]],
                "single": len(tracks) - len(long),
                "rows": [_row(t.name, m) for t in tracks for m in t.moments],
            }
        )
    return {"tasks": tasks, "left_out": history.left_out, "database": site.database}


def _seconds(moment: Moment) -> float:
    started = moment.run["started"]
    return started.replace(tzinfo=UTC).timestamp() if isinstance(started, datetime) else 0.0


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%m-%d}"


def _chart(track: Track) -> dict[str, Any]:
    points = [charts.Point(_seconds(m), m.score.value, m.score.low, m.score.high) for m in track.moments]
    marks = [(_seconds(m), ", ".join(m.changed)) for m in track.moments if m.changed]
    svg = charts.line_chart(
        [charts.Series(track.name, points)],
        x_title="night",
        title=f"{track.task}: percent over time, {track.name}",
        markers=marks,
        x_text=_date,
    )
    return {"name": track.name, "svg": svg}


def _row(name: str, m: Moment) -> list[str]:
    return [
        name,
        view.moment(m.run["started"]),
        view.percent(m.score.value),
        view.interval(m.score.low, m.score.high),
        ", ".join(m.changed) + " changed" if m.changed else "",
        view.short(m.run["candidate_id"]),
    ]
