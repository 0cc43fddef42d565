"""`--limit N`: a small, even, reproducible sample of a task, the same for every candidate."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tasks._types import Example, TaskData, TaskError


def limit_examples(data: TaskData, limit: int, seed: int) -> TaskData:
    """N examples spread evenly over the subsets, in their original order.

    Subsets are visited round robin in the order they appear; within a subset the order is a hash of (seed, subset,
    id), so the choice depends on nothing else: not on the candidate, the platform or the hash seed of the process,
    and a larger N only adds examples. Returns `data` itself when N covers it; raises TaskError when N < 1.
    """
    if limit < 1:
        raise TaskError(f"--limit must be at least 1, not {limit}")
    if limit >= len(data.examples):
        return data
    drawn = [(_draw(example, seed), index, example.subset) for index, example in enumerate(data.examples)]
    queues: dict[str, list[int]] = {}
    for _, index, subset in sorted(drawn):
        queues.setdefault(subset, []).append(index)
    order = list(dict.fromkeys(subset for _, _, subset in drawn))
    chosen: list[int] = []
    depth = 0
    while len(chosen) < limit:
        chosen += [queues[subset][depth] for subset in order if depth < len(queues[subset])]
        depth += 1
    keep = set(chosen[:limit])
    return replace(data, examples=tuple(example for i, example in enumerate(data.examples) if i in keep))


def _draw(example: Example, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{example.subset}\0{example.id}".encode()).digest()
