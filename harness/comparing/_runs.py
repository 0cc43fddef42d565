"""Which two stored runs may be compared: complete, on the same data, under the same protocol. Or why none may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leaderboard.board import is_unsafe

Run = Mapping[str, Any]
_OWN = ("template",)  # part of the protocol that a candidate brings with it


def choose(a: Sequence[Run], b: Sequence[Run], names: tuple[str, str], task: str) -> tuple[Run, Run] | str:
    """The newest runs of both that may be compared, from all their runs of one task (oldest first); or a sentence."""
    for runs, name in zip((a, b), names, strict=True):
        reason = _unusable(runs, name, task)
        if reason:
            return reason
    usable = [[run for run in reversed(runs) if _complete(run)] for runs in (a, b)]
    for first in usable[0]:
        for second in usable[1]:
            if first["dataset_id"] == second["dataset_id"] and not differing(first, second):
                return first, second
    first, second = usable[0][0], usable[1][0]
    if first["dataset_id"] != second["dataset_id"]:
        return (
            f"{names[0]} and {names[1]} were measured on other data of {task} (examples, labels or pool differ):"
            " evaluate one of them again on the other's data"
        )
    shown = ", ".join(f"{key}: {_short(x)} and {_short(y)}" for key, x, y in differing(first, second))
    return (
        f"{names[0]} and {names[1]} were scored on {task} under other protocols ({shown}): evaluate one of them again"
    )


def _complete(run: Run) -> bool:
    return run["status"] == "complete" and not is_unsafe(run)


def _unusable(runs: Sequence[Run], name: str, task: str) -> str:
    if not runs:
        return f"{name} has no run of {task}"
    if any(_complete(run) for run in runs):
        return ""
    last = runs[-1]
    if last["status"] == "complete":
        return f"{name}'s labels of {task} come from programs run without a sandbox: such runs are not compared"
    status = "not finished" if last["status"] == "running" else last["status"]
    why = last["reason"] or last["partial"]
    return f"{name}'s run of {task} is {status}{f' ({why})' if why else ''}: only complete runs are compared"


def differing(first: Run, second: Run) -> list[tuple[str, Any, Any]]:
    """(key, first's, second's) of protocol settings that differ, where both runs computed rewards with a model.

    Rules and rewards from files compute nothing; a chat template belongs to the candidate.
    """
    a, b = first["protocol"], second["protocol"]
    if "dtype" not in a or "dtype" not in b:
        return []
    keys = sorted((a.keys() | b.keys()) - set(_OWN))
    return [(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]


def _short(value: Any) -> str:
    text = "none" if value is None else " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:39]}…"
