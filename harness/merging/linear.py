"""Linear interpolation of the RM with its experts: (1 - lambda) RM + lambda expert, DogeRM's rule.

Lin et al. 2024, "DogeRM: Equipping Reward Models with Domain Knowledge through Model Merging", section 3 (one
expert; several are a sum of weighted differences). One expert is computed as torch.lerp in float32 and rounded
once; `formula: weighted_sum` computes lambda * expert + (1 - lambda) * RM instead, as the paper's code does, which
differs by one rounding in about 0.24% of weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.merging._methods import Method, Piece


def merge(piece: Piece) -> Tensor:
    """Any shape -> the same shape."""
    if piece.options["formula"] == "weighted_sum":
        total = piece.rm * (1 - sum(piece.weights))
        for expert, weight in zip(piece.experts, piece.weights, strict=True):
            total = total + expert * weight
        return total
    if len(piece.experts) == 1:
        return torch.lerp(piece.rm, piece.experts[0], piece.weights[0])
    total = piece.rm.clone()
    for expert, weight in zip(piece.experts, piece.weights, strict=True):
        total += (expert - piece.rm) * weight
    return total


def direct(out: Tensor, piece: Piece) -> bool:
    """torch.lerp computes half precision in float32 and rounds once: the same bits with a third of the traffic."""
    if piece.options["formula"] != "lerp" or len(piece.experts) != 1:
        return False
    torch.lerp(piece.rm, piece.experts[0], piece.weights[0], out=out)
    return True


METHOD = Method(
    merge,
    formula="(1 - sum(lambda_i)) * rm + sum(lambda_i * expert_i)",
    bounded=True,
    reaches_expert=True,
    options={"formula": "lerp"},
    direct=direct,
)
