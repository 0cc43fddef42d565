"""The CUDA kernels of the ladder. Their arithmetic is tested on CPU, against the same function in plain torch."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch

from harness.scoring._attention import Tensor, merge
from harness.scoring._layout import Attention

VARLEN_DTYPES = (torch.bfloat16, torch.float16)


def varlen_attention() -> Callable[..., Any] | None:
    """torch's variable-length flash attention, or None where this torch has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def _attend(
    q: Tensor, k: Tensor, v: Tensor, cu: tuple[Tensor, Tensor, int, int], scale: float, window: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """One call, without split keys: a sequence's result then does not depend on its neighbours' lengths."""
    from torch.nn.attention.varlen import AuxRequest

    attend = varlen_attention()
    assert attend is not None, "choose_attention allows varlen only where torch has it"
    cu_q, cu_k, max_q, max_k = cu
    out, lse = attend(
        q, k, v, cu_q, cu_k, max_q, max_k,
        scale=scale, window_size=window, enable_gqa=True, num_splits=1, return_aux=AuxRequest(lse=True),
    )  # fmt: skip
    return out, lse


def _cumulative(lengths: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *lengths], device=device).cumsum(0).to(torch.int32)


def _sizes(ranges: Sequence[tuple[int, int]]) -> list[int]:
    return [end - start for start, end in ranges]


def _own(who: Attention) -> tuple[tuple[Tensor, Tensor, int, int], int, int]:
    """Cumulative lengths of every span's queries and own keys, the first key row and one past the last."""
    if "own" not in who.cache:
        queries, keys = _sizes([s.q for s in who.spans]), _sizes([s.k for s in who.spans])
        cu = _cumulative(queries, who.device), _cumulative(keys, who.device), max(queries), max(keys)
        who.cache["own"] = cu, who.spans[0].k[0], who.spans[-1].k[1]
    found: tuple[tuple[Tensor, Tensor, int, int], int, int] = who.cache["own"]
    return found


def _prefixes(who: Attention) -> tuple[tuple[Tensor, Tensor, int, int], tuple[int, int], int]:
    """The same for responses against their group's prefix; the query rows concerned, and where prefix keys end."""
    if "prefixes" not in who.cache:
        spans = [s for s in who.spans if s.p[1] > s.p[0]]
        rows: dict[tuple[int, int], int] = {}
        for span in spans:
            rows[span.p] = rows.get(span.p, 0) + span.q[1] - span.q[0]
        keys = _sizes(list(rows))
        queries = list(rows.values())
        cu = _cumulative(queries, who.device), _cumulative(keys, who.device), max(queries), max(keys)
        who.cache["prefixes"] = cu, (spans[0].q[0], spans[-1].q[1]), spans[-1].p[1]
    found: tuple[tuple[Tensor, Tensor, int, int], tuple[int, int], int] = who.cache["prefixes"]
    return found


def varlen(
    query: Tensor, key: Tensor, value: Tensor, who: Attention, scale: float, window: int | None, _softcap: float | None
) -> Tensor:
    """Every span against its own keys (causal), then all responses of a group against its prefix, merged.

    Sequences longer than a sliding window must come without a prefix (the encoder's split is 0 then).
    """
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    out = q.new_zeros(who.rows, *q.shape[1:])
    cu, start, end = _own(who)
    real = who.spans[-1].q[1]
    mine, mine_lse = _attend(q[:real], k[start:end], v[start:end], cu, scale, (-1 if window is None else window - 1, 0))
    out[:real] = mine
    if who.shared:
        cu, (first, last), keys = _prefixes(who)
        theirs, theirs_lse = _attend(q[first:last], k[:keys], v[:keys], cu, scale, (-1, -1))
        rows = slice(first, last)
        merged = merge(theirs.transpose(0, 1), theirs_lse, mine[rows].transpose(0, 1), mine_lse[:, rows])
        out[rows] = merged.transpose(0, 1)
    return out[None]


def flex(
    query: Tensor, key: Tensor, value: Tensor, who: Attention, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """One call with the tree of prefixes and responses as its mask, and soft-capping as its score function."""
    if ("mask", window) not in who.cache:
        who.cache["mask", window] = _tree_mask(who, window)

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap) if softcap is not None else score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on CPU it is not compiled (tests only), and says so
        out = _flex(query.device.type)(
            query, key, value, score_mod=capped if softcap is not None else None,
            block_mask=who.cache["mask", window], scale=scale, enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
    seen: Tensor = out.transpose(1, 2)
    return seen.masked_fill(~_labels(who)["real"][None, :, None, None], 0.0)  # padding rows saw no key


@functools.cache
def _flex(device: str) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    chosen: Any = torch.compile(flex_attention, dynamic=False) if device == "cuda" else flex_attention
    return cast("Callable[..., Any]", chosen)


def _labels(who: Attention) -> dict[str, Tensor]:
    """For each row and key: its sequence, its group's first key, its position; -1 for padding."""
    if "labels" not in who.cache:
        table = {name: torch.full((who.rows,), -1) for name in ("q_own", "q_group", "q_at")}
        table |= {name: torch.full((who.keys,), -1) for name in ("k_own", "k_at")}
        for span in who.spans:
            length = span.p[1] - span.p[0]
            offsets = torch.arange(span.k[1] - span.k[0]) if span.at is None else torch.tensor(span.at)
            rows, keys = slice(*span.q), slice(*span.k)
            table["q_own"][rows], table["k_own"][keys] = span.k[0], span.k[0]
            table["q_group"][rows] = span.p[0] if length else -2
            table["q_at"][rows] = length + offsets
            table["k_at"][keys] = length + torch.arange(span.k[1] - span.k[0])
            if length:  # in the last layer the prefix may have no queries of its own
                table["k_own"][slice(*span.p)], table["k_at"][slice(*span.p)] = span.p[0], torch.arange(length)
        table["real"] = table["q_own"] >= 0
        who.cache["labels"] = {name: tensor.to(who.device) for name, tensor in table.items()}
    found: dict[str, Tensor] = who.cache["labels"]
    return found


def _tree_mask(who: Attention, window: int | None) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    t = _labels(who)

    def sees(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        mine = t["k_own"][k] == t["q_own"][q]
        prompt = t["k_own"][k] == t["q_group"][q]
        allowed = (mine | prompt) & (t["k_at"][k] <= t["q_at"][q]) & (t["q_own"][q] >= 0)
        return allowed if window is None else allowed & (t["k_at"][k] > t["q_at"][q] - window)

    return create_block_mask(sees, B=None, H=None, Q_LEN=who.rows, KV_LEN=who.keys, device=str(who.device))
