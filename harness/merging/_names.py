"""Tensor names: every checkpoint's own spelling <-> one canonical body, a bijection; and the heads that are known.

The body is what lies beside the token embedding: `model.layers.0...` in one folder and `base_model.model.layers.0...`
in another are both `layers.0...`. What lies outside is a reward head, a language-model head, or unknown (an error).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import CandidateError
from harness.merging._checkpoint import Checkpoint

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight")
LM_HEADS = ("lm_head", "embed_out", "output")
# Reward heads by the name of their module, each a linear map to one number. A newcomer adds a line.
HEADS = ("score", "v_head.summary", "v_head", "value_head", "regression_head", "reward_head", "classifier", "rm_head")
# Parts of a multimodal model that no text passes through: kept from the RM, ignored in an expert.
_SIDE_PARTS = ("vision_tower", "vision_model", "multi_modal_projector", "visual", "audio_tower")
_BUFFERS = re.compile(r"(^|\.)(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias|attention\.bias|position_ids)$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


@dataclass(frozen=True)
class Names:
    """The tensors of one checkpoint by role. `body`: canonical name -> the folder's name."""

    embedding: str  # canonical
    body: dict[str, str]
    head: dict[str, str]  # "weight" / "bias" -> name, of the one reward head; {} where there is none
    lm_head: str | None
    rest: tuple[str, ...]  # side parts and buffers: kept from the RM as they are
    unknown: tuple[str, ...]


def classify(checkpoint: Checkpoint) -> Names:
    """Sort a checkpoint's tensors into body, reward head, language-model head and the rest.

    Raises CandidateError where no token embedding can be told, or where two reward heads are found.
    """
    names = list(checkpoint.tensors)
    found = [n for n in names if f".{n}".endswith(tuple(f".{e}" for e in EMBEDDINGS)) and not _is_side(n)]
    if len(found) != 1:
        what = "no token embedding" if not found else f"{len(found)} token embeddings ({', '.join(found)})"
        raise CandidateError(f"{checkpoint.name}: {what} among its {len(names)} tensors ({_some(names)})")
    embedding = _tail(found[0])
    prefix = found[0][: -len(embedding)]
    heads: dict[str, dict[str, str]] = {}
    body: dict[str, str] = {}
    lm_head, rest, unknown = None, [], []
    outer = _outer(prefix)
    for name in names:
        stem, _, leaf = _relative(name, outer).rpartition(".")
        if _BUFFERS.search(name) or _is_side(name):
            rest.append(name)
        elif stem in HEADS and leaf in ("weight", "bias"):
            heads.setdefault(stem, {})[leaf] = name
        elif stem in LM_HEADS and leaf == "weight":
            lm_head = name
        elif name.startswith(prefix):
            body[name[len(prefix) :]] = name
        else:
            unknown.append(name)
    if len(heads) > 1:
        raise CandidateError(f"{checkpoint.name}: has {len(heads)} reward heads ({', '.join(heads)}): one must be left")
    return Names(embedding, body, next(iter(heads.values()), {}), lm_head, tuple(rest), tuple(unknown))


def _tail(name: str) -> str:
    return next(e for e in EMBEDDINGS if name.endswith(e))


def _outer(prefix: str) -> list[str]:
    """Prefixes that a head may carry: every leading part of the body's own."""
    parts = prefix.rstrip(".").split(".") if prefix else []
    return ["".join(f"{p}." for p in parts[:i]) for i in range(len(parts), -1, -1)]


def _relative(name: str, outer: Iterable[str]) -> str:
    return next(name[len(prefix) :] for prefix in outer if name.startswith(prefix))


def _is_side(name: str) -> bool:
    return any(part in _SIDE_PARTS for part in name.split("."))


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def layer_of(canonical: str) -> int | None:
    """The number of the transformer layer that a canonical name belongs to, None outside of layers."""
    found = _LAYER.search(f".{canonical}")
    return int(found.group(1)) if found else None


def check_head(checkpoint: Checkpoint, names: Names) -> None:
    """Raise CandidateError unless there is one reward head with one output and nothing of unknown purpose."""
    if not names.head:
        seen = [name for name in (names.lm_head, *names.unknown) if name]
        raise CandidateError(
            f"{checkpoint.name}: is not a reward model: it has no reward head"
            + (f" (outside of its body: {', '.join(seen[:8])})" if seen else "")
        )
    ref = checkpoint.tensors[names.head["weight"]] if "weight" in names.head else None
    if ref is None or len(ref.shape) != 2 or ref.shape[0] != 1:
        shape = "no weight" if ref is None else f"shape {list(ref.shape)}"
        raise CandidateError(
            f"{checkpoint.name}: its reward head has {shape}; a reward needs [1, hidden size] (num_labels 1)"
        )
    wide, config = ref.shape[1], checkpoint.config
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    hidden = next((text[key] for key in ("hidden_size", "n_embd", "d_model") if key in text), wide)
    if wide != hidden:
        raise CandidateError(
            f"{checkpoint.name}: its reward head takes {wide} numbers, its hidden states have {hidden} (config.json)"
        )
    bias = checkpoint.tensors[names.head["bias"]].shape if "bias" in names.head else (1,)
    if bias != (1,):
        raise CandidateError(f"{checkpoint.name}: its reward head's bias has shape {list(bias)}; a reward needs [1]")
    if names.unknown:
        raise CandidateError(f"{checkpoint.name}: has tensors of unknown purpose: {', '.join(names.unknown[:8])}")
