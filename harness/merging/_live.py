"""A merged reward model in memory: parents are held once, and each lambda overwrites the parameters in place.

The same kernel writes folders and parameters, so a reward from memory is a reward from disk, and going back to a
lambda gives the same bytes. Nothing is written to disk, apart from a temporary tokenizer folder.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from harness.config import Recipe
from harness.merging._checkpoint import TensorRef
from harness.merging._kernel import DTYPES, Kernel, Stream
from harness.merging._model import build, load_tokenizer, main_dtype, targets
from harness.merging._plan import MergePlan, TensorPlan, plan_merge
from harness.merging._sidecars import write_sidecars
from harness.merging._source import MappedSource, MemoryStream


class LiveMerge:
    """One transformers model whose weights follow lambda.

    `model` is an AutoModelForSequenceClassification on `device` in `dtype` (default: the output's own), in eval mode;
    `tokenizer` the merged tokenizer. `set_weight` changes the model's parameters in place.
    """

    def __init__(
        self, plan: MergePlan, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> None:
        """Build the model; its weights are those of the recipe, or of the sweep's first lambda."""
        self.plan, self.device = plan, torch.device(device)
        with tempfile.TemporaryDirectory(prefix="harness-live-") as place:
            write_sidecars(plan, Path(place))
            wanted = dtype or main_dtype(plan.tensors)
            self.model = build(Path(place), plan.rm.name, plan.rm.names, wanted).to(self.device)
            self.tokenizer = load_tokenizer(Path(place))
        shapes = {tensor.name: tensor.shape for tensor in plan.tensors}
        self._targets = targets(plan.rm.name, plan.rm.names, shapes, self.model)
        compute = (
            self.device if self.device.type == "cpu" or same_arithmetic(plan, self.device) else torch.device("cpu")
        )
        self._source = MappedSource() if compute.type == "cpu" else DeviceSource(compute)
        self._sink = ParameterSink(self._targets, compute)
        self._checked: set[str] = set()
        self.warnings: list[str] = []
        if plan.recipe.sweep is None:
            self._apply(plan.recipe)
        else:
            self.set_weight(plan.recipe.sweep[0])

    @classmethod
    def of(cls, recipe: Recipe, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> LiveMerge:
        """Plan and build. Raises CandidateError or MergeError as `plan_merge` does."""
        return cls(plan_merge(recipe), device=device, dtype=dtype)

    def set_weight(self, weight: float) -> None:
        """Make the model the merge at this lambda (several experts share it equally). Same bytes at every visit."""
        self._apply(self.plan.recipe.at(weight))

    def _apply(self, recipe: Recipe) -> None:
        # Parents that were seen to be finite need no second look where the result lies between them.
        kernel = Kernel(self.plan, recipe)
        with torch.no_grad():
            for tensor in self.plan.tensors:
                if tensor.name not in self._targets:
                    continue
                kernel.check = tensor.name not in self._checked
                kernel.run(tensor, self._source, self._sink)
                if not kernel.copies and _bounded(self.plan, tensor):
                    self._checked.add(tensor.name)
        self.warnings = kernel.warnings


def _bounded(plan: MergePlan, tensor: TensorPlan) -> bool:
    dtypes = {tensor.rm.dtype, *(ref.dtype for ref in tensor.experts)}
    return plan.method.bounded and dtypes == {tensor.dtype}


def same_arithmetic(plan: MergePlan, device: torch.device) -> bool:
    """Does this device give the processor's bytes for this method? Where it does not (other fused operations, say),
    merges are computed on the processor and uploaded, so that a reward never depends on where the merge was made.
    """
    tensor = next(tensor for tensor in plan.tensors if tensor.kind == "body")
    count, generator = 1 << 20, torch.Generator().manual_seed(0)
    roles = [tensor.rm, *tensor.experts, *([tensor.base] if tensor.base else [])]
    parts = [torch.randn(count, generator=generator).to(DTYPES[ref.dtype]) for ref in roles]
    shares = [0.37 / len(tensor.experts)] * len(tensor.experts)
    found = []
    for place in (torch.device("cpu"), device):
        rm, *rest = (part.to(place) for part in parts)
        base = rest.pop() if tensor.base else None
        out = torch.empty(count, dtype=DTYPES[tensor.dtype], device=place)
        kernel = Kernel(plan, plan.recipe)
        kernel.combine(out, rm, rest, base, shares, range(len(rest)), tensor, partial(torch.arange, count))
        found.append(out.cpu().view(torch.uint8))
    return torch.equal(*found)


class ParameterSink:
    """Windows into the parameters themselves where dtype and device allow, else a buffer that is copied over."""

    def __init__(self, targets: dict[str, Tensor], compute: torch.device) -> None:
        self._flat = {name: parameter.detach().view(-1) for name, parameter in targets.items()}
        self._compute = compute

    def _direct(self, tensor: TensorPlan) -> bool:
        target = self._flat[tensor.name]
        return target.dtype == DTYPES[tensor.dtype] and target.device.type == self._compute.type

    def window(self, tensor: TensorPlan, start: int, stop: int) -> Tensor:
        if self._direct(tensor):
            return self._flat[tensor.name][start:stop]
        return torch.empty(stop - start, dtype=DTYPES[tensor.dtype], device=self._compute)

    def commit(self, tensor: TensorPlan, start: int, stop: int, window: Tensor) -> None:
        if not self._direct(tensor):  # rounded to the output's dtype first, as a reload from disk would
            self._flat[tensor.name][start:stop].copy_(window)


class DeviceSource:
    """Parents held on an accelerator, uploaded at first use."""

    chunk = direct_chunk = 1 << 24

    def __init__(self, device: torch.device) -> None:
        self._device, self._host = device, MappedSource()
        self._held: dict[tuple[Path, str], Tensor] = {}

    def open(self, ref: TensorRef, slot: int) -> Stream:
        key = ref.path, ref.name
        if key not in self._held:
            whole = self._host.open(ref, slot).read(0, ref.numel).view(ref.shape)
            self._held[key] = whole.to(self._device)
        return MemoryStream(self._held[key])
