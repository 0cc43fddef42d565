"""A transformers reward model built from its configuration, its parameters mapped to a folder's tensors by role.

Used for merges in memory and for folders alike, so that both give the same rewards to the last bit: matrix kernels
round differently for memory that is aligned otherwise, as parameters mapped straight from a file are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.errors import CandidateError
from harness.merging._checkpoint import open_checkpoint
from harness.merging._kernel import DTYPES
from harness.merging._names import Names, check_head, classify
from harness.merging._source import MappedSource


class _Stored(Protocol):
    @property
    def dtype(self) -> str: ...
    @property
    def nbytes(self) -> int: ...


def load_reward_model(
    folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> tuple[Any, Any]:
    """(AutoModelForSequenceClassification in eval mode, tokenizer or None) of a folder, whatever its head is called.

    `dtype` defaults to that of the weights. Raises CandidateError as `load_weights` does.
    """
    return load_weights(folder, dtype).to(device), load_tokenizer(folder)


def load_weights(folder: Path, dtype: torch.dtype | None = None) -> Any:
    """The model of `load_reward_model`, on the processor. Raises CandidateError where the folder is no reward model
    with one output, or where transformers has no such class.
    """
    checkpoint = open_checkpoint(str(folder))
    names = classify(checkpoint)
    check_head(checkpoint, names)
    model = build(checkpoint.folder, checkpoint.name, names, dtype or main_dtype(checkpoint.tensors.values()))
    shapes = {name: ref.shape for name, ref in checkpoint.tensors.items()}
    source = MappedSource()
    with torch.no_grad():
        for name, parameter in targets(checkpoint.name, names, shapes, model).items():
            ref = checkpoint.tensors[name]
            parameter.copy_(source.open(ref, 0).read(0, ref.numel).view(ref.shape))
    return model


def main_dtype(tensors: Iterable[_Stored]) -> torch.dtype:
    """The dtype of most bytes: what a configuration would call the model's."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if DTYPES[tensor.dtype].is_floating_point:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.nbytes
    return DTYPES[max(sizes, key=lambda dtype: sizes[dtype])]


def build(folder: Path, name: str, names: Names, dtype: torch.dtype) -> Any:
    """An uninitialised model of the folder's configuration, with a head of the RM's form."""
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.initialization import no_init_weights

    try:
        config = AutoConfig.from_pretrained(str(folder))
        config.num_labels = 1
        with no_init_weights():
            model = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CandidateError(f"{name}: transformers has no reward model of this kind: {reason}") from None
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise CandidateError(f"{name}: transformers' {type(model).__name__} has no linear head")
    if "bias" in names.head and model.score.bias is None:
        model.score.bias = torch.nn.Parameter(torch.zeros(1, dtype=dtype))
    return model.eval()  # buffers (rotary frequencies) stay float32, as from_pretrained leaves them


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, None where it has none."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder)) if any(folder.glob("tokenizer*")) else None


def targets(name: str, names: Names, shapes: Mapping[str, tuple[int, ...]], model: Any) -> dict[str, Tensor]:
    """Stored tensor -> parameter. Raises CandidateError where a parameter would be left without a value."""
    inner = dict(model.base_model.named_parameters())
    lost = [key for key in inner if key not in names.body]
    if lost:
        raise CandidateError(f"{name}: transformers' model has parameters that the folder lacks: {', '.join(lost[:8])}")
    found: dict[str, Tensor] = {names.body[key]: parameter for key, parameter in inner.items()}
    found |= {stored: getattr(model.score, leaf) for leaf, stored in names.head.items()}
    for stored, parameter in found.items():
        if tuple(parameter.shape) != shapes[stored]:
            shape = list(parameter.shape)
            raise CandidateError(f"{name}: '{stored}' is {list(shapes[stored])}, its configuration says {shape}")
    return found
