"""Lambda for each tensor: the experts' weights, and `layers`, which overrides them by layer range or name pattern."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config import Recipe
from harness.errors import MergeError
from harness.merging._names import layer_of

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Weights:
    """`overrides`: canonical tensor name -> total lambda there, shared out in proportion to the experts' weights."""

    overrides: dict[str, float]

    @classmethod
    def of(cls, recipe: Recipe, names: Sequence[str]) -> Weights:
        """Resolve `layers` against the tensors there are. A pattern that matches nothing is a MergeError.

        Keys are "4", "0-15" (both ends included) or a pattern with * and ? over canonical names, matched as a
        whole (`*.mlp.*`, `embed_tokens.weight`); where several match, the last one counts.
        """
        overrides: dict[str, float] = {}
        for pattern, weight in (recipe.layers or {}).items():
            hits = [name for name in names if _matches(pattern, name)]
            if not hits:
                raise MergeError(
                    f'layers: \'{pattern}\' matches no tensor; use a layer ("3"), a range ("0-15") or a pattern '
                    f"over names like '{names[len(names) // 2]}'"
                )
            overrides |= dict.fromkeys(hits, weight)
        return cls(overrides)

    def at(self, name: str, weights: Sequence[float]) -> tuple[float, ...]:
        """The experts' weights for one tensor, given their weights in the recipe."""
        total = self.overrides.get(name)
        if total is None:
            return tuple(weights)
        whole = sum(weights)
        if whole == 0 or len(weights) == 1:
            return tuple(total / len(weights) for _ in weights)
        return tuple(total * weight / whole for weight in weights)


def _matches(pattern: str, name: str) -> bool:
    found = _RANGE.fullmatch(pattern)
    if not found:
        return fnmatch.fnmatchcase(name, pattern)
    layer, first = layer_of(name), int(found.group(1))
    return layer is not None and first <= layer <= int(found.group(2) or first)
