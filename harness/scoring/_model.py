"""Loading a reward model with transformers: one scalar head, complete weights, a known device and dtype."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from harness.candidate import Candidate
from harness.errors import CandidateError, ScoringError, did_you_mean
from harness.scoring._types import ScoringOptions

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A reward model in two parts: `body` gives hidden states, `head` maps (rows, hidden) to (rows,) float32."""

    body: Any
    head: Callable[[torch.Tensor], torch.Tensor]
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    positions: int | None
    attention: str


def pick_device(wanted: str | None) -> torch.device:
    """--device, or CUDA where there is one."""
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ScoringError(f"--device {wanted}: {did_you_mean(wanted, ['cpu', 'cuda', 'cuda:0'])}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ScoringError(f"--device {wanted}: this machine has no usable CUDA device; use --device cpu")
    return device


def pick_dtype(wanted: str | None, config: Any) -> torch.dtype:
    """--dtype, or the one the checkpoint says, float32 where it says nothing."""
    if wanted is not None:
        if wanted not in DTYPES:
            raise ScoringError(f"--dtype {wanted}: {did_you_mean(wanted, DTYPES)}")
        return DTYPES[wanted]
    own = getattr(config, "dtype", None)
    return own if isinstance(own, torch.dtype) else DTYPES.get(str(own), torch.float32)


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


def check_config(config: Any, where: str) -> None:
    """Raise CandidateError unless the config describes a model with one scalar head."""
    kinds = list(getattr(config, "architectures", None) or [])
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise CandidateError(
            f"{where}: not a reward model (config.json says {', '.join(kinds) or 'no architecture'};"
            " expected one that ends with ForSequenceClassification)"
        )
    if config.num_labels != 1:
        raise CandidateError(f"{where}: not a scalar reward model (num_labels is {config.num_labels}, expected 1)")


def load_model(candidate: Candidate, options: ScoringOptions) -> LoadedModel:
    """Load a candidate's model and tokenizer. Raises CandidateError or ScoringError, one sentence each."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with quiet_transformers():
        model, tokenizer, dtype = _materialise(candidate, options)
    device = pick_device(options.device)
    model = model.to(device).eval()
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Linear):
        raise ScoringError(f"{candidate.name}: its head is not a linear layer named 'score'")
    weight = head.weight[0].float()
    bias = head.bias[0].float() if head.bias is not None else None

    def reward(hidden: torch.Tensor) -> torch.Tensor:
        """Multiply and sum in float32: unlike a GEMM, a row's result does not depend on its neighbours."""
        value = (hidden.float() * weight).sum(-1)
        return value if bias is None else value + bias

    config = model.config
    return LoadedModel(
        body=model.base_model,
        head=reward,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        positions=getattr(config, "max_position_embeddings", None),
        attention=str(getattr(config, "_attn_implementation", "eager")),
    )


def _materialise(candidate: Candidate, options: ScoringOptions) -> tuple[Any, Any, torch.dtype]:
    if candidate.recipe is not None:
        from harness.merging._live import LiveMerge

        live = LiveMerge.of(candidate.recipe)
        dtype = pick_dtype(options.dtype, live.model.config)
        return live.model.to(dtype), live.tokenizer, dtype
    if candidate.folder is None:
        raise ScoringError(f"{candidate.name} is a {candidate.kind} candidate: it has no model to load")
    return _from_disk(candidate, options)


def _from_disk(candidate: Candidate, options: ScoringOptions) -> tuple[Any, Any, torch.dtype]:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    folder = candidate.folder
    try:
        config = AutoConfig.from_pretrained(folder)
        check_config(config, str(folder))
        dtype = pick_dtype(options.dtype, config)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=dtype, output_loading_info=True, use_safetensors=True
        )
    except CandidateError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CandidateError(f"{folder}: transformers cannot load it: {first}") from None
    lost = sorted(report["missing_keys"])
    if lost:
        raise CandidateError(f"{folder}: its weights lack {len(lost)} tensors: {', '.join(lost[:8])}")
    return model, tokenizer, dtype
