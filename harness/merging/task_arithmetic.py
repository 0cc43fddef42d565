"""Task arithmetic: the RM plus lambda times what each expert has learnt beyond the base.

Ilharco et al. 2023, "Editing Models with Task Arithmetic", section 2: task vector t = fine-tuned - base, added with
a scale. Needs the base that RM and experts were fine-tuned from. Lambda 1 is the RM plus the whole task vector.
"""

from __future__ import annotations

from torch import Tensor

from harness.merging._methods import Method, Piece


def merge(piece: Piece) -> Tensor:
    """Any shape -> the same shape."""
    assert piece.base is not None
    total = piece.rm.clone()
    for expert, weight in zip(piece.experts, piece.weights, strict=True):
        total += (expert - piece.base) * weight
    return total


METHOD = Method(merge, formula="rm + sum(lambda_i * (expert_i - base))", needs_base=True, convex=False)
