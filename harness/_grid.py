"""One recipe file, many recipes: `grid` lists values for some keys and stands for every combination of them.

    rm: RM
    sweep: "0:1:0.1"
    grid:
      experts: [MATHS, CODE, [MATHS, CODE]]     # a list within the list: merged together
      method: [linear, {method: ties, base: BASE, options: {density: 0.5}}]   # a mapping sets several keys

`--set KEY=VALUE` changes any value before that; shipped recipes go by their name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from harness.config import Recipe, make_recipe, read_mapping
from harness.errors import ConfigError, did_you_mean

KEYS = ("rm", "experts", "method", "base", "sweep", "layers", "formula", "dtype", "seed", "options")
"""What makes a merge. How merges are evaluated (tasks, pools, protocol, baselines) is the same for a whole file."""


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """`values`: the file as read, overrides applied; `recipes`: one for each combination of its grid."""

    path: Path
    values: Mapping[str, Any]
    recipes: Sequence[Recipe]

    def as_yaml(self) -> str:
        """The whole configuration with every default spelt out; reading it again gives the same recipes."""
        grid = self.values.get("grid", {})
        varied = {name for key, choices in grid.items() for choice in choices for name in _choice(key, choice)}
        defaults = self.recipes[0].model_dump(exclude=varied)
        full = {**defaults, **({"grid": grid} if grid else {})}
        return str(yaml.safe_dump(full, sort_keys=False, allow_unicode=True))


def shipped() -> dict[str, Path]:
    """Recipes that come with the harness, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.yaml"))}


def find_recipe(spec: str) -> Path:
    """The file that SPEC means: a path, or the name of a shipped recipe. Raises ConfigError."""
    if Path(spec).exists():
        return Path(spec)
    if spec in shipped():
        return shipped()[spec]
    raise ConfigError(f"{spec}: neither a recipe file nor a shipped recipe: {did_you_mean(spec, shipped())}")


def read_sweep(spec: str, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a recipe file (or a shipped recipe) with `overrides` (KEY=VALUE). Raises ConfigError, one sentence."""
    path = find_recipe(spec)
    values = read_mapping(path)
    for override in overrides:
        _override(values, override)
    changed = {text.partition("=")[0].split(".")[0] for text in overrides}
    return SweepConfig(
        path, values, [_recipe(raw, origin, path, changed) for raw, origin in _combinations(values, path)]
    )


def _recipe(raw: Mapping[str, Any], origin: Mapping[str, str], path: Path, changed: set[str]) -> Recipe:
    return make_recipe(raw, path, lambda key: origin.get(key, f"--set {key}" if key in changed else key))


def _combinations(values: Mapping[str, Any], path: Path) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """(mapping of one recipe, key -> where in the grid its value stands)."""
    grid = values.get("grid", {})
    if not isinstance(grid, dict):
        raise ConfigError(f"{path}: grid: it is a mapping of keys to lists of values")
    for key, choices in grid.items():
        if key not in KEYS:
            raise ConfigError(f"{path}: grid: '{key}' cannot be varied: {did_you_mean(str(key), KEYS)}")
        if key in values:
            raise ConfigError(f"{path}: '{key}' stands in the grid and outside it: keep one of them")
        if not isinstance(choices, list) or not choices:
            raise ConfigError(f"{path}: grid.{key}: expected a list of values, one for each variant")
    fixed = {key: value for key, value in values.items() if key != "grid"}
    numbered = [[(key, i, choice) for i, choice in enumerate(choices)] for key, choices in grid.items()]
    for combination in product(*numbered):
        raw, origin = dict(fixed), {}
        for key, i, choice in combination:
            for name, value in _choice(key, choice).items():
                raw[name] = value
                origin[name] = f"grid.{key}[{i}]"
        yield raw, origin


def _choice(key: str, choice: Any) -> dict[str, Any]:
    """What one value of the grid sets."""
    if key == "method" and isinstance(choice, dict):
        return choice
    if key == "experts" and not isinstance(choice, list):
        return {key: [choice]}
    return {key: choice}


def _override(values: dict[str, Any], text: str) -> None:
    """Apply one KEY=VALUE: KEY is dotted (lists by number), VALUE is YAML."""
    dotted, mark, written = text.partition("=")
    if not mark or not dotted:
        raise ConfigError(f"--set {text}: expected KEY=VALUE, like sweep=0:1:0.1 or protocol.max_length=2048")
    try:
        value = yaml.safe_load(written)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: '{written}' is not valid YAML") from None
    *above, last = dotted.split(".")
    holder: Any = values
    for name in above:
        holder = _inner(holder, name, text)
    if isinstance(holder, list):
        holder[_place(holder, last, text)] = value
    else:
        holder[last] = value


def _inner(holder: Any, name: str, text: str) -> Any:
    in_list = isinstance(holder, list)
    found = holder[_place(holder, name, text)] if in_list else holder.setdefault(name, {})
    if not isinstance(found, (dict, list)):
        raise ConfigError(f"--set {text}: '{name}' is a single value ({found}), nothing below it can be set")
    return found


def _place(holder: Sequence[Any], name: str, text: str) -> int:
    if not name.isdigit() or int(name) >= len(holder):
        raise ConfigError(f"--set {text}: '{name}' is not a place in a list of {len(holder)} (they count from 0)")
    return int(name)
