"""Reading back what was measured: plain rows and arrays. Nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.records import RunRewards, StoreError
from results.store import Store

Integers = npt.NDArray[np.int64]

_RUNS = """
SELECT r.key, r.id, r.status, r.reason, r.seed, r.command, r.started, r.ended,
       d.task, d.id AS dataset_id, d.partial, d.missing, d.notes, d.sources, d.options, d.outcome,
       c.id AS candidate_id, c.name AS candidate, c.kind, c.detail,
       p.id AS protocol_id, p.settings AS protocol, e.detail AS environment,
       r.candidate AS candidate_key, r.protocol AS protocol_key, r.dataset AS dataset_key
FROM runs r JOIN candidates c ON c.key = r.candidate JOIN protocols p ON p.key = r.protocol
     JOIN datasets d ON d.key = r.dataset JOIN environments e ON e.key = r.environment
"""
_JSON = ("missing", "notes", "sources", "options", "detail", "protocol", "environment")


def _rows(store: Store, statement: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
    cursor = store.sql.execute(statement, parameters or [])
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def runs(store: Store, *, latest: bool = False, candidate: str | None = None) -> list[dict[str, Any]]:
    """Every run (of one candidate id) with its candidate, protocol, data set and environment, oldest first.

    With `latest`, only the newest run of each (candidate, task), complete ones before others: what a page shows.
    """
    chosen = " WHERE c.id = ?" if candidate is not None else ""
    rows = _rows(store, f"{_RUNS}{chosen} ORDER BY r.started, r.key", [] if candidate is None else [candidate])
    for row in rows:
        for name in _JSON:
            row[name] = json.loads(row[name])
    if not latest:
        return rows
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        held = newest.get((row["candidate_id"], row["task"]))
        if held is None or row["status"] == "complete" or held["status"] != "complete":
            newest[row["candidate_id"], row["task"]] = row
    return [row for row in rows if newest[row["candidate_id"], row["task"]] is row]


def candidates(store: Store) -> list[dict[str, Any]]:
    """Every candidate with the number of its runs and stored rewards."""
    rows = _rows(
        store,
        "SELECT c.id, c.name, c.kind, c.detail, (SELECT count(*) FROM runs r WHERE r.candidate = c.key) AS runs,"
        " (SELECT count(reward) FROM rewards w WHERE w.candidate = c.key) AS rewards FROM candidates c ORDER BY c.key",
    )
    for row in rows:
        row["detail"] = json.loads(row["detail"])
    return rows


def stored_rewards(
    store: Store, candidate: int, protocol: int, examples: Collection[str]
) -> dict[tuple[str, int], float]:
    """Scored rewards of some examples, given by content id: (example, response position) -> reward."""
    names = {key: name for name, key in store.examples.keys(examples).items()}
    rows = store.sql.execute(
        "SELECT example, response, reward FROM rewards WHERE candidate = ? AND protocol = ? AND reward IS NOT NULL"
        " AND example IN (SELECT unnest(?::INTEGER[]))",
        [candidate, protocol, list(names)],
    ).fetchall()
    return {(names[example], response): reward for example, response, reward in rows}


def progress(store: Store, candidate: int, protocol: int, dataset: int) -> tuple[int, int]:
    """(responses with a reward, responses) of a run; those of an example that stands twice in the data count once."""
    row = store.one(
        "WITH d AS (SELECT DISTINCT example, len(labels) AS n FROM dataset_examples WHERE dataset = ?)"
        " SELECT (SELECT count(*) FROM rewards WHERE candidate = ? AND protocol = ? AND reward IS NOT NULL"
        " AND example IN (SELECT example FROM d)), (SELECT coalesce(sum(n), 0) FROM d)",
        [dataset, candidate, protocol],
    )
    assert row is not None
    return int(row[0]), int(row[1])


def run_rewards(store: Store, run: dict[str, Any]) -> RunRewards:
    """Rewards and labels of one run (a row of `runs`) as arrays, in the data set's order."""
    links: pa.Table = store.sql.sql(
        "SELECT example_id, subset, stratum, cluster, weight, labels, answers, example FROM dataset_examples"
        f" WHERE dataset = {int(run['dataset_key'])} ORDER BY position"
    ).to_arrow_table()
    if not links.num_rows:
        raise StoreError(f"run {run['id'][:12]} has no examples: the database is damaged")
    labels = links["labels"].combine_chunks()
    keys = links["example"].to_numpy()
    offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(labels).to_numpy())]).astype(np.int64)
    rewards = np.full(offsets[-1], np.nan)
    cut = np.zeros(offsets[-1], dtype=np.bool_)
    found = store.sql.execute(
        "SELECT example, response, reward, cut FROM rewards WHERE candidate = ? AND protocol = ?"
        " AND reward IS NOT NULL AND example IN (SELECT example FROM dataset_examples WHERE dataset = ?)",
        [run["candidate_key"], run["protocol_key"], run["dataset_key"]],
    ).fetchnumpy()
    at, scored_mask = _places(found["example"], found["response"], keys, offsets)
    rewards[scored_mask] = np.asarray(found["reward"])[at[scored_mask]]
    cut[scored_mask] = np.asarray(found["cut"])[at[scored_mask]]
    metrics = store.one("SELECT metrics FROM datasets WHERE key = ?", [run["dataset_key"]])
    return RunRewards(
        run=run,
        task=run["task"],
        outcome=run["outcome"],
        metrics=json.loads(metrics[0]) if metrics else [],
        example_ids=links["example_id"].to_pylist(),
        subsets=_texts(links["subset"].combine_chunks()),
        strata=_texts(links["stratum"].combine_chunks()),
        clusters=links["cluster"].to_pylist(),
        weights=np.array(links["weight"].to_numpy()),
        offsets=offsets,
        rewards=rewards,
        scored=scored_mask,
        labels=labels.flatten().to_numpy().astype(np.int8),
        answers=_texts(links["answers"].combine_chunks().flatten()),
        cut=cut,
    )


def _places(
    example: npt.NDArray[np.int32], response: npt.NDArray[np.int16], keys: npt.NDArray[np.int32], offsets: Integers
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """For each response of a data set (its examples are `keys`), its reward's place among those of (example, response),
    and whether there is one. An example may stand at several positions of a data set.
    """
    sizes = np.diff(offsets)
    stride = max(int(sizes.max()), int(response.max(initial=0)) + 1)
    code = example * np.int64(stride) + response
    order = np.argsort(code)
    code = code[order]
    sought = np.arange(offsets[-1]) + np.repeat(keys * np.int64(stride) - offsets[:-1], sizes)
    at = np.minimum(np.searchsorted(code, sought), max(len(code) - 1, 0))
    there = code[at] == sought if len(code) else np.zeros(len(sought), dtype=np.bool_)
    return order[at] if len(code) else at, there


def _texts(column: pa.Array) -> list[Any]:
    """Texts that repeat, each held once."""
    coded = column.dictionary_encode()
    texts = [*coded.dictionary.to_pylist(), None]
    return [texts[code] for code in pc.fill_null(coded.indices, len(texts) - 1).to_numpy()]


def unscored_reason(store: Store, candidate: int, protocol: int, dataset: int) -> str:
    """The commonest recorded reason why responses of this run have no reward."""
    row = store.one(
        "SELECT mode(reason) FROM rewards WHERE candidate = ? AND protocol = ? AND reward IS NULL AND example IN"
        " (SELECT example FROM dataset_examples WHERE dataset = ?)",
        [candidate, protocol, dataset],
    )
    return str(row[0]) if row and row[0] is not None else "not scored"
