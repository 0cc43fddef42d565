"""Faster float32 linear layers on CPU: oneDNN with weights packed once, where this torch has it and it is right.

torch packs weights for oneDNN only in compiled code; the operators that do it are internal, so they are tried on a
small product first and left alone where they are missing, refuse their arguments or disagree. Packed copies follow
the weights: a merge in memory changes them in place, which their version counters show.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

SHARE = 4  # packed copies may take one part in so many of this machine's memory


def _pack(weight: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
    return packed


def _apply(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return out


@cache
def works() -> bool:
    """Whether the internal operators exist here and give what F.linear gives."""
    made = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*size, generator=made) for size in ((16, 24), (40, 24), (40,)))
    try:
        with torch.inference_mode():
            found = [_apply(x, _pack(weight), some) for some in (None, bias)]
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False
    right = [F.linear(x, weight, some) for some in (None, bias)]
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, right, strict=True))


class FastLinears:
    """The linear layers of a model's body; inside `with fast():` they use packed weights."""

    def __init__(self, body: Any) -> None:
        """Does nothing for other devices and dtypes, where the copies would not fit, or where `works` says no."""
        linears = [module for module in body.modules() if type(module) is torch.nn.Linear]
        weights = [module.weight for module in linears]
        plain = all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights)
        size = sum(weight.nbytes for weight in weights)
        self._linears = linears if plain and size <= _memory() // SHARE and works() else []
        self._packed: dict[int, tuple[int, torch.Tensor]] = {}

    @contextmanager
    def __call__(self) -> Iterator[None]:
        for i, module in enumerate(self._linears):
            vars(module)["forward"] = self._forward(i, module)
        try:
            yield
        finally:
            for module in self._linears:
                del vars(module)["forward"]

    def _forward(self, number: int, module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        version, packed = self._packed.get(number, (-1, None))
        if packed is None or version != module.weight._version:
            packed = _pack(module.weight)
            self._packed[number] = module.weight._version, packed
        bias = module.bias

        def forward(x: torch.Tensor) -> torch.Tensor:
            return _apply(x, packed, bias)

        return forward


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
