"""Who is on the board: candidates as read from runs, the baseline that others are held against, and sweeps.

Nothing is inferred from a name: a merge says itself (recorded detail) whose merge it is and at which weight.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaderboard import view
from leaderboard._errors import LeaderboardError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reward model on the board; the recipe fields are empty for what is not a merge."""

    id: str
    name: str
    kind: str
    rm: str = ""
    rm_id: str = ""
    experts: tuple[tuple[str, float | None], ...] = ()  # (name, weight)
    method: str = ""
    formula: str = ""
    lam: float | None = None  # total weight of the experts; 0 is the reward model
    sweep: str = ""  # equal for all weights of one recipe

    @property
    def expert_names(self) -> str:
        """The experts in one line."""
        return " + ".join(name for name, _ in self.experts)


def candidate_of(run: Mapping[str, Any]) -> Candidate:
    """The candidate of a run; unreadable recipe fields are left empty rather than guessed."""
    detail = run["detail"] if isinstance(run["detail"], Mapping) else {}
    if run["kind"] != "merge":
        return Candidate(str(run["candidate_id"]), str(run["candidate"]), str(run["kind"]))
    experts = tuple(
        (_name(e.get("name") or "?"), _number(e.get("weight")))
        for e in _listed(detail.get("experts"))
        if isinstance(e, Mapping)
    )
    return Candidate(
        id=str(run["candidate_id"]),
        name=str(run["candidate"]),
        kind="merge",
        rm=_name(detail.get("rm")),
        rm_id=str(detail.get("rm_id") or ""),
        experts=experts,
        method=_name(detail.get("method")),
        formula=_name(detail.get("formula")),
        lam=_number(detail.get("lambda")),
        sweep=str(detail.get("sweep") or ""),
    )


def _name(value: Any) -> str:
    return view.shorten(str(value or ""), view.NAME)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def find_baseline(candidates: Sequence[Candidate], wanted: str | None) -> Candidate | None:
    """The candidate named, or found by the start of its id; None without `wanted` picks the default.

    Default: the reward model that most merges have as parent, else the first checkpoint, else the first
    candidate. Raises LeaderboardError for an unknown or ambiguous name.
    """
    if wanted is None:
        return _default_baseline(candidates)
    return find_candidate(candidates, wanted, "--baseline ")


def find_candidate(candidates: Sequence[Candidate], wanted: str, option: str = "") -> Candidate:
    """The candidate of this name or id, or whose id starts so (at least four characters).

    Raises LeaderboardError for an unknown or ambiguous one; `option` is what the sentence starts with.
    """
    exact = [c for c in candidates if wanted in (c.name, c.id)]
    found = exact or [c for c in candidates if len(wanted) >= 4 and c.id.startswith(wanted)]
    if len({c.id for c in found}) > 1:
        ids = ", ".join(view.short(c.id) for c in found)
        raise LeaderboardError(f"{option}{wanted}: several candidates are called so: give one's id ({ids})")
    if not found:
        raise LeaderboardError(f"{option}{wanted}: there is no such candidate: {suggest(wanted, names(candidates))}")
    return found[0]


def names(candidates: Iterable[Candidate]) -> list[str]:
    """Their names, in order, each once."""
    return list(dict.fromkeys(c.name for c in candidates))


def suggest(name: str, known: Sequence[str]) -> str:
    """A closing clause for an unknown name; a long list is cut."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return (f"did you mean '{close[0]}'? " if close else "") + f"known: {shown or 'none'}"


def _default_baseline(candidates: Sequence[Candidate]) -> Candidate | None:
    by_id = {c.id: c for c in candidates}
    parents = Counter(c.rm_id for c in candidates if c.rm_id in by_id)
    parents.update(c.id for c in candidates if c.kind == "merge" and c.lam == 0)  # a merge at 0 is its parent
    if parents:
        return by_id[parents.most_common(1)[0][0]]
    return next((c for c in candidates if c.kind == "checkpoint"), candidates[0] if candidates else None)


@dataclass(frozen=True, slots=True)
class Line:
    """One recipe over its weights: candidates in order of lambda."""

    label: str
    method: str
    experts: str
    formula: str
    points: tuple[tuple[float, Candidate], ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """All recipes on one reward model, drawn over each other."""

    rm_id: str
    rm: str
    lines: tuple[Line, ...]


def find_sweeps(candidates: Sequence[Candidate]) -> list[Sweep]:
    """Recipes with at least two weights (lambda 0 may be the reward model itself), by reward model."""
    by_id = {c.id: c for c in candidates}
    recipes: dict[str, dict[str, list[Candidate]]] = {}
    for c in candidates:
        if c.kind == "merge" and c.lam is not None and c.experts:
            recipe = c.sweep or f"{c.method}/{c.formula}/{c.expert_names}"
            recipes.setdefault(c.rm_id or c.rm, {}).setdefault(recipe, []).append(c)
    sweeps = []
    for rm_id, grouped in recipes.items():
        several = len({members[0].method for members in grouped.values()}) > 1
        lines = [_line(members, by_id.get(rm_id), several) for members in grouped.values()]
        kept = _unique([line for line in lines if len(line.points) > 1])
        if kept:
            sweeps.append(Sweep(rm_id, next(iter(grouped.values()))[0].rm, tuple(kept)))
    return sweeps


def _line(members: Sequence[Candidate], rm: Candidate | None, several: bool) -> Line:
    points = {c.lam: c for c in reversed(members) if c.lam is not None}
    if rm is not None:
        points.setdefault(0.0, rm)
    first = members[0]
    label = first.expert_names + (f" ({first.method})" if several and first.method else "")
    return Line(label, first.method, first.expert_names, first.formula, tuple(sorted(points.items())))


def _unique(lines: Sequence[Line]) -> list[Line]:
    """Labels that repeat (same experts' names, other recipes) are numbered."""
    seen: Counter[str] = Counter()
    out = []
    for line in lines:
        seen[line.label] += 1
        number = f" #{seen[line.label]}" if seen[line.label] > 1 else ""
        out.append(Line(line.label + number, line.method, line.experts, line.formula, line.points))
    return out
