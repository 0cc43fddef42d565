"""Storing a batch of rewards: what may be stored, and what of it is there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.records import RewardRecord, StoreError, storable

if TYPE_CHECKING:
    from results.store import Store

Bools = npt.NDArray[np.bool_]


def add_rewards(store: Store, candidate: int, protocol: int, rewards: Sequence[RewardRecord]) -> int:
    """Store.add_rewards."""
    table = _table(rewards, store.examples.keys({r.example_key for r in rewards}))
    keys = [candidate, protocol]
    with store.transaction():
        scored, unscored = _held(store, keys, table)
        if unscored.any():
            store.with_arrow(
                table.filter(unscored),
                "DELETE FROM rewards WHERE candidate = ? AND protocol = ? AND reward IS NULL"
                " AND (example, response) IN (SELECT (example, response) FROM incoming)",
                keys,
            )
        return store.with_arrow(table.filter(~scored), "INSERT INTO rewards SELECT ?, ?, * FROM incoming", keys)


def _held(store: Store, keys: list[int], batch: pa.Table) -> tuple[Bools, Bools]:
    """Which rows of a batch are stored already, with a reward and without one.

    Not by a join: each one keeps some kilobytes until the database is closed (DuckDB 2.0), and batches are many.
    """
    example = batch["example"].to_numpy()
    span = [int(example.min()), int(example.max())] if len(example) else [0, 0]
    found = store.sql.execute(
        "SELECT example, response, reward IS NULL AS unscored FROM rewards"
        " WHERE candidate = ? AND protocol = ? AND example BETWEEN ? AND ?",
        [*keys, *span],
    ).fetchnumpy()
    stored, unscored = _codes(found["example"], found["response"]), np.asarray(found["unscored"], dtype=np.bool_)
    asked = _codes(example, batch["response"].to_numpy())
    return np.isin(asked, stored[~unscored]), np.isin(asked, stored[unscored])


def _table(rewards: Sequence[RewardRecord], keys: Mapping[str, int]) -> pa.Table:
    """One batch of rewards, with the examples' integer keys. Raises StoreError for what must never be stored."""
    try:
        example = np.fromiter((keys[r.example_key] for r in rewards), np.int32, len(rewards))
    except KeyError:
        raise StoreError("a reward belongs to an example that was never stored") from None
    response = np.fromiter((r.response for r in rewards), np.int16, len(rewards))
    if len(np.unique(_codes(example, response))) != len(rewards):
        raise StoreError("one batch holds two rewards for one response")
    reward = pa.array([r.reward for r in rewards], pa.float64())
    reason = pa.array([r.reason and storable(r.reason) for r in rewards], pa.string())
    _check(reward, reason)
    return pa.table(
        {
            "example": example,
            "response": response,
            "reward": reward,
            "tokens": np.fromiter((r.tokens for r in rewards), np.int32, len(rewards)),
            "cut": np.fromiter((r.cut for r in rewards), np.bool_, len(rewards)),
            "reason": reason,
        }
    )


def _codes(example: npt.NDArray[np.int32], response: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """One number for each (example, position of the response)."""
    return example.astype(np.int64) << 16 | response


def _check(reward: pa.Array, reason: pa.Array) -> None:
    failed = pc.not_equal(reason, "")
    if pc.any(pc.and_(reward.is_null(), pc.invert(failed))).as_py():
        raise StoreError("an unscored response needs the reason why")
    bad = pc.and_(reward.is_valid(), pc.or_(failed, pc.invert(pc.fill_null(pc.is_finite(reward), fill_value=True))))
    if pc.any(bad).as_py():
        first = bad.index(True).as_py()
        shown = f"{reward[first].as_py()!r} {reason[first].as_py()!r}"
        raise StoreError(f"a reward must be a finite number without a reason, not {shown}")
