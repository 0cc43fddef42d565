"""What a model folder says about itself, read from its JSON files: no torch, no weights, a few milliseconds.

The protocol is made from this, so that a run whose rewards are all stored is recognised without loading a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.candidate import Candidate
from harness.errors import CandidateError, ScoringError, did_you_mean
from harness.merging._checkpoint import open_checkpoint, read_json
from harness.merging._names import check_head, classify

DTYPES = ("float32", "bfloat16", "float16")
_UNBOUNDED = 1_000_000  # tokenizers without a limit say 1e30


@dataclass(frozen=True, slots=True)
class Description:
    """A checkpoint's own settings. `window` is the shortest sliding window of its layers, in tokens."""

    folder: Path
    architectures: tuple[str, ...]
    model_type: str
    labels: int
    dtype: str
    positions: int | None
    limit: int | None  # the tokenizer's model_max_length
    template: str | None
    window: int | None
    softcap: float | None
    causal: bool
    remote_code: bool


def model_folder(candidate: Candidate) -> Path:
    """Folder whose config, tokenizer and template a candidate has: its own, or those of a recipe's reward model."""
    if candidate.folder is not None:
        return candidate.folder
    if candidate.recipe is None:
        raise ScoringError(f"{candidate.name} is a {candidate.kind} candidate: it has no model to load")
    return Path(candidate.recipe.rm)  # a candidate's recipe names local folders


def describe(candidate: Candidate) -> Description:
    """Read a candidate's config, tokenizer config and chat template. Raises CandidateError."""
    folder = model_folder(candidate)
    config = read_json(folder / "config.json")
    tokenizer_file = folder / "tokenizer_config.json"
    tokenizer = read_json(tokenizer_file) if tokenizer_file.is_file() else {}
    nested = config.get("text_config")
    text = nested if isinstance(nested, dict) else config
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    if candidate.recipe is not None and candidate.recipe.dtype != "rm":
        dtype = candidate.recipe.dtype
    limit = tokenizer.get("model_max_length")
    return Description(
        folder=folder,
        architectures=tuple(config.get("architectures") or ()),
        model_type=str(text.get("model_type", "")),
        labels=_labels(config),
        dtype=str(dtype).removeprefix("torch."),
        positions=text.get("max_position_embeddings"),
        limit=int(limit) if limit and limit < _UNBOUNDED else None,
        template=_template(folder, tokenizer),
        window=_window(text),
        softcap=text.get("attn_logit_softcapping"),
        causal=not text.get("use_bidirectional_attention") and text.get("is_causal", True) is not False,
        remote_code=bool(config.get("auto_map")),
    )


def _labels(config: Mapping[str, Any]) -> int:
    """num_labels as transformers understands a config: the size of id2label, 2 when it says nothing."""
    names = config.get("id2label")
    return len(names) if names else int(config.get("num_labels", 2))


def _window(text: Mapping[str, Any]) -> int | None:
    window = text.get("sliding_window")
    if not window or text.get("use_sliding_window") is False:
        return None
    kinds = text.get("layer_types")
    return None if kinds and "sliding_attention" not in kinds else int(window)


def _template(folder: Path, tokenizer: Mapping[str, Any]) -> str | None:
    """The chat template: chat_template.jinja, else the tokenizer config's (the one named default of several)."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CandidateError(f"{path}: cannot be read ({error})") from None
    own = tokenizer.get("chat_template")
    if isinstance(own, list):
        own = next((t.get("template") for t in own if t.get("name") == "default"), None)
    return own if isinstance(own, str) and own else None


def check_reward_model(
    found: Description, *, labels: int | None = 1, trusted: bool = False, any_head: bool = False
) -> None:
    """Raise CandidateError unless it is a sequence classifier with `labels` outputs (None: any number).

    `any_head`: a value head or another known one among its tensors will do, whatever class config.json names.
    """
    if any_head and not found.remote_code and has_other_head(found.folder):
        return
    kinds = found.architectures
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds) and not (trusted and found.remote_code):
        advice = "; its classes are its own: --trust-remote-code runs them" if found.remote_code else ""
        raise CandidateError(
            f"{found.folder}: not a reward model (config.json says {', '.join(kinds) or 'no architecture'};"
            f" expected one that ends with ForSequenceClassification){advice}"
        )
    if labels is not None and found.labels != labels and not found.remote_code:
        raise CandidateError(f"{found.folder}: not a scalar reward model (num_labels is {found.labels}, expected 1)")


def has_other_head(folder: Path) -> bool:
    """Is there one reward head with one output, by a name that transformers (and so config.json) does not know?"""
    try:
        checkpoint = open_checkpoint(str(folder))
        names = classify(checkpoint)
        check_head(checkpoint, names)
    except CandidateError:
        return False
    return not any("score" in name.split(".") for name in names.head.values())


def choose_dtype(wanted: str | None, found: Description, device: str) -> str:
    """--dtype; else float32 on a CPU, where half precision is many times slower, and the checkpoint's own on a GPU."""
    if wanted is not None and wanted not in DTYPES:
        raise ScoringError(f"--dtype {wanted}: {did_you_mean(wanted, DTYPES)}")
    chosen = wanted or ("float32" if device == "cpu" else found.dtype)
    return chosen if chosen in DTYPES else "float32"
