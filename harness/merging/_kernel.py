"""The kernel loop: one tensor of a plan, from a source's streams into a sink's windows, the same for disk and memory.

Endpoints are copies, never arithmetic: where every expert's weight is 0 the RM's bytes are copied (lerp would turn
-0 into +0 and inf into nan), and where one weight is 1 the expert's. Everything else is computed in float32 and
rounded once to the output's dtype; the result depends on neither chunks, threads nor row order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from harness.config import Recipe
from harness.errors import MergeError
from harness.merging._checkpoint import TensorRef
from harness.merging._methods import Piece
from harness.merging._plan import MergePlan, TensorPlan

DTYPES = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Stream(Protocol):
    """One tensor of one parent, as one job reads it. A result is valid until the stream's next call."""

    def read(self, start: int, stop: int) -> Tensor:
        """Elements start..stop, flat, in the tensor's dtype."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """Whole rows by number: (len(rows), width)."""
        ...


class Source(Protocol):
    """Opens streams. `chunk` is the number of elements to take at a time where they are lifted to float32,
    `direct_chunk` where a method works on them as they are."""

    chunk: int
    direct_chunk: int

    def open(self, ref: TensorRef, slot: int) -> Stream: ...


class Sink(Protocol):
    """Where merged elements go: `window` gives the memory to write into, `commit` says it is written."""

    def window(self, tensor: TensorPlan, start: int, stop: int) -> Tensor: ...

    def commit(self, tensor: TensorPlan, start: int, stop: int, window: Tensor) -> None: ...


class Kernel:
    """Executes the tensors of one plan at the weights of one recipe."""

    def __init__(self, plan: MergePlan, recipe: Recipe, *, check: bool = True) -> None:
        """`check`: refuse NaN and infinity (parents that were checked before need no second look)."""
        self.plan, self.check = plan, check
        self.weights = [expert.weight or 0.0 for expert in recipe.experts]
        self.seed = recipe.seed
        # Endpoints are copies, so there NaN is passed on with a warning instead of refused.
        ends = ([0.0], [1.0]) if plan.method.reaches_expert else ([0.0],)
        self.copies = not plan.weights.overrides and sorted({*self.weights}) in ends
        self.warnings: list[str] = []
        self.stopped = False  # set from another thread: the next chunk raises KeyboardInterrupt
        self._rows: dict[int, Tensor] = {}

    def run(self, tensor: TensorPlan, source: Source, sink: Sink) -> None:
        """Merge one tensor. Raises MergeError naming the tensor where a value is NaN or infinite."""
        if tensor.kind == "rows":
            self._run_rows(tensor, source, sink)
            return
        rm = source.open(tensor.rm, 0)
        weights = () if tensor.kind == "keep" else self.plan.weights.at(tensor.canonical, self.weights)
        used = [i for i, weight in enumerate(weights) if weight]
        experts = [source.open(tensor.experts[i], 1 + j) for j, i in enumerate(used)]
        base = source.open(tensor.base, 1 + len(used)) if tensor.base and used else None
        count = math.prod(tensor.shape)
        for start, stop in self._chunks(count, self._step(tensor, used, count, source)):
            out = sink.window(tensor, start, stop)
            a = rm.read(start, stop)
            b = [stream.read(start, stop) for stream in experts]
            c = base.read(start, stop) if base else None
            self.combine(out, a, b, c, weights, used, tensor, partial(torch.arange, start, stop))
            self._checked(tensor, out, source)
            sink.commit(tensor, start, stop, out)

    def _step(self, tensor: TensorPlan, used: Sequence[int], count: int, source: Source) -> int:
        method = self.plan.method
        if used and not method.elementwise:
            return count
        dtypes = {tensor.dtype, tensor.rm.dtype, *(tensor.experts[i].dtype for i in used)}
        direct = method.direct is not None and len(dtypes) == 1 and tensor.base is None
        return source.direct_chunk if direct else source.chunk

    def combine(
        self, out: Tensor, rm: Tensor, experts: Sequence[Tensor], base: Tensor | None,
        weights: Sequence[float], numbers: Sequence[int], tensor: TensorPlan, positions: Callable[[], Tensor],
    ) -> None:  # fmt: skip
        """out <- method(rm, experts, base), rounded once; `numbers` are the given experts' places in `weights`."""
        method = self.plan.method
        weights = [weights[i] for i in numbers]
        if not experts:
            out.copy_(rm)
            return
        if method.reaches_expert and len(experts) == 1 and weights[0] == 1:
            out.copy_(experts[0])
            return
        piece = Piece(
            rm, tuple(experts), tuple(weights), tuple(numbers), base,
            self.plan.options, tensor.canonical, self.seed, positions,
        )  # fmt: skip
        alike = all(t.dtype == out.dtype and t.shape == out.shape for t in (rm, *experts)) and base is None
        if method.direct and alike and method.direct(out, piece):
            return
        lifted = replace(
            piece,
            rm=rm.float(),
            experts=tuple(expert.float() for expert in experts),
            base=None if base is None else base.float(),
        )
        out.copy_(method.merge(lifted))

    def _run_rows(self, tensor: TensorPlan, source: Source, sink: Sink) -> None:
        """A vocabulary tensor: each output row from the rows of its token in the parents that have it."""
        width = math.prod(tensor.shape[1:])
        weights = self.plan.weights.at(tensor.canonical, self.weights)
        streams = [source.open(ref, 1 + i) for i, ref in enumerate(tensor.experts)]
        base = source.open(tensor.base, 1 + len(streams)) if tensor.base else None
        rm = source.open(tensor.rm, 0)
        step = max(1, source.chunk // width) if self.plan.method.elementwise else tensor.shape[0]
        for first, last in self._chunks(tensor.shape[0], step):
            out = sink.window(tensor, first * width, last * width).view(last - first, width)
            self._rows_block(out, first, tensor, weights, rm, streams, base)
            self._checked(tensor, out, source)
            sink.commit(tensor, first * width, last * width, out.view(-1))

    def _rows_block(
        self, out: Tensor, first: int, tensor: TensorPlan, weights: Sequence[float],
        rm: Stream, streams: Sequence[Stream], base: Stream | None,
    ) -> None:  # fmt: skip
        """One block of output rows, from row `first` on."""
        count, width = out.shape
        kept = max(0, min(count, self.plan.alignment.rm_rows - first))  # rows that the RM has
        ids = [self._index(i)[first : first + count] for i in range(len(streams))]
        below = self._index(-1)[first : first + kept] if base else None
        used = [i for i, weight in enumerate(weights) if weight]
        groups = self._groups([ids[i][:kept] for i in used], below) if kept and used else {}
        if sum(map(len, groups.values())) < kept:
            out[:kept].copy_(rm.read(first * width, (first + kept) * width).view(kept, width))
        for group, chosen in groups.items():
            present = [used[i] for i in range(len(used)) if group >> i & 1]
            whole = len(chosen) == count
            target = out if whole else torch.empty(len(chosen), width, dtype=out.dtype, device=out.device)
            rows = chosen + first
            mine = rm.gather(rows)
            theirs = [streams[i].gather(ids[i][chosen]) for i in present]
            root = base.gather(below[chosen]) if base is not None and below is not None else None
            self.combine(target, mine, theirs, root, weights, present, tensor, partial(_grid, rows, width))
            if not whole:
                out[chosen.to(out.device)] = target
        out[kept:].zero_()  # rows that no parent has
        for row in range(kept, count):
            self._new_row(out[row], [(streams[i], ids[i][row : row + 1], weights[i]) for i in range(len(ids))])

    def _groups(self, ids: Sequence[Tensor], below: Tensor | None) -> dict[int, Tensor]:
        """Rows by which experts have them: bits over `ids` -> places. Rows that none has are left out, and rows
        that the base lacks (without a base row there is no task vector: the RM's row stays)."""
        code = torch.zeros(len(ids[0]), dtype=torch.int64)
        for i, index in enumerate(ids):
            code |= (index >= 0).long() << i
        if below is not None:
            code[below < 0] = 0
        return {int(group): (code == group).nonzero().flatten() for group in sorted(set(code.tolist())) if group}

    def _new_row(self, out: Tensor, owners: Sequence[tuple[Stream, Tensor, float]]) -> None:
        """A token that only experts have: the one owner's row as it is, or the owners' weighted mean."""
        having = [(stream, index, weight) for stream, index, weight in owners if int(index[0]) >= 0]
        if len(having) == 1:
            out.copy_(having[0][0].gather(having[0][1])[0])
        elif having:
            total = sum(weight for *_, weight in having)
            shares = [weight / total if total else 1 / len(having) for *_, weight in having]
            parts = [s.gather(i)[0].float() * share for (s, i, _), share in zip(having, shares, strict=True)]
            out.copy_(torch.stack(parts).sum(0))

    def _index(self, which: int) -> Tensor:
        if which not in self._rows:
            alignment = self.plan.alignment
            found = alignment.base if which < 0 else alignment.experts[which]
            self._rows[which] = torch.tensor(found, dtype=torch.int64)
        return self._rows[which]

    def _chunks(self, total: int, step: int) -> list[tuple[int, int]]:
        return [(start, min(start + step, total)) for start in range(0, total, max(1, step))]

    def _checked(self, tensor: TensorPlan, out: Tensor, source: Source) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        if not self.check or not out.is_floating_point() or finite(out):
            return
        guilty = self._guilty(tensor, source)
        if guilty and self.copies and out.dtype == DTYPES[tensor.rm.dtype]:
            self.warnings.append(f"{guilty} and is copied as it is")
        elif guilty:
            raise MergeError(guilty)
        else:
            raise MergeError(
                f"tensor '{tensor.name}': the merge overflows {str(out.dtype).removeprefix('torch.')}; "
                "set 'dtype: bfloat16' or 'dtype: float32'"
            )

    def _guilty(self, tensor: TensorPlan, source: Source) -> str | None:
        """Which parent's tensor is not finite, in words; None where all are (the merge overflowed)."""
        parents = [(self.plan.rm, tensor.rm), *zip(self.plan.experts, tensor.experts, strict=False)]
        if self.plan.base and tensor.base:
            parents.append((self.plan.base, tensor.base))
        for parent, ref in parents:
            stream = source.open(ref, 9)
            if not all(finite(stream.read(*span)) for span in self._chunks(ref.numel, 1 << 18)):
                return f"{parent.name}: tensor '{ref.name}' holds NaN or infinity"
        return None


def finite(values: Tensor) -> bool:
    """No NaN and no infinity. A sum sees both at the memory's speed; where it overflows itself, look again."""
    if math.isfinite(values.sum().item()):  # accumulated in float32 for half precision
        return True
    low, high = torch.aminmax(values)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _grid(rows: Tensor, width: int) -> Tensor:
    """Positions of the elements of whole rows."""
    return rows[:, None] * width + torch.arange(width)
