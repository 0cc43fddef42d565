"""The one backend that a process has open; the merges of one sweep follow each other in its live model."""

from __future__ import annotations

from importlib.util import find_spec
from typing import cast

from harness import plugins
from harness.candidate import Candidate
from harness.scoring._describe import describe
from harness.scoring._device import has_cuda
from harness.scoring._types import Backend, ScoringOptions

VLLM_SUITS = frozenset({"llama", "mistral", "qwen2", "gemma2"})
"""model_type of the reward models whose rewards on vLLM were seen to equal transformers' (docs/scoring.md)."""


def backend_name(one: Candidate, wanted: str | None, options: ScoringOptions) -> str:
    """The backend that scores a candidate: the one asked for, unless its kind allows only one.

    Without a wish: vLLM on a GPU where it is installed and suits the model, transformers elsewhere.
    """
    if one.kind == "baseline":
        return "baseline"
    return wanted or ("vllm" if _vllm_suits(one, options) else "hf")


def _vllm_suits(one: Candidate, options: ScoringOptions) -> bool:
    if options.device not in (None, "cuda") or options.attn is not None or options.trust_remote_code:
        return False
    if find_spec("vllm") is None or not has_cuda():
        return False
    found = describe(one)
    plain = any(kind.endswith("ForSequenceClassification") for kind in found.architectures) and not found.remote_code
    return plain and found.labels == 1 and found.model_type in VLLM_SUITS


class OpenBackend:
    """One candidate's backend at a time. `wanted` is the backend's name, None for the usual one."""

    def __init__(self, wanted: str | None, options: ScoringOptions) -> None:
        self._wanted, self._options = wanted, options
        self._backend: Backend | None = None
        self._last: Candidate | None = None

    def of(self, one: Candidate) -> Backend:
        """The candidate's backend. Raises UserError where it cannot be scored."""
        if self._backend is not None and self._last is not None and one.id == self._last.id:
            return self._backend
        before = None if self._last is None else self._last.sweep
        follow = getattr(self._backend, "follow", None)
        if follow is not None and one.sweep is not None and one.sweep == before:
            self._last = None  # until it is done, the model holds nobody's weights
            follow(one)
        else:
            self._backend = self._last = None  # frees the model before the next one is loaded
            module = plugins.load(plugins.BACKENDS, backend_name(one, self._wanted, self._options))
            self._backend = cast(Backend, module.open_backend(one, self._options))
        self._last = one
        return self._backend  # type: ignore[return-value]  # set in both branches
