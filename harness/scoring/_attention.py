"""Attention over packed batches, plugged into transformers' models: the ladder of kernels.

    varlen    CUDA, half precision: two variable-length flash calls, merged by log-sum-exp
    flex      CUDA, soft-capped or float32: FlexAttention with the batch's tree as its mask
    cascade   CPU: flash attention sequence by sequence, prefix and response merged by log-sum-exp
    padded    any device, any architecture: right-padded batches through the model's own attention (_forward)

Every kernel computes a sequence from its own tokens only, in an order that its own lengths fix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from harness.scoring._layout import Attention, Span

Tensor = torch.Tensor
Kernel = Callable[[Tensor, Tensor, Tensor, Attention, float, int | None, float | None], Tensor]
"""(query (1, H, R, D), key and value (1, G, K, D), who sees whom, scale, window, soft cap) -> (1, R, H, D)."""

_CHUNK = 512  # queries per soft-capped product: bounds the score matrix


def cascade(
    query: Tensor, key: Tensor, value: Tensor, who: Attention, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """Sequence by sequence; the prefix's keys are computed once and attended to by each response.

    What a response sees of the prefix and of itself are two calls; one merge at the end joins them for all rows.
    """
    shape = 1, query.shape[2], query.shape[1], query.shape[3]
    own, own_lse = query.new_zeros(shape), query.new_zeros(shape[:3], dtype=torch.float32)
    prefix, prefix_lse = torch.zeros_like(own), torch.full_like(own_lse, float("-inf"))  # nothing seen: weight 0
    for span in who.spans:
        rows, keys, before = slice(*span.q), slice(*span.k), slice(*span.p)
        q = query[:, :, rows]
        total = span.p[1] - span.p[0] + span.k[1] - span.k[0]
        plain = span.at is None and softcap is None and (window is None or total <= window)
        if not (plain and flash_works()):
            own[:, rows] = _dense(q, key, value, span, scale, window, softcap).transpose(1, 2)
            continue
        own[:, rows], own_lse[:, rows] = _flash(q, key[:, :, keys], value[:, :, keys], scale, causal=True)
        if span.p[1] > span.p[0]:
            seen = _flash(q, key[:, :, before], value[:, :, before], scale, causal=False)
            prefix[:, rows], prefix_lse[:, rows] = seen
    return merge(prefix, prefix_lse, own, own_lse) if who.shared else own


def _flash(q: Tensor, k: Tensor, v: Tensor, scale: float, *, causal: bool) -> tuple[Tensor, Tensor]:
    """PyTorch's CPU flash attention, (1, R, H, D), with its log-sum-exp, (1, R, H), which the public wrapper hides."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
    return out.transpose(1, 2), lse.transpose(1, 2)


def merge(one: Tensor, one_lse: Tensor, other: Tensor, other_lse: Tensor) -> Tensor:
    """Attention over two disjoint sets of keys from the two results and their log-sum-exps (..., rows)."""
    weight = torch.sigmoid(other_lse.float() - one_lse.float()).unsqueeze(-1)  # e^b / (e^a + e^b)
    return torch.lerp(one.float(), other.float(), weight).to(other.dtype)


def _dense(
    q: Tensor, key: Tensor, value: Tensor, span: Span, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """Prefix and own keys side by side, with a mask where one is needed."""
    length = span.p[1] - span.p[0]
    offsets = torch.arange(span.k[1] - span.k[0]) if span.at is None else torch.tensor(span.at)
    last = int(offsets[-1]) + 1
    k = torch.cat([key[:, :, slice(*span.p)], key[:, :, span.k[0] : span.k[0] + last]], dim=2)
    v = torch.cat([value[:, :, slice(*span.p)], value[:, :, span.k[0] : span.k[0] + last]], dim=2)
    at, keys = (length + offsets)[:, None], torch.arange(length + last)[None]
    mask = keys <= at
    if window is not None:
        mask &= keys > at - window
    if softcap is not None:
        return _capped(q, k, v, mask, scale, softcap)
    some = None if bool(mask.all()) else mask
    return F.scaled_dot_product_attention(q, k, v, attn_mask=some, scale=scale, enable_gqa=True)


def _capped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, softcap: float) -> Tensor:
    """softmax(softcap * tanh(scores / softcap)) in float32 (Gemma 2, section 2: logit soft-capping)."""
    share = q.shape[1] // k.shape[1]
    wide_k, wide_v = (x.float().repeat_interleave(share, dim=1) for x in (k, v))
    pieces = []
    for start in range(0, q.shape[2], _CHUNK):
        rows = slice(start, start + _CHUNK)
        scores = q[:, :, rows].float() @ wide_k.transpose(2, 3) * scale
        scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~mask[rows], float("-inf"))
        pieces.append(torch.softmax(scores, dim=-1) @ wide_v)
    return torch.cat(pieces, dim=2).to(q.dtype)


_FLASH_WORKS: list[bool] = []


def flash_works() -> bool:
    """Whether this torch has the CPU kernel that `_flash` calls by its internal name, and it is right."""
    if not _FLASH_WORKS:
        made = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(1, heads, 5, 16, generator=made) for heads in (4, 2, 2))
        try:
            out, lse = _flash(q, k, v, 0.25, causal=True)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            _FLASH_WORKS.append(False)
        else:
            right = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.25, enable_gqa=True)
            shaped = lse.shape == (1, 5, 4)
            _FLASH_WORKS.append(shaped and torch.allclose(out, right.transpose(1, 2), atol=1e-5))
    return _FLASH_WORKS[0]


def kernel(name: str) -> Kernel:
    """The kernel of a name of the ladder."""
    if name == "cascade":
        return cascade
    from harness.scoring import _attention_cuda

    return {"varlen": _attention_cuda.varlen, "flex": _attention_cuda.flex}[name]


def register(name: str) -> str:
    """Make a kernel known to transformers; gives the name for `attn_implementation`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    attend = kernel(name)

    def attention(
        module: Any,  # noqa: ARG001
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,  # noqa: ARG001
        *,
        scaling: float,
        who: Attention,
        sliding_window: int | None = None,
        softcap: float | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        return attend(query, key, value, who, scaling, sliding_window, softcap), None

    known = f"harness_{name}"
    AttentionInterface.register(known, attention)
    AttentionMaskInterface.register(known, lambda *_args, **_kwargs: None)
    return known
