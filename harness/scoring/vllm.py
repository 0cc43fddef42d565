"""vLLM's pooling engine (extra `vllm`): raw logits, prompts shared through its prefix cache, merges swapped in live.

Each run starts with a sample that transformers scores too; a difference beyond rounding stops it (_parity). The
weights of a merge in memory are loaded into the running engine; afterwards the prefix cache is reset, without which
rewards are silently those of the last weights, and the sample is checked again.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.candidate import Candidate
from harness.config import Recipe
from harness.errors import RunFailed, ScoringError
from harness.scoring._batching import Encoded, groups
from harness.scoring._describe import check_reward_model
from harness.scoring._device import gpu_use
from harness.scoring._engine import Engine, record
from harness.scoring._parity import check_parity, sample
from harness.scoring._types import Backend, BatchReport, Request, ScoringOptions
from harness.scoring.hf import ScalarReader
from results.records import RewardRecord

BATCH = 512  # sequences handed over at a time; vLLM makes its own batches of them
CPU_CACHE = 256 << 20  # bytes of key-value cache on CPU: the default asks for nearly all memory
_QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives in this process, so that weights can be swapped by name
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


@dataclass
class _Live:
    """The one running engine of this process, and what it holds."""

    key: str = ""
    length: int = 0  # of the longest sequence it takes
    budget: int = 0  # tokens of its largest batch
    llm: Any = None
    recipe: Recipe | None = None
    folder: Any = None  # of a merge: its config and tokenizer, kept as long as the engine
    probes: dict[str, float] = field(default_factory=dict)  # recipe -> reward of the same short sequence
    checked: set[str] = field(default_factory=set)  # candidates whose sample transformers has confirmed


_LIVE = _Live()


class VllmBackend:
    """One candidate on vLLM."""

    def __init__(self, candidate: Candidate, options: ScoringOptions) -> None:
        if find_spec("vllm") is None:
            raise ScoringError("--backend vllm needs the package vllm, which is not installed: pip install '.[vllm]'")
        self._candidate, self._options = candidate, options
        # the reference: the same text settings, the same dtype, transformers' own attention
        self._engine = Engine(candidate, replace(options, attn="padded"), ScalarReader(candidate.name))
        check_reward_model(self._engine.found)

    def protocol(self) -> Mapping[str, Any]:
        return {"backend": "vllm", **self._engine.settings(), "attention": "vllm"}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        if all((r.example_key, r.response) in done for r in requests):
            return
        encoded = self._engine.encode(requests)
        chosen = sample(encoded) if self._unconfirmed() else []
        expected = self._reference([encoded[i] for i in chosen])
        llm = self._ready(max(len(e.ids) for e in encoded))
        if chosen:
            found = classify(llm, [encoded[i].ids.tolist() for i in chosen])
            worst = check_parity(found, expected, self._engine.dtype, "vLLM")
            _LIVE.checked.add(self._candidate.id)
            self._options.notify(
                f"vLLM agrees with transformers on {len(chosen)} samples (within {worst:.1e} deviations)"
            )
        yield from self._all(llm, requests, encoded, done)

    def follow(self, candidate: Candidate) -> None:
        """The next merge of the same sweep."""
        self._candidate = candidate
        self._engine.follow(candidate)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Encode in the background what comes next."""
        self._engine.prepare(requests)

    def _unconfirmed(self) -> bool:
        """Each candidate is confirmed once; of a sweep the first merge and the one after the first swap."""
        swept = self._candidate.recipe is not None and _LIVE.key.startswith(_family(self._candidate.recipe))
        return self._candidate.id not in _LIVE.checked and not (swept and len(_LIVE.checked) >= 2)

    def _reference(self, encoded: Sequence[Encoded]) -> list[float]:
        """transformers' rewards of a sample; its copy of the weights is let go afterwards."""
        if not encoded:
            return []
        batches = self._engine.plan(encoded)
        values: dict[int, float] = {}
        for batch in batches:
            branches = [branch for group in batch for branch in group.branches]
            for branch, value in zip(branches, self._engine.launch(batch).tolist(), strict=True):
                values.update(dict.fromkeys(branch.members, value))
        self._engine.unload()
        return [values[i] for i in range(len(encoded))]

    def _ready(self, longest: int) -> Any:
        """The running engine with this candidate's weights; a new one only where the architecture is another."""
        recipe = self._candidate.recipe if self._candidate.folder is None else None
        family = _family(recipe) if recipe is not None else str(self._candidate.folder)
        length = self._engine.text.max_length or longest
        key = f"{family} {self._engine.device} {self._engine.dtype}"
        if _LIVE.key != key or _LIVE.length < length:
            shut_down()
            _LIVE.folder = _merge_folder(recipe) if recipe is not None else None
            folder = Path(_LIVE.folder.name) if _LIVE.folder is not None else self._engine.found.folder
            _LIVE.llm = _start(folder, self._engine, length, dummy=recipe is not None)
            _LIVE.key, _LIVE.length, _LIVE.budget = key, length, _budget(self._engine, length)
        if recipe is not None and recipe != _LIVE.recipe:
            _swap(recipe)
        return _LIVE.llm

    def _all(
        self, llm: Any, requests: Sequence[Request], encoded: Sequence[Encoded], done: Collection[tuple[str, int]]
    ) -> Iterator[list[RewardRecord]]:
        """Sequences in group order, so that a prompt is still cached when its next response comes."""
        ordered = sorted(groups(encoded), key=lambda g: -g.longest)
        pairs = [(group, branch) for group in ordered for branch in group.branches]
        left = len(requests)
        for start in range(0, len(pairs), BATCH):
            some = pairs[start : start + BATCH]
            asked = [i for _, branch in some for i in branch.members]
            left -= len(asked)
            if all((requests[i].example_key, requests[i].response) in done for i in asked):
                continue
            begun = time.perf_counter()
            values = classify(llm, [[*group.prefix.tolist(), *branch.suffix.tolist()] for group, branch in some])
            tokens = sum(len(encoded[i].ids) for i in asked)
            computed = sum(len(b.suffix) for _, b in some) + sum(
                len(p) for p in {id(g): g.prefix for g, _ in some}.values()
            )
            self._report(len(asked), tokens, computed, time.perf_counter() - begun, left)
            yield [
                record(requests[i], len(encoded[i].ids), encoded[i].cut, value)
                for (_, branch), value in zip(some, values, strict=True)
                for i in branch.members
            ]

    def _report(self, responses: int, tokens: int, computed: int, seconds: float, left: int) -> None:
        """vLLM computes in batches of its own, whose most tokens are `_LIVE.budget`."""
        from harness.scoring._memory import used_memory

        device, memory = self._engine.device, used_memory(self._engine.device)
        report = BatchReport(responses, tokens, computed, seconds, _LIVE.budget, left, memory, gpu_use(device))
        self._options.on_batch(report)


