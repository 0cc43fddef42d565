"""WARM: a weighted average of several reward models that share their pre-training.

Rame et al. 2024, "WARM: On the Benefits of Weight Averaged Reward Models", section 3.1: the mean of M fine-tuned
weights. The "experts" are the other reward models; for a plain mean of M models give each of the M - 1 others the
weight 1/M. The head is the first model's: heads are never merged.
"""

from __future__ import annotations

from torch import Tensor

from harness.merging._methods import Method, Piece


def merge(piece: Piece) -> Tensor:
    """Any shape -> the same shape."""
    total = piece.rm * (1 - sum(piece.weights))
    for other, weight in zip(piece.experts, piece.weights, strict=True):
        total += other * weight
    return total


METHOD = Method(
    merge,
    formula="(1 - sum(lambda_i)) * rm + sum(lambda_i * rm_i), all of them reward models",
    bounded=True,
    reaches_expert=True,
    rewards_only=True,
)
