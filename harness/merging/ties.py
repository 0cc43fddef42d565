"""TIES: trim task vectors to their largest entries, elect one sign for each weight, average what agrees.

Yadav et al. 2023, "TIES-Merging: Resolving Interference When Merging Models", section 4 and algorithm 1. The RM's
own task vector takes part with weight 1 - sum(lambda) and is not trimmed unless `rm_density` says so; experts are
trimmed to `density` (the paper's 20%), tensor by tensor. Needs the base.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.merging._methods import Method, Piece
from harness.merging._sparse import elect, trim


def merge(piece: Piece) -> Tensor:
    """Any shape -> the same shape; quantiles are those of the whole tensor."""
    assert piece.base is not None
    density, own = float(piece.options["density"]), float(piece.options["rm_density"])
    deltas = [trim(piece.rm - piece.base, own), *(trim(expert - piece.base, density) for expert in piece.experts)]
    weights = [1 - sum(piece.weights), *piece.weights]
    _, agree = elect(deltas, weights)
    total, share = torch.zeros_like(piece.rm), torch.zeros_like(piece.rm)
    for delta, weight, mask in zip(deltas, weights, agree, strict=True):
        total += torch.where(mask, delta * weight, torch.zeros_like(delta))
        share += mask * weight
    return piece.base + torch.where(share > 0, total / share, torch.zeros_like(total))


METHOD = Method(
    merge,
    formula="base + weighted mean of the trimmed task vectors' entries that have the elected sign",
    needs_base=True,
    elementwise=False,
    options={"density": 0.2, "rm_density": 1.0},
)
