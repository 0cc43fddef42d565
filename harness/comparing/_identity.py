"""Identical weights must give identical rewards: sentences that say where they did not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.comparing._runs import differing
from results.records import RunRewards

Run = Mapping[str, Any]
Load = Callable[[Run], RunRewards]


def same_weights(a: Run, b: Run) -> bool:
    """Whether two runs are of the same weights: one candidate, or checkpoints whose weights have one hash."""
    hashes = [_weights(run) for run in (a, b)]
    return a["candidate_id"] == b["candidate_id"] or (hashes[0] != "" and hashes[0] == hashes[1])


def _weights(run: Run) -> str:
    detail = run["detail"] if isinstance(run["detail"], Mapping) else {}
    return str(detail.get("weights") or "") if run["kind"] == "checkpoint" else ""


def pair_note(a: Run, b: Run, load: Load) -> str:
    """What to say of two compared runs that have the same weights; "" where there is nothing to say."""
    if a["id"] == b["id"] or not same_weights(a, b):
        return ""
    who = f"{a['candidate']} and {b['candidate']} on {a['task']}"
    count, total, largest = _apart(load(a), load(b))
    if not count:
        return f"{who}: the same weights, and the same rewards"
    apart = f"{count} of {total} rewards differ, by up to {largest:.3g}"
    if a["protocol_id"] != b["protocol_id"]:
        return f"{who}: the same weights under other chat templates; {apart}"
    return (
        f"{who}: the same weights and the same protocol, yet {apart}:"
        " their tokenizers or configurations differ, or a file changed while it was read"
    )


def stored_notes(runs: Sequence[Run], load: Load) -> list[str]:
    """One sentence for each earlier complete run of a candidate on the same task and data as its newest, if their
    rewards differ. `runs` are one candidate's runs of one task, oldest first."""
    complete = [run for run in runs if run["status"] == "complete"]
    if len(complete) < 2:
        return []
    newest, found = complete[-1], []
    for run in complete[:-1]:
        if run["dataset_id"] != newest["dataset_id"]:
            continue
        count, total, largest = _apart(load(newest), load(run))
        if count:
            keys = ", ".join(key for key, _, _ in differing(newest, run)) or "other settings"
            found.append(
                f"{run['candidate']} has several runs of {run['task']}, whose protocols differ in {keys}:"
                f" {count} of {total} rewards differ, by up to {largest:.3g}"
            )
    return found


def _apart(a: RunRewards, b: RunRewards) -> tuple[int, int, float]:
    """(how many rewards differ, of how many, by how much at most) for two runs on one data set."""
    both = a.scored & b.scored
    gap = np.abs(a.rewards[both] - b.rewards[both])
    return int((gap > 0).sum()), int(both.sum()), float(gap.max(initial=0.0))
