"""A database's content as one number: equal for equal content, whatever was stored first, when, where and under
which integer keys.

Covered: candidates (by content id), protocols, examples with their texts, data sets with their labels, rewards
(tokens and cuts too), further values brought by merges, runs with their status, finished pools with their labels.
Not covered: names and folders, times, environments, command lines, reasons (of failures and of labels),
unfinished pools.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from results.store import Store

_LIST = "array_to_string(list_transform({0}, lambda x: coalesce(sha256(x), '-')), ',')"
_NUMBER = "({0} + 0.0)::VARCHAR"  # shortest digits that read back as the same double; -0.0 is 0.0

# One line of text a row; lines are sorted, so neither keys nor insertion order matter. A part may be grouped by an
# id (`grouped`), which keeps every sort small.
_PARTS: dict[str, str] = {
    "candidates": "SELECT id AS line, '' AS grouped FROM candidates",
    "protocols": "SELECT concat_ws('|', id, sha256(settings)) AS line, '' AS grouped FROM protocols",
    "examples": f"SELECT concat_ws('|', id, sha256(prompt), {_LIST.format('responses')}) AS line,"
    " '' AS grouped FROM examples",
    "datasets": f"""
        SELECT concat_ws('|', position, e.id, sha256(example_id), sha256(subset), sha256(stratum),
            {_NUMBER.format("weight")}, coalesce(sha256(l.cluster), '-'), array_to_string(labels, ','),
            {_LIST.format("answers")}, {_LIST.format("l.sources")}) AS line,
            concat_ws('|', d.id, d.task, d.outcome, sha256(d.metrics)) AS grouped
        FROM dataset_examples l JOIN datasets d ON d.key = l.dataset JOIN examples e ON e.key = l.example""",
    "rewards": f"""
        SELECT concat_ws('|', e.id, response, coalesce({_NUMBER.format("reward")}, '-'), tokens, cut) AS line,
            concat_ws('|', c.id, p.id) AS grouped
        FROM rewards r JOIN candidates c ON c.key = r.candidate JOIN protocols p ON p.key = r.protocol
            JOIN examples e ON e.key = r.example""",
    "other_rewards": f"""
        SELECT concat_ws('|', e.id, response, {_NUMBER.format("reward")}) AS line, concat_ws('|', c.id, p.id) AS grouped
        FROM other_rewards r JOIN candidates c ON c.key = r.candidate JOIN protocols p ON p.key = r.protocol
            JOIN examples e ON e.key = r.example""",
    "runs": """
        SELECT concat_ws('|', c.id, p.id, d.id, r.status) AS line, '' AS grouped
        FROM runs r JOIN candidates c ON c.key = r.candidate JOIN protocols p ON p.key = r.protocol
            JOIN datasets d ON d.key = r.dataset""",
    "pools": """
        SELECT concat_ws('|', sha256(example_id), position, sha256(text), sha256(r.source),
            coalesce(correct::VARCHAR, '-'), coalesce(sha256(answer), '-')) AS line,
            concat_ws('|', sha256(p.task), sha256(p.name)) AS grouped
        FROM pool_responses r JOIN pools p ON p.key = r.pool WHERE p.complete""",
}


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of a database, and of its parts (to see where two differ)."""

    total: str  # 64 hex digits
    parts: dict[str, str]
    counts: dict[str, int]  # rows covered


def digest(store: Store) -> Digest:
    """Content digest of an open database."""
    parts: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name, rows in _PARTS.items():
        groups = store.sql.execute(
            f"SELECT grouped, count(*), sha256(string_agg(line, chr(10) ORDER BY line)) FROM ({rows})"
            " GROUP BY grouped ORDER BY grouped"
        ).fetchall()
        counts[name] = sum(row[1] for row in groups)
        text = "\n".join(f"{grouped} {number} {lines}" for grouped, number, lines in groups)
        parts[name] = hashlib.sha256(text.encode()).hexdigest()
    total = hashlib.sha256("\n".join(f"{name} {value}" for name, value in parts.items()).encode()).hexdigest()
    return Digest(total, parts, counts)


def pool_contents(store: Store, catalog: str = "") -> dict[tuple[str, str], tuple[int, str]]:
    """Finished pools of an open (or attached) database: (task, name) -> (key, digest of responses and labels)."""
    place = f"{catalog}." if catalog else ""
    rows = (
        _PARTS["pools"]
        .replace("pool_responses r", f"{place}pool_responses r")
        .replace("pools p", f"{place}pools p")
        .replace("AS grouped", "AS grouped, p.key AS key, p.task AS task, p.name AS name")
    )
    found = store.sql.execute(
        f"SELECT task, name, key, sha256(string_agg(line, chr(10) ORDER BY line)) FROM ({rows}) GROUP BY ALL"
    ).fetchall()
    return {(task, name): (key, content) for task, name, key, content in found}
