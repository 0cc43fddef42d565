"""Loading a candidate's model with transformers: complete weights, a known device, dtype and attention."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from harness.candidate import Candidate
from harness.config import Recipe
from harness.errors import CandidateError, ScoringError
from harness.scoring._attention import register
from harness.scoring._describe import Description
from harness.scoring._forward import Forward, PackedForward, PaddedForward, WholeForward


@dataclass(frozen=True)
class LoadedModel:
    """A model in parts: `forward` gives hidden states of its body; the head is read off `model`."""

    model: Any
    tokenizer: Any
    forward: Forward
    device: torch.device
    live: Any = None  # the LiveMerge behind `model`, of a merge made in memory

    def set_recipe(self, recipe: Recipe) -> None:
        """The weights of another lambda of the same sweep, in place."""
        self.live.set_weight(sum(expert.weight or 0.0 for expert in recipe.experts))


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers draws its own progress bars and warnings; the harness has one voice."""
    import transformers

    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)


def load_model(
    candidate: Candidate,
    found: Description,
    *,
    device: str,
    dtype: str,
    attention: str,
    task: str = "SequenceClassification",
    trusted: bool = False,
) -> LoadedModel:
    """Load a candidate's model, of transformers' auto class for `task`, and its tokenizer.

    Raises CandidateError for a folder that is not complete, ScoringError for a kernel that this model cannot use.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with quiet_transformers():
        live = None
        if candidate.recipe is not None and candidate.folder is None:
            live = _live(candidate.recipe, device, dtype)
            model, tokenizer = live.model, live.tokenizer
        else:
            model, tokenizer = _from_disk(found, dtype, task=task, trusted=trusted)
    place = torch.device(device)
    model = model.to(place).eval()
    if attention == "whole":
        return LoadedModel(model, tokenizer, WholeForward(model, place), place, live)
    if found.softcap is not None:  # transformers' other implementations leave the cap out in some versions
        model.set_attn_implementation("eager")
    if attention == "padded":
        return LoadedModel(model, tokenizer, PaddedForward(model.base_model, place), place, live)
    packed = PackedForward(model.base_model, place, register(attention))
    if not packed.agrees():
        raise ScoringError(
            f"{candidate.name}: packed scoring with --attn {attention} does not agree with the model's own forward"
            " pass under this version of transformers; use --attn padded, and please report it"
        )
    return LoadedModel(model, tokenizer, packed, place, live)


def _live(recipe: Recipe, device: str, dtype: str) -> Any:
    from harness.merging._live import LiveMerge

    return LiveMerge.of(recipe, device=device, dtype=getattr(torch, dtype))


def _from_disk(found: Description, dtype: str, *, task: str, trusted: bool) -> tuple[Any, Any]:
    import transformers
    from safetensors import SafetensorError

    kind = getattr(transformers, f"AutoModelFor{task}")
    try:
        if task == "SequenceClassification" and not trusted:
            own = _as_merged(found, dtype)
            if own is not None:
                return own, transformers.AutoTokenizer.from_pretrained(found.folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(found.folder, trust_remote_code=trusted)
        model, report = kind.from_pretrained(
            found.folder,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=trusted,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CandidateError(f"{found.folder}: transformers cannot load it: {first}") from None
    _keep_bias(model, found, report["unexpected_keys"])
    lost = sorted(report["missing_keys"])
    if lost:
        raise CandidateError(f"{found.folder}: its weights lack {len(lost)} tensors: {', '.join(lost[:8])}")
    return model, tokenizer


def _as_merged(found: Description, dtype: str) -> Any:
    """The model as merges in memory have it, so that both give the same rewards to the last bit, under whatever name
    its head has; None where it has other than one output, or where only transformers can read it.
    """
    from harness.merging._model import load_weights

    try:
        return load_weights(found.folder, getattr(torch, dtype))
    except CandidateError:
        return None


def _keep_bias(model: Any, found: Description, unexpected: Any) -> None:
    """A head's bias: transformers builds heads without one, and drops it from the checkpoint without a word."""
    if "score.bias" not in unexpected:
        return
    from safetensors import safe_open

    for path in sorted(found.folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            if "score.bias" in file.keys():  # noqa: SIM118  it is not a dict
                model.score.bias = torch.nn.Parameter(file.get_tensor("score.bias").to(model.score.weight.dtype))
