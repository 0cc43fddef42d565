"""transformers' generate, on CPU or CUDA: a question's samples are one batch, prompts are never padded.

Every sample has its own stream of uniform numbers (Philox, keyed by its seed); a token is where the stream's next
number falls in the distribution's cumulated mass, largest probability first. The model's own generation settings
(penalties, top_k, ...) are put aside: what is recorded is what was used.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import CandidateError, ScoringError
from harness.generation._types import Engine, EngineOptions, Job, Sampled

if TYPE_CHECKING:
    import torch


def pick(scores: torch.Tensor, draws: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """The sampled token of each row. scores: (rows, vocabulary) logits; draws: (rows,) uniform in [0, 1).

    Nucleus sampling (arXiv:1904.09751, section 3.1): only the fewest tokens whose mass reaches `top_p` can be drawn.
    """
    import torch

    mass = torch.softmax(scores.double() / temperature, dim=-1)
    ranked, order = torch.sort(mass, dim=-1, descending=True, stable=True)
    upto = torch.cumsum(ranked, dim=-1)
    kept = (upto - ranked < top_p).sum(dim=-1, keepdim=True)  # the first token always is
    reached = draws.to(upto.device).unsqueeze(1) * upto.gather(1, kept - 1)
    place = torch.minimum(torch.searchsorted(upto, reached, right=True), kept - 1)
    return order.gather(1, place).squeeze(1)


def _chooser(seeds: Sequence[int], steps: int, temperature: float, top_p: float) -> Any:
    """A logits processor that leaves one token a row, so that greedy search draws samples."""
    import torch
    from transformers import LogitsProcessor

    streams = np.stack([np.random.Generator(np.random.Philox(key=seed)).random(steps) for seed in seeds])
    draws = torch.from_numpy(streams)

    class Chooser(LogitsProcessor):  # type: ignore[misc]
        step = 0

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
            chosen = pick(scores, draws[:, self.step], temperature, top_p)
            self.step += 1
            return torch.full_like(scores, float("-inf")).scatter_(1, chosen.unsqueeze(1), 0.0)

    return Chooser()


def load_policy(folder: Path, dtype: str) -> Any:
    """A causal language model with all its weights. Raises CandidateError, one sentence."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()  # the harness has one voice
    transformers.logging.set_verbosity_error()
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), output_loading_info=True, use_safetensors=True
        )
    except Exception as error:  # noqa: BLE001  damaged weights, unknown architectures, missing files: many kinds
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CandidateError(f"{folder}: transformers cannot load it: {first}") from None
    lost = sorted(report["missing_keys"])
    if lost:
        raise CandidateError(f"{folder}: its weights lack {len(lost)} tensors: {', '.join(lost[:8])}")
    return model


class HfEngine:
    """Samples with a causal language model."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._model: Any = None

    def versions(self) -> Mapping[str, str]:
        return {name: version(name) for name in ("torch", "transformers", "numpy")}

    def generate(self, jobs: Sequence[Job]) -> Iterator[Sampled]:
        import torch

        self._load()
        for job in jobs:
            try:
                yield self._sample(job)
            except torch.OutOfMemoryError:
                raise ScoringError(
                    f"the {job.n} samples of question {job.example_id} do not fit into the memory of"
                    f" {self._options.device}: give --dtype bfloat16, a smaller --max-tokens, or --backend vllm"
                ) from None

    def _load(self) -> None:
        if self._model is not None:
            return
        from transformers import GenerationConfig

        o = self._options
        self._model = load_policy(o.found.folder, o.dtype).to(o.device).eval()
        self._model.generation_config = GenerationConfig(
            do_sample=False,
            eos_token_id=list(o.stop) or None,
            pad_token_id=o.stop[0] if o.stop else 0,
        )

    def _sample(self, job: Job) -> Sampled:
        import torch

        o = self._options
        prompt = torch.tensor([job.prompt] * job.n, device=o.device)
        choose = _chooser(range(job.seed, job.seed + job.n), job.max_tokens, o.temperature, o.top_p)
        with torch.inference_mode():
            out = self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=job.max_tokens,
                logits_processor=[choose] if o.temperature else [],
            )
        return Sampled(job.example_id, tuple(self._ended(row) for row in out[:, len(job.prompt) :].tolist()))

    def _ended(self, ids: list[int]) -> tuple[int, ...]:
        """Up to and with the first stop token; what follows is padding."""
        ends = [i for i, token in enumerate(ids) if token in self._options.stop]
        return tuple(ids[: ends[0] + 1] if ends else ids)

    def close(self) -> None:
        self._model = None
        gc.collect()
        if self._options.device != "cpu":
            import torch

            torch.cuda.empty_cache()


def open_engine(options: EngineOptions) -> Engine:
    return HfEngine(options)
