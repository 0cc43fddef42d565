"""Hidden states of a batch at the positions that are read: packed with shared prompts, or padded for any model.

Packed: the model's own code runs on one row of tokens with our attention (_attention); of its last layer only the
keys and values are computed for every token, all else for the rows that are read.
Whole: the model's own classes, head included, one sequence at a time.
Padded: right-padded rows without a mask. Causal models never look right, so padding cannot reach a real token.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from harness.scoring._batching import Batch, Branch, Group, bucket, packed_batches, padded_batches
from harness.scoring._layout import Attention, Layout, Rows, pack, padded
from harness.scoring._linears import FastLinears

CPU_MULTIPLE, GPU_READ_MULTIPLE = 16, 64


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """`hidden` (rows, size); the rows of branch i (groups in order) are `where[i]`, in the order asked for."""

    hidden: torch.Tensor
    where: list[list[int]]

    def of(self, branch: int) -> torch.Tensor:
        """(rows read, size) of one branch."""
        return self.hidden[torch.tensor(self.where[branch], device=self.hidden.device)]

    def last(self) -> torch.Tensor:
        """(branches, size): the last row read of each branch."""
        return self.hidden[torch.tensor([rows[-1] for rows in self.where], device=self.hidden.device)]


class Forward(Protocol):
    """One way to run a model's body over batches."""

    def plan(self, found: Iterable[Group], budget: int) -> Iterator[Batch]:
        """Groups as batches of at most `budget` computed tokens, longest first."""
        ...

    def computed(self, batch: Batch, budget: int) -> int:
        """Tokens that go through the model, padding included."""
        ...

    def __call__(self, batch: Batch, rows: Rows, budget: int) -> States:
        """Hidden states after the final norm, at the positions that `rows` names."""
        ...


class PackedForward:
    """`implementation` is the name under which a kernel of _attention is registered with transformers."""

    def __init__(self, body: Any, device: torch.device, implementation: str) -> None:
        self._body, self._device = body, device
        self._implementation = implementation
        self._fast: Callable[[], AbstractContextManager[None]] = FastLinears(body) if body is not None else nullcontext

    def plan(self, found: Iterable[Group], budget: int) -> Iterator[Batch]:
        return packed_batches(found, budget)

    def _multiple(self, budget: int) -> int:
        """Rows of a packed batch are a multiple of this: one shape for all batches on a GPU."""
        return CPU_MULTIPLE if self._device.type == "cpu" else padded(budget, 128)

    def computed(self, batch: Batch, budget: int) -> int:
        return padded(sum(group.tokens for group in batch), self._multiple(budget))

    @torch.inference_mode()
    def __call__(self, batch: Batch, rows: Rows, budget: int) -> States:
        reads = CPU_MULTIPLE if self._device.type == "cpu" else GPU_READ_MULTIPLE
        layout = pack(batch, rows, self._device, self._multiple(budget), reads)
        return States(self._run(layout), layout.where)

    def _run(self, layout: Layout) -> torch.Tensor:
        config, layers = self._body.config, self._body.layers
        own, last = config._attn_implementation, layers[-1]
        config._attn_implementation, layers[-1] = self._implementation, _LastLayer(last, layout)
        try:
            with self._fast():
                out = self._body(
                    input_ids=layout.ids, position_ids=layout.positions, use_cache=False, who=layout.full
                ).last_hidden_state
        finally:
            config._attn_implementation, layers[-1] = own, last
        states: torch.Tensor = out[0]
        return states

    @torch.inference_mode()
    def agrees(self) -> bool:
        """Whether two short sequences with a common start come out as the model's own forward pass has them."""
        made = np.arange(24, dtype=np.int32) * 7 % self._body.config.vocab_size
        batch = [Group(made[:12], (Branch(made[12:13], (0,)), Branch(made[14:], (1,))))]
        packed = self(batch, lambda group, branch: [len(group.prefix) + len(branch.suffix) - 1], 128).last()
        for i, branch in enumerate(batch[0].branches):
            ids = torch.from_numpy(np.concatenate([batch[0].prefix, branch.suffix]).astype(np.int64))[None]
            right = self._body(input_ids=ids.to(self._device), use_cache=False).last_hidden_state[0, -1]
            if right.isfinite().all() and not torch.cosine_similarity(packed[i].double(), right.double(), dim=0) > 0.95:
                return False
        return True


