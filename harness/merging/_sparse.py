"""What TIES and DARE share: trimming, dropping, and electing signs. Everything works on float32 task vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

_M = 0xFFFFFFFF


def trim(delta: Tensor, density: float) -> Tensor:
    """Keep the `density` share of entries that is largest in magnitude, zero elsewhere (at least one is kept).

    Of entries with equal magnitude the first are kept, so that the choice is the same everywhere.
    """
    count = delta.numel()
    keep = max(1, int(density * count))
    if keep >= count:
        return delta
    size = delta.abs().flatten()
    least = torch.kthvalue(size, count - keep + 1).values
    mask = size > least
    equal = (size == least).nonzero().flatten()
    mask[equal[: keep - int(mask.sum())]] = True
    return torch.where(mask.view_as(delta), delta, torch.zeros_like(delta))


def drop(delta: Tensor, density: float, positions: Tensor, key: str) -> Tensor:
    """Keep each entry with probability `density` and rescale by 1 / density; the draw depends on key and position."""
    if density >= 1:
        return delta
    mask = uniform(positions.to(delta.device), key).view_as(delta) < density
    return torch.where(mask, delta / density, torch.zeros_like(delta))


def uniform(positions: Tensor, key: str) -> Tensor:
    """Numbers in [0, 1) from integer hashing of (key, position): equal on every device, in every order and chunk.

    Positions are hashed in two rounds of the 32-bit finaliser "lowbias32" (C. Wellons), one for each key half.
    """
    digest = hashlib.sha256(key.encode()).digest()
    low, high = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")
    value = _mix((positions ^ low) & _M)
    value = _mix((value + (positions >> 32) + high) & _M)
    return (value >> 8).to(torch.float32) / (1 << 24)


def _mix(value: Tensor) -> Tensor:
    value = value ^ (value >> 16)
    value = (value * 0x7FEB352D) & _M
    value = value ^ (value >> 15)
    value = (value * 0x846CA68B) & _M
    return value ^ (value >> 16)


def elect(deltas: Sequence[Tensor], weights: Sequence[float]) -> tuple[Tensor, list[Tensor]]:
    """The sign that the weighted sum has, and each delta's mask of entries that have it (zeros never do)."""
    total = torch.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights, strict=True):
        total += delta * weight
    sign = torch.where(total >= 0, 1.0, -1.0)
    return sign, [delta.sign() == sign for delta in deltas]
