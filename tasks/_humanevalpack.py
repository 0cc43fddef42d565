"""The six hep-* subsets of RewardBench hold the same 164 problems in six languages: find which rows share one.

Rows say no problem id, so the position within the subset is the key, trusted only where the functions' names agree.
Names are compared without case and underscores, and by prefix, because languages differ (`hasCloseElements`,
`maximum_120`); a handful are named altogether differently and are tolerated, misplaced rows are not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

_TOLERATED = 0.1  # share of differently named functions; the published rows have at most 3 in 164 after prefixes
_QUOTED = re.compile(r"`([^`]*)`")
_NAME = re.compile(r"([A-Za-z_]\w*)\s*(?:<[^()]*>)?\s*(?:=\s*)?\(")


def function_name(prompt: str) -> str | None:
    """The function a prompt asks for: the name before the first parenthesis of its first `quoted signature`."""
    quoted = _QUOTED.search(prompt)
    name = _NAME.search(quoted[1]) if quoted else None
    return name[1].replace("_", "").lower() if name else None


def problem_clusters(prompts: Mapping[str, Sequence[str]]) -> dict[str, list[str]] | None:
    """Cluster names per subset, position by position, or None where the subsets do not line up.

    `prompts` maps each hep-* subset to its prompts in row order.
    """
    names = {subset: [function_name(prompt) for prompt in rows] for subset, rows in prompts.items()}
    if len({len(rows) for rows in names.values()}) != 1:
        return None
    usual = [_most_common(column) for column in zip(*names.values(), strict=True)]
    if not all(_lines_up(rows, usual) for rows in names.values()):
        return None
    return {subset: [f"hep-{i}" for i in range(len(rows))] for subset, rows in names.items()}


def _most_common(column: Sequence[str | None]) -> str | None:
    counted = Counter(name for name in column if name is not None)
    return counted.most_common(1)[0][0] if counted else None


def _lines_up(rows: Sequence[str | None], usual: Sequence[str | None]) -> bool:
    off = [i for i, (name, common) in enumerate(zip(rows, usual, strict=True)) if not _same(name, common)]
    if len(off) > _TOLERATED * len(rows):
        return False
    elsewhere = {usual[i] for i in off}  # a row whose name is missing at another place was moved, not renamed
    return not any(rows[i] is not None and rows[i] in elsewhere for i in off)


def _same(name: str | None, common: str | None) -> bool:
    return name is not None and common is not None and (name.startswith(common) or common.startswith(name))
