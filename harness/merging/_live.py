"""A merged reward model in memory: parents are held once, and each lambda overwrites the parameters in place.

The same kernel writes folders and parameters, so a reward from memory is a reward from disk, and going back to a
lambda gives the same bytes. Nothing is written to disk, apart from a temporary tokenizer folder.
"""

from __future__ import annotations

import tempfile
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
        self._source = MappedSource() if self.device.type == "cpu" else DeviceSource(self.device)
        self._sink = ParameterSink(self._targets, self.device)
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


class ParameterSink:
    """Windows into the parameters themselves where dtype and device allow, else a buffer that is copied over."""

    def __init__(self, targets: dict[str, Tensor], device: torch.device) -> None:
        self._flat = {name: parameter.detach().view(-1) for name, parameter in targets.items()}
        self._device = device

    def window(self, tensor: TensorPlan, start: int, stop: int) -> Tensor:
        target, dtype = self._flat[tensor.name], DTYPES[tensor.dtype]
        if target.dtype == dtype:
            return target[start:stop]
        return torch.empty(stop - start, dtype=dtype, device=self._device)

    def commit(self, tensor: TensorPlan, start: int, stop: int, window: Tensor) -> None:
        target = self._flat[tensor.name]
        if target.dtype != window.dtype:
            target[start:stop].copy_(window)  # rounded to the output's dtype first, as a reload from disk would


class DeviceSource:
    """Parents held on an accelerator, uploaded at first use."""

    chunk = 1 << 24

    def __init__(self, device: torch.device) -> None:
        self._device, self._host = device, MappedSource()
        self._held: dict[tuple[Path, str], Tensor] = {}

    def open(self, ref: TensorRef, slot: int) -> Stream:
        key = ref.path, ref.name
        if key not in self._held:
            whole = self._host.open(ref, slot).read(0, ref.numel).view(ref.shape)
            self._held[key] = whole.to(self._device)
        return MemoryStream(self._held[key])
