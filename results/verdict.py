"""What became of a run, judged from the rewards that are stored: complete, partial, failed or interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from results.store import Store

INTERRUPTED = "stopped before its end"

_STATES = """
WITH wanted AS (
    SELECT l.dataset, l.example, any_value(len(l.labels)) AS size FROM dataset_examples l GROUP BY ALL),
held AS (
    SELECT candidate, protocol, example, count(reward) AS scored, mode(reason) FILTER (reward IS NULL) AS why
    FROM rewards GROUP BY ALL)
SELECT r.key, r.status, r.reason, c.kind, d.partial, any_value(c.name) AS candidate, any_value(d.task) AS task,
    sum(w.size)::BIGINT AS total, sum(w.size - coalesce(h.scored, 0))::BIGINT AS lacking,
    coalesce(mode(h.why), 'not scored') AS why
FROM runs r JOIN candidates c ON c.key = r.candidate JOIN datasets d ON d.key = r.dataset
    JOIN wanted w ON w.dataset = r.dataset
    LEFT JOIN held h ON h.candidate = r.candidate AND h.protocol = r.protocol AND h.example = w.example
GROUP BY ALL ORDER BY r.key
"""


def run_states(store: Store) -> list[dict[str, Any]]:
    """Every run with its status as written, and how many of its `total` rewards are `lacking`."""
    cursor = store.sql.execute(_STATES)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def verdict(state: Mapping[str, Any]) -> tuple[str, str]:
    """(status, reason) that a row of `run_states` deserves. A run that nobody finished is failed."""
    lacking, total = state["lacking"], state["total"]
    if not lacking:
        return ("partial", state["partial"]) if state["partial"] else ("complete", "")
    if state["kind"] == "replay":
        missing = f"{lacking} of {total} rewards not in the file"
        return "partial", "; ".join(filter(None, [state["partial"], missing]))
    if state["status"] == "running":
        return "failed", f"{INTERRUPTED}: {lacking} of {total} responses have no reward"
    return "failed", f"{lacking} of {total} responses have no reward ({state['why']})"
