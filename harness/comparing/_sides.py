"""What A and B of `harness compare A B` mean: stored candidates by name or id, or the candidates of two recipes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness._grid import SweepConfig, read_sweep
from harness.candidate import Candidate
from harness.comparing._report import Pairing, Setting, Side
from harness.errors import ConfigError
from harness.sweep import sweep_candidates
from leaderboard import view
from leaderboard._candidates import candidate_of, find_candidate


@dataclass(frozen=True, slots=True)
class Sides:
    """Pairs to compare, the settings that differ (None unless both are recipes), and what is to be said of them."""

    pairs: list[Pairing]
    settings: list[Setting] | None
    notes: list[str]


def is_recipe(spec: str) -> bool:
    return Path(spec).suffix in (".yaml", ".yml")


def resolve_sides(a: str, b: str, runs: Sequence[Mapping[str, Any]]) -> Sides:
    """Find both in the stored runs. Raises ConfigError or LeaderboardError, one sentence, for what is not there."""
    recipes = [read_sweep(spec) if is_recipe(spec) else None for spec in (a, b)]
    settings = differences(recipes[0], recipes[1]) if recipes[0] and recipes[1] else None
    groups = [_members(spec, recipe, runs) for spec, recipe in zip((a, b), recipes, strict=True)]
    pairs, notes = _pairs(groups[0], groups[1], (a, b))
    return Sides(pairs, settings, notes)


@dataclass(frozen=True, slots=True)
class _Member:
    side: Side
    weight: float | None  # lambda
    rest: str  # method and experts, to tell apart merges of one lambda


def _members(spec: str, recipe: SweepConfig | None, runs: Sequence[Mapping[str, Any]]) -> list[_Member]:
    if recipe is None:
        known = list({str(run["candidate_id"]): candidate_of(run) for run in runs}.values())
        found = find_candidate(known, spec)
        return [_Member(Side(found.name, found.id), found.lam, "")]
    merges = [c for c in sweep_candidates(recipe.recipes) if c.kind == "merge"]
    stored = {str(run["candidate_id"]) for run in runs}
    kept = [_member(c) for c in merges if c.id in stored]
    if not kept:
        raise ConfigError(
            f"{spec}: none of its merges was evaluated yet: 'harness sweep {spec}' with the same --db first"
        )
    return kept


def _member(one: Candidate) -> _Member:
    experts = " + ".join(str(e.get("name")) for e in one.detail.get("experts", ()))
    return _Member(Side(one.name, one.id), one.detail.get("lambda"), f"{one.detail.get('method')} {experts}")


def _pairs(a: list[_Member], b: list[_Member], specs: tuple[str, str]) -> tuple[list[Pairing], list[str]]:
    """One against one, many against one, or merge by merge where lambda (and, if need be, the method) agree."""
    if len(a) == 1 and len(b) == 1:
        return [Pairing(a[0].side, b[0].side)], []
    if len(a) == 1 or len(b) == 1:
        pairs = [_named(x, y) for x in a for y in b]
        return pairs, [f"{len(pairs)} pairs are compared: every merge of {specs[len(b) > 1]} with the other side"]
    plain = all(len({m.weight for m in group}) == len(group) for group in (a, b))
    keys = [_keyed(group, not plain) for group in (a, b)]
    shared = [key for key in keys[0] if key in keys[1]]
    if not shared:
        raise ConfigError(f"{specs[0]} and {specs[1]} have no lambda in common that was evaluated: nothing to compare")
    left = len(keys[0]) + len(keys[1]) - 2 * len(shared)
    what = f"{view.plural(len(shared), 'pair')} of equal lambda{'' if plain else ', method and experts'}"
    said = f"{what} {'is' if len(shared) == 1 else 'are'} compared"
    said += f"; {view.plural(left, 'merge has', 'merges have')} no partner" if left else ""
    return [_named(keys[0][key], keys[1][key], not plain) for key in shared], [said]


def _keyed(group: list[_Member], full: bool) -> dict[tuple[float | None, str, int], _Member]:
    """Members by lambda (and what else they are); those that look the same are counted, in order."""
    seen: Counter[tuple[float | None, str]] = Counter()
    found = {}
    for member in group:
        key = (member.weight, member.rest if full else "")
        found[*key, seen[key]] = member
        seen[key] += 1
    return found


def _named(a: _Member, b: _Member, full: bool = False) -> Pairing:
    if a.weight is None or a.weight != b.weight:
        return Pairing(a.side, b.side, f"{a.side.name} against {b.side.name}")
    return Pairing(a.side, b.side, f"λ={a.weight:g}" + (f", {a.rest}" if full else ""))


def differences(a: SweepConfig, b: SweepConfig) -> list[Setting]:
    """Key paths whose values differ, in the order of the schema; defaults are spelt out."""
    first, second = (dict(_flat(yaml.safe_load(config.as_yaml()))) for config in (a, b))
    keys = dict.fromkeys([*first, *second])
    return [Setting(key, first.get(key, ""), second.get(key, "")) for key in keys if first.get(key) != second.get(key)]


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """("experts[0].weight", "0.35"), ...; lists of plain values stay whole, what is not set is left out."""
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(item, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return [pair for i, item in enumerate(value) for pair in _flat(item, f"{path}[{i}]")]
    if value is None or value == []:
        return []
    return [(path, ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
             if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value))]  # fmt: skip
