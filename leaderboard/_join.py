"""Two runs of one task, joined by example id: published reward files are not in one order, so never by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from leaderboard._errors import LeaderboardError
from leaderboard.metrics import Measured

Ints = npt.NDArray[np.int64]


def join(first: Measured, second: Measured) -> tuple[Ints, Ints]:
    """Rows of the shared examples in either run, in the first run's order.

    Raises LeaderboardError where the runs are of different tasks, differ in how a metric is made, repeat an
    example id, share no example, or label a shared example differently (another pool of responses).
    """
    a, b = first.data, second.data
    if a.task != b.task:
        raise LeaderboardError(f"{_name(first)} ran {a.task} and {_name(second)} ran {b.task}: compare one task")
    changed = sorted(k for k in first.metrics.keys() & second.metrics.keys() if not _same(first, second, k))
    if changed or a.outcome != b.outcome:
        raise LeaderboardError(
            f"{_name(first)} and {_name(second)} measured {a.task} by different rules "
            f"({', '.join(changed) or 'outcome'}): run one of them again with the other's options"
        )
    if same_data(first, second):
        every = np.arange(len(a.example_ids))
        return every, every
    where = _rows(second)
    mine = [(i, where[name]) for i, name in enumerate(_rows(first)) if name in where]
    if not mine and a.example_ids and b.example_ids:
        raise LeaderboardError(f"{_name(first)} and {_name(second)} have no example of {a.task} in common")
    rows = np.array(mine, dtype=np.int64).reshape(-1, 2)
    _check_labels(first, second, rows)
    return rows[:, 0], rows[:, 1]


def same_data(first: Measured, second: Measured) -> bool:
    """Whether the stored data set is one and the same, so that rows already agree."""
    ids = [run.data.run.get("dataset_id") for run in (first, second)]
    same = ids[0] is not None and ids[0] == ids[1]
    return same and list(first.data.example_ids) == list(second.data.example_ids)


def _same(first: Measured, second: Measured, key: str) -> bool:
    def plain(run: Measured) -> tuple[object, object]:
        rule = run.metrics[key]
        return [tuple(part) for part in rule["parts"]], rule.get("outcome")

    return plain(first) == plain(second)


def _rows(run: Measured) -> dict[str, int]:
    ids: Sequence[str] = run.data.example_ids
    where = {name: i for i, name in enumerate(ids)}
    if len(where) != len(ids):
        twice = next(name for i, name in enumerate(ids) if where[name] != i)
        raise LeaderboardError(f"{_name(run)} has two examples '{twice}' of {run.data.task}: ids must be unique")
    return where


def _check_labels(first: Measured, second: Measured, rows: Ints) -> None:
    """Equal labels, response by response; sizes first, because arrays of other lengths cannot be compared."""
    a, b = first.data, second.data
    sizes = first.judged.sizes[rows[:, 0]], second.judged.sizes[rows[:, 1]]
    differs = sizes[0] != sizes[1]
    if not differs.any():
        spans = [_responses(run.offsets[:-1][rows[:, i]], sizes[0]) for i, run in enumerate((a, b))]
        unequal = a.labels[spans[0]] != b.labels[spans[1]]
        differs = np.bincount(np.repeat(np.arange(len(rows)), sizes[0]), unequal, minlength=len(rows)) > 0
    if differs.any():
        example = a.example_ids[rows[np.flatnonzero(differs)[0], 0]]
        raise LeaderboardError(
            f"{_name(first)} and {_name(second)} scored other responses or labels of {a.task} "
            f"({int(differs.sum())} examples, first '{example}'): compare runs on one pool"
        )


def _responses(starts: Ints, sizes: Ints) -> Ints:
    """Flat positions of the responses of examples that start at `starts`."""
    shift = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    return np.asarray(shift + np.arange(int(sizes.sum())), dtype=np.int64)


def _name(run: Measured) -> str:
    return str(run.data.run.get("candidate") or "a run")
