"""What a merge method is: a file of this package without a leading underscore, with one pure function.

The function takes float32 tensors and a METHOD describes it; the file's name is the name users write. Packages
outside register a module with a METHOD under the entry point group "merged_rm_harness.methods".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import MergeError
from harness.plugins import METHODS, load

if TYPE_CHECKING:
    from torch import Tensor

Option = float | str | bool


@dataclass(frozen=True, slots=True)
class Piece:
    """What a method sees: the same elements of every parent, float32, flat or (rows, width).

    `weights[i]` and `numbers[i]` (its place in the recipe) belong to `experts[i]`; experts with weight 0 are left out
    before. `positions` numbers the elements within the output tensor `name`: methods with randomness draw from
    (seed, name, number, position) only, so that chunks, threads and devices cannot matter.
    """

    rm: Tensor
    experts: tuple[Tensor, ...]
    weights: tuple[float, ...]
    numbers: tuple[int, ...]
    base: Tensor | None
    options: Mapping[str, Option]
    name: str
    seed: int
    positions: Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to merge. `merge` returns the merged float32 tensor, rounded once by the caller."""

    merge: Callable[[Piece], Tensor]
    formula: str  # for people: model card and `harness ls methods`
    needs_base: bool = False
    elementwise: bool = True  # False: sees whole tensors (norms, quantiles), which costs memory
    max_experts: int | None = None
    convex: bool = True  # weights are shares: their sum is at most 1, and the RM has the rest
    reaches_expert: bool = False  # weight 1 is the expert itself, copied bit for bit
    bounded: bool = False  # results lie between the parents' values: finite parents cannot overflow
    random: bool = False  # the seed belongs to the identity
    rewards_only: bool = False  # experts must be reward models too
    options: Mapping[str, Option] = field(default_factory=dict)  # name -> default; numbers are shares in (0, 1]
    # Same bytes as `merge`, in the tensors' own dtype and straight into `out`: (out, piece) -> done?
    direct: Callable[[Tensor, Piece], bool] | None = None


def get_method(name: str) -> Method:
    """The method of that name. Raises ConfigError, with a suggestion, where there is none."""
    found = load(METHODS, name).METHOD
    if not isinstance(found, Method):
        raise MergeError(f"merge method '{name}': its METHOD is not a harness.merging._methods.Method")
    return found
