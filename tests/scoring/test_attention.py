"""Kernels against attention written out: every query over exactly the keys that its sequence allows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from harness.scoring import _attention, _attention_cuda
from harness.scoring._batching import Batch, Branch, Group
from harness.scoring._layout import Attention, Layout, pack, padded

HEADS, GROUPS, SIZE, SCALE = 4, 2, 8, 0.3
CPU = torch.device("cpu")


def batch(*sizes: tuple[int, list[int]]) -> Batch:
    """Groups of (prefix length, suffix lengths)."""
    made: Batch = []
    number = 0
    for prefix, suffixes in sizes:
        branches = [Branch(np.full(n, 7, dtype=np.int32), (number + i,)) for i, n in enumerate(suffixes)]
        number += len(suffixes)
        made.append(Group(np.full(prefix, 3, dtype=np.int32), tuple(branches)))
    return made


BATCHES = {
    "one sequence": batch((0, [5])),
    "shared prompts": batch((7, [3, 1, 6]), (4, [2]), (9, [1, 1])),
    "with and without prompts": batch((0, [6]), (5, [4, 2]), (0, [1])),
    "one token": batch((0, [1])),
}


def last(group: Group, branch: Branch) -> list[int]:
    return [len(group.prefix) + len(branch.suffix) - 1]


def whole(group: Group, branch: Branch) -> list[int]:
    """All suffix tokens and the prompt's last one (what log-probabilities need)."""
    start = max(0, len(group.prefix) - 1)
    return list(range(start, len(group.prefix) + len(branch.suffix)))


def expected(who: Attention, q: Any, k: Any, v: Any, window: int | None, softcap: float | None) -> torch.Tensor:
    """Row by row, in float64, from positions: nothing of the kernels."""
    out = torch.zeros(1, who.rows, HEADS, SIZE, dtype=torch.float64)
    for span in who.spans:
        for n, row in enumerate(range(*span.q)):
            offset = n if span.at is None else span.at[n]
            keys = [*range(*span.p), *range(span.k[0], span.k[0] + offset + 1)]
            keys = keys[-window:] if window else keys
            for head in range(HEADS):
                kk, vv = (x[0, head // (HEADS // GROUPS), keys].double() for x in (k, v))
                scores = kk @ q[0, head, row].double() * SCALE
                scores = softcap * torch.tanh(scores / softcap) if softcap else scores
                out[0, row, head] = torch.softmax(scores, 0) @ vv
    return out


def tensors(layout: Layout, who: Attention) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(layout.tokens)
    return (
        torch.randn(1, HEADS, who.rows, SIZE, generator=made),
        torch.randn(1, GROUPS, who.keys, SIZE, generator=made),
        torch.randn(1, GROUPS, who.keys, SIZE, generator=made),
    )


def plain_varlen(
    q: Any, k: Any, v: Any, cu_q: Any, cu_k: Any, max_q: int, max_k: int, *, scale: float,
    window_size: tuple[int, int], enable_gqa: bool, num_splits: int, return_aux: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """torch's varlen_attn in plain torch: bottom-right aligned windows, log-sum-exp of shape (heads, rows)."""
    assert enable_gqa
    assert num_splits == 1
    assert return_aux.lse
    share = q.shape[1] // k.shape[1]
    out, lse = torch.zeros_like(q), torch.zeros(q.shape[1], q.shape[0])
    for (a, b), (c, d) in zip(pairwise(cu_q), pairwise(cu_k), strict=True):
        assert 0 < b - a <= max_q
        assert 0 < d - c <= max_k
        kk, vv = (x[c:d].repeat_interleave(share, 1).transpose(0, 1) for x in (k, v))
        scores = q[a:b].transpose(0, 1) @ kk.transpose(1, 2) * scale
        at, keys = torch.arange(int(b - a))[:, None] + int(d - c) - int(b - a), torch.arange(int(d - c))[None]
        left, right = window_size
        allowed = torch.ones(int(b - a), int(d - c), dtype=torch.bool)
        allowed &= (keys <= at + right) if right >= 0 else True
        allowed &= (keys >= at - left) if left >= 0 else True
        scores = scores.masked_fill(~allowed, float("-inf"))
        out[a:b] = (torch.softmax(scores, -1) @ vv).transpose(0, 1)
        lse[:, a:b] = torch.logsumexp(scores, -1)
    return out, lse


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("reading", [last, whole])
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("kernel", ["cascade", "flex", "varlen"])
def test_every_query_sees_its_own_sequence(
    kernel: str, name: str, reading: Any, window: int | None, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "varlen" and (softcap or (window and name != "one token" and name != "one sequence")):
        pytest.skip("the ladder never asks varlen for it")
    if kernel == "flex" and (name == "one token" or (window is None) != (softcap is None)):
        pytest.skip("uncompiled FlexAttention is slow: two combinations suffice")
    monkeypatch.setattr(_attention_cuda, "varlen_attention", lambda: plain_varlen)
    layout = pack(BATCHES[name], reading, CPU, 16)
    for who in (layout.full, layout.pooled):
        q, k, v = tensors(layout, who)
        found = _attention.kernel(kernel)(q, k, v, who, SCALE, window, softcap)
        assert found.shape == (1, who.rows, HEADS, SIZE)
        right = expected(who, q, k, v, window, softcap)
        assert torch.allclose(found.double(), right, atol=2e-6)


def test_the_layout_puts_prefixes_first_and_reads_in_the_batchs_order() -> None:
    layout = pack(BATCHES["with and without prompts"], last, CPU, 16)
    assert layout.ids[0, :5].tolist() == [3] * 5
    assert layout.positions[0, :5].tolist() == [0, 1, 2, 3, 4]
    assert layout.tokens == 32  # 18 tokens, padded
    ends = layout.read[[rows[0] for rows in layout.where]].tolist()
    lengths = [5, 8, 6, 0]  # positions of the last tokens: 6, 5 + 4, 5 + 2 and 1 tokens
    assert layout.positions[0, ends].tolist() == lengths
    assert layout.full.shared == 2


def test_a_row_beyond_the_end_is_an_error() -> None:
    with pytest.raises(IndexError, match="beyond"):
        pack(BATCHES["one sequence"], lambda *_: [5], CPU, 16)


def test_padding_is_at_least_one_multiple() -> None:
    assert [padded(n, 16) for n in (0, 1, 16, 17)] == [16, 16, 16, 32]


def test_merging_two_parts_is_attention_over_their_union() -> None:
    made = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 4, generator=made), torch.randn(9, 4, generator=made), torch.randn(9, 4, generator=made)
    parts = [(torch.softmax(q @ k[s].T, -1) @ v[s], torch.logsumexp(q @ k[s].T, -1)) for s in (slice(4), slice(4, 9))]
    whole_row = torch.softmax(q @ k.T, -1) @ v
    assert torch.allclose(_attention.merge(*parts[0], *parts[1]), whole_row, atol=1e-6)
