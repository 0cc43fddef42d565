"""DARE with TIES' sign election: dropped and rescaled task vectors, of which only agreeing entries are added.

Yu et al. 2024, section 3 (drop and rescale), with the election of Yadav et al. 2023, section 4, between the RM's
own task vector (weight 1, never dropped) and the experts'. Sums are not divided by the weights. Needs the base.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.merging._methods import Method, Piece
from harness.merging._sparse import drop, elect


def merge(piece: Piece) -> Tensor:
    """Any shape -> the same shape."""
    assert piece.base is not None
    density, positions = float(piece.options["density"]), piece.positions()
    deltas = [piece.rm - piece.base]
    for expert, number in zip(piece.experts, piece.numbers, strict=True):
        deltas.append(drop(expert - piece.base, density, positions, f"{piece.seed}/{piece.name}/{number}"))
    weights = [1.0, *piece.weights]
    _, agree = elect(deltas, weights)
    total = piece.base.clone()
    for delta, weight, mask in zip(deltas, weights, agree, strict=True):
        total += torch.where(mask, delta * weight, torch.zeros_like(delta))
    return total


METHOD = Method(
    merge,
    formula="base + sum of (rm - base) and lambda_i * kept_i * (expert_i - base) / density where signs agree",
    needs_base=True,
    convex=False,
    random=True,
    options={"density": 0.5},
)
