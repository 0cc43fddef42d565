"""Do two configurations describe the same function of the weights? Shapes are checked elsewhere, by tensor."""

from __future__ import annotations

from typing import Any

from harness.errors import CandidateError, MergeError
from harness.merging._checkpoint import Checkpoint

# Fields that change what the same weights compute. Others (lengths, token ids, dtypes, dropout) stay the RM's.
_MEANING = [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "activation_function",
    "rms_norm_eps",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rope_local_base_freq",
    "partial_rotary_factor",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "layer_types",
    "sliding_window_pattern",
    "attention_bias",
    "mlp_bias",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "use_qk_norm",
    "residual_multiplier",
    "attention_multiplier",
    "embedding_multiplier",
]


def check_kind(rm: Checkpoint, other: Checkpoint) -> None:
    """Raise MergeError where the architectures differ."""
    mine, theirs = _kind(rm), _kind(other)
    if mine != theirs:
        raise MergeError(
            f"{rm.name} is a {mine} model and {other.name} is a {theirs} model: a merge needs one architecture"
        )


def check_meaning(rm: Checkpoint, other: Checkpoint) -> None:
    """Raise MergeError where the configurations give equal tensors different meanings."""
    a, b = _text(rm.config), _text(other.config)
    differing = _differing(a, b)
    if differing:  # a default left out in one file is no difference
        a, b = _filled(rm), _filled(other)
        differing = _differing(a, b)
    if differing:
        shown = "; ".join(f"{key} is {a.get(key)} against {b.get(key)}" for key in differing)
        raise MergeError(
            f"{rm.name} and {other.name} give the same weights different meanings: {shown}; "
            "the option 'config: rm' merges them all the same, with the RM's configuration"
        )


def _kind(checkpoint: Checkpoint) -> str:
    kind = checkpoint.config.get("model_type")
    if not isinstance(kind, str):
        raise CandidateError(f"{checkpoint.name}: config.json has no model_type")
    return kind.removesuffix("_text")


def _text(config: dict[str, Any]) -> dict[str, Any]:
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [key for key in _MEANING if a.get(key) != b.get(key)]


def _filled(checkpoint: Checkpoint) -> dict[str, Any]:
    """The configuration as transformers completes it; as written where transformers does not know the model."""
    from transformers import AutoConfig

    try:
        return _text(AutoConfig.from_pretrained(str(checkpoint.folder)).to_dict())
    except Exception:  # noqa: BLE001  a configuration fails in as many ways as there are models
        return _text(checkpoint.config)