def classify(llm: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """Raw logits of token id sequences (`outputs.probs` is what vLLM calls them; no activation is applied)."""
    try:
        outputs = llm.classify([{"prompt_token_ids": list(row)} for row in rows], use_tqdm=False)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        shut_down()
        raise RunFailed(f"vLLM cannot score this model here: {_first_line(error)}; use --backend hf") from None
    if len(outputs) != len(rows):
        raise RunFailed(f"vLLM gave {len(outputs)} rewards for {len(rows)} sequences")
    return [float(output.outputs.probs[0]) for output in outputs]


def _start(folder: Path, engine: Engine, length: int, *, dummy: bool) -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    cpu = engine.device == "cpu"
    if not cpu and ":" in engine.device:
        raise ScoringError(f"--device {engine.device}: vLLM takes the first visible GPU; set CUDA_VISIBLE_DEVICES")
    try:
        from vllm import LLM
        from vllm.config import PoolerConfig

        return LLM(
            model=str(folder),
            runner="pooling",
            dtype=engine.dtype,  # "auto" would turn float32 checkpoints into float16
            load_format="dummy" if dummy else "safetensors",
            pooler_config=PoolerConfig(use_activation=False),  # the default is a sigmoid
            max_model_len=length,
            max_num_batched_tokens=_budget(engine, length),
            worker_extension_cls="harness.scoring._vllm_worker.MergeWorker",
            enforce_eager=cpu,
            seed=0,
            disable_log_stats=True,
            **(
                {"kv_cache_memory_bytes": CPU_CACHE} if cpu else {"gpu_memory_utilization": _share(engine.found.folder)}
            ),
        )
    except (ValueError, RuntimeError, NotImplementedError, OSError) as error:
        raise ScoringError(f"{folder}: vLLM cannot load it: {_first_line(error)}; use --backend hf") from None


def _budget(engine: Engine, length: int) -> int:
    """Tokens of a batch: at least the longest sequence, so that none is ever prefilled in chunks."""
    return max(length, 2048 if engine.device == "cpu" else 16384)


def _share(folder: Path) -> float:
    """Of the GPU's memory for vLLM: what a second copy of the weights, the reference's, leaves of nine tenths."""
    import torch

    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    _, total = torch.cuda.mem_get_info()
    return max(0.4, round(0.9 - 1.2 * weights / total, 2))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _family(recipe: Recipe) -> str:
    """What does not change from one lambda of a sweep to the next."""
    experts = [expert.model_copy(update={"weight": None}) for expert in recipe.experts]
    return recipe.model_copy(update={"experts": experts, "sweep": None, "layers": None}).model_dump_json()


def _merge_folder(recipe: Recipe) -> Any:
    """Config and tokenizer of a merge, without weights."""
    from harness.merging._plan import plan_merge
    from harness.merging._sidecars import write_sidecars

    folder = tempfile.TemporaryDirectory(prefix="harness-vllm-")
    write_sidecars(plan_merge(recipe), Path(folder.name))
    return folder


def _swap(recipe: Recipe) -> None:
    """Load a merge's weights, forget cached prompts, and see that a probe moved if and only if the weights did."""
    _LIVE.recipe = None  # until it is done, the engine holds nobody's weights
    _LIVE.llm.collective_rpc("load_merge", args=(recipe.model_dump_json(),))
    if not _LIVE.llm.reset_prefix_cache():
        raise RunFailed("vLLM did not reset its prefix cache after a change of weights; nothing was scored")
    (probe,) = classify(_LIVE.llm, [list(range(3, 35))])
    text = recipe.model_dump_json()
    held = _LIVE.probes.get(text)
    if held is not None and held != probe:
        raise RunFailed(f"vLLM gives {probe:.6g} for a probe that was {held:.6g} under the same weights before")
    if held is None and probe in _LIVE.probes.values():
        raise RunFailed("vLLM's probe did not move with the weights: the swap had no effect; use --backend hf")
    _LIVE.probes[text] = probe
    _LIVE.recipe = recipe


def shut_down() -> None:
    """End the running engine, if there is one, and give its memory back."""
    import gc

    llm, folder = _LIVE.llm, _LIVE.folder
    _LIVE.key, _LIVE.llm, _LIVE.recipe, _LIVE.folder = "", None, None, None
    _LIVE.probes, _LIVE.checked = {}, set()
    if llm is not None:
        with contextlib.suppress(AttributeError):
            llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
    if folder is not None:
        folder.cleanup()


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    return VllmBackend(candidate, options)
