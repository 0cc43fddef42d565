"""Spherical interpolation between the RM and one expert, tensor by tensor.

Shoemake 1985, "Animating Rotation with Quaternion Curves", section 3.3: with w the angle between the flattened
tensors, (sin((1 - lambda) w) RM + sin(lambda w) expert) / sin w. Nearly parallel tensors are interpolated linearly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.merging._methods import Method, Piece

_PARALLEL = 0.9995  # cosine from which on sin w is too small to divide by


def merge(piece: Piece) -> Tensor:
    """Any shape -> the same shape; the angle is that of the whole tensor, in float64."""
    rm, expert, weight = piece.rm, piece.experts[0], piece.weights[0]
    a, b = rm.double().flatten(), expert.double().flatten()
    norms = float(a.norm() * b.norm())
    cosine = float(a @ b) / norms if norms else 1.0
    if abs(cosine) > _PARALLEL:
        return torch.lerp(rm, expert, weight)
    angle = math.acos(cosine)
    left, right = math.sin((1 - weight) * angle) / math.sin(angle), math.sin(weight * angle) / math.sin(angle)
    return rm * left + expert * right


METHOD = Method(
    merge,
    formula="(sin((1 - lambda) w) * rm + sin(lambda w) * expert) / sin w, w the angle between the tensors",
    elementwise=False,
    max_experts=1,
    reaches_expert=True,
)
