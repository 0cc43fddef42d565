"""Which attention: `--attn`, or the first rung of the ladder that is right for this model here. Recorded."""

from __future__ import annotations

from harness.errors import ScoringError, did_you_mean
from harness.scoring._describe import Description

ATTENTIONS = ("cascade", "varlen", "flex", "padded", "whole")
PACKABLE = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"})
"""model_type of the architectures whose attention is causal, rotary and goes through transformers' interface."""


def choose_attention(wanted: str | None, found: Description, device: str, dtype: str) -> str:
    """The kernel's name. Raises ScoringError for one that cannot score this model here."""
    cuda = device.startswith("cuda")
    packable = found.model_type in PACKABLE and found.causal
    if found.remote_code:
        if wanted not in (None, "whole"):
            raise ScoringError(f"--attn {wanted}: a model with classes of its own is only scored with --attn whole")
        return "whole"
    if wanted is None:
        if not packable:
            return "padded"
        if not cuda:
            return "cascade"
        return "varlen" if _varlen_fits(found, dtype) else "flex"
    if wanted not in ATTENTIONS:
        raise ScoringError(f"--attn {wanted}: {did_you_mean(wanted, ATTENTIONS)}")
    if wanted not in ("padded", "whole") and not packable:
        raise ScoringError(f"--attn {wanted}: a '{found.model_type}' model can only be scored with --attn padded")
    if wanted == "varlen" and not (cuda and _varlen_fits(found, dtype)):
        raise ScoringError("--attn varlen needs CUDA, bfloat16 or float16, a recent torch and a model without soft cap")
    if wanted == "cascade" and cuda:
        raise ScoringError("--attn cascade is for the CPU: use varlen, flex or padded on CUDA")
    return wanted


def _varlen_fits(found: Description, dtype: str) -> bool:
    if found.softcap is not None or dtype == "float32":
        return False
    from harness.scoring._attention_cuda import varlen_attention

    return varlen_attention() is not None
