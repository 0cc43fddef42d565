"""DARE: task arithmetic with task vectors whose entries are dropped at random and rescaled.

Yu et al. 2024, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
section 3: each entry of an expert's task vector survives with probability `density` and is divided by it. Which
ones survive follows from the seed, the tensor's name and the entry's place alone. Needs the base.
"""

from __future__ import annotations

from torch import Tensor

from harness.merging._methods import Method, Piece
from harness.merging._sparse import drop


def merge(piece: Piece) -> Tensor:
    """Any shape -> the same shape."""
    assert piece.base is not None
    total, positions = piece.rm.clone(), piece.positions()
    for expert, weight, number in zip(piece.experts, piece.weights, piece.numbers, strict=True):
        key = f"{piece.seed}/{piece.name}/{number}"
        total += drop(expert - piece.base, float(piece.options["density"]), positions, key) * weight
    return total


METHOD = Method(
    merge,
    formula="rm + sum(lambda_i * kept_i * (expert_i - base) / density)",
    needs_base=True,
    convex=False,
    random=True,
    options={"density": 0.5},
)