class _Keys:
    """Stands in for a key-value cache: the last layer asks it for keys and gets those of all tokens."""

    def __init__(self, key: torch.Tensor, value: torch.Tensor) -> None:
        self._both = key, value

    def update(self, *_args: Any, **_kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self._both


class _LastLayer(torch.nn.Module):
    """The last decoder layer for the rows that are read; the layer's own code runs, on fewer rows."""

    def __init__(self, layer: Any, layout: Layout) -> None:
        super().__init__()
        self._held = [layer]  # in a list, so that it is not registered a second time
        self._layout = layout

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._held[0], name)

    def forward(
        self,
        hidden: torch.Tensor,
        *_args: Any,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        position_ids: torch.Tensor | None = None,
        who: Attention | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Any:
        layer, read = self._held[0], self._layout.read
        cos, sin = position_embeddings
        key, value = _keys_of(layer, hidden, cos, sin)
        kwargs |= {"past_key_values": _Keys(key, value), "who": self._layout.pooled, "use_cache": False}
        if position_ids is not None:
            kwargs["position_ids"] = position_ids[:, read]
        return layer(hidden[:, read], position_embeddings=(cos[:, read], sin[:, read]), **kwargs)


def _keys_of(
    layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's rotated keys and its values for every token, (1, G, T, D) each."""
    attention = layer.self_attn
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
    x = layer.input_layernorm(hidden)
    shape = (*x.shape[:-1], -1, attention.head_dim)
    key = attention.k_proj(x).view(shape)
    norm = getattr(attention, "k_norm", None)
    key = (key if norm is None else norm(key)).transpose(1, 2)
    value = attention.v_proj(x).view(shape).transpose(1, 2)
    return rotate(key, key, cos, sin)[1], value


class PaddedForward:
    """`body` is any causal transformers model with its own attention."""

    def __init__(self, body: Any, device: torch.device) -> None:
        self._body, self._device = body, device

    def plan(self, found: Iterable[Group], budget: int) -> Iterator[Batch]:
        return padded_batches(found, budget)

    def computed(self, batch: Batch, budget: int) -> int:  # noqa: ARG002
        return len(batch) * bucket(batch[0].tokens)

    @torch.inference_mode()
    def __call__(self, batch: Batch, rows: Rows, budget: int) -> States:  # noqa: ARG002
        width = bucket(max(group.tokens for group in batch))
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        for i, group in enumerate(batch):
            length = len(group.prefix)
            ids[i, :length] = torch.from_numpy(group.prefix.copy())
            ids[i, length : group.tokens] = torch.from_numpy(group.branches[0].suffix.copy())
        hidden = self._body(input_ids=ids.to(self._device), use_cache=False).last_hidden_state
        wanted = [list(rows(group, group.branches[0])) for group in batch]
        read = torch.tensor([i * width + at for i, some in enumerate(wanted) for at in some], device=self._device)
        ends = np.cumsum([len(some) for some in wanted]).tolist()
        where = [list(range(end - len(some), end)) for end, some in zip(ends, wanted, strict=True)]
        return States(hidden.flatten(0, 1)[read], where)


class WholeForward:
    """`model` with its own head, one sequence at a time: for classes that only their authors know.

    The "hidden state" of a sequence is what the model gives for it: its logits, or whatever it returns instead.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model, self._device = model, device

    def plan(self, found: Iterable[Group], budget: int) -> Iterator[Batch]:
        return packed_batches((Group(g.prefix, (b,)) for g in found for b in g.branches), budget)

    def computed(self, batch: Batch, budget: int) -> int:  # noqa: ARG002
        return sum(group.tokens for group in batch)

    @torch.inference_mode()
    def __call__(self, batch: Batch, rows: Rows, budget: int) -> States:  # noqa: ARG002
        found = []
        for group in batch:
            ids = np.concatenate([group.prefix, group.branches[0].suffix]).astype(np.int64)
            out = self._model(input_ids=torch.from_numpy(ids)[None].to(self._device))
            found.append(_output(out).float().reshape(-1))
        return States(torch.stack(found), [[i] for i in range(len(batch))])


def _output(out: Any) -> torch.Tensor:
    """The reward tensor of a model's output: a tensor, `logits`, or the first of several."""
    if isinstance(out, torch.Tensor):
        return out
    logits = getattr(out, "logits", None)
    tensor: torch.Tensor = out[0] if logits is None else logits
    return tensor
