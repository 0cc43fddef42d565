"""Runs inside vLLM's worker (`worker_extension_cls`): gives a live engine the weights of a merge.

vLLM's CPU kernels keep prepacked copies of the weights, so editing parameters in place changes nothing; only its own
reload does. Merged tensors come from the same kernel that writes merged folders.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from harness.config import Recipe
from harness.merging._kernel import DTYPES, Kernel
from harness.merging._plan import MergePlan, TensorPlan, plan_merge
from harness.merging._source import MappedSource


class WholeTensor:
    """A sink that keeps one merged tensor at a time."""

    def __init__(self) -> None:
        self.tensor = torch.empty(0)

    def window(self, tensor: TensorPlan, start: int, stop: int) -> torch.Tensor:
        if start == 0:
            self.tensor = torch.empty(math.prod(tensor.shape), dtype=DTYPES[tensor.dtype])
        return self.tensor[start:stop]

    def commit(self, tensor: TensorPlan, start: int, stop: int, window: torch.Tensor) -> None:
        """Nothing to do: windows are views of the tensor."""


def merged_tensors(plan: MergePlan, recipe: Recipe) -> Iterator[tuple[str, torch.Tensor]]:
    """(name as in the checkpoint, merged tensor), one at a time."""
    kernel, source = Kernel(plan, recipe), MappedSource()
    for tensor in plan.tensors:
        sink = WholeTensor()
        kernel.run(tensor, source, sink)
        yield tensor.name, sink.tensor.view(tensor.shape)


class MergeWorker:
    """Mixed into vLLM's worker class; called by name through `collective_rpc`."""

    reload_weights: Any  # vLLM's own

    def load_merge(self, recipe_json: str) -> None:
        """Replace the model's weights by those of a recipe. The caller resets the prefix cache afterwards."""
        recipe = Recipe.model_validate_json(recipe_json)
        self.reload_weights(weights_iterator=merged_tensors(plan_merge(recipe), recipe))
