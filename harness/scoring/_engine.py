"""The transformers engine: plan once, load weights when the first batch needs them, survive running out of memory.

What is read off the hidden states, and how it becomes a reward, is a `Reader`: a scalar head, a weighted one, step
scores, token log-probabilities. Every backend that runs transformers models is this engine with its reader.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from harness._collector import paused
from harness.candidate import Candidate
from harness.errors import ScoringError
from harness.scoring._batching import Batch, Branch, Encoded, Group, groups, members
from harness.scoring._describe import Description, choose_dtype, describe
from harness.scoring._device import choose_device, gpu_use
from harness.scoring._ladder import choose_attention
from harness.scoring._template import Encoder, text_settings
from harness.scoring._texts import Texts
from harness.scoring._types import BatchReport, Request, ScoringOptions
from results.records import RewardRecord

if TYPE_CHECKING:
    import torch

    from harness.scoring._forward import States
    from harness.scoring._memory import Guard
    from harness.scoring._model import LoadedModel


class Reader(Protocol):
    """From hidden states to a value a sequence."""

    task: str  # the model class to load: SequenceClassification, TokenClassification or CausalLM

    def settings(self) -> Mapping[str, Any]:
        """What of it can change a reward (part of the protocol)."""
        ...

    def bind(self, loaded: LoadedModel) -> None:
        """The model is there: take the head from it. Raises ScoringError."""
        ...

    def rows(self, group: Group, branch: Branch) -> Sequence[int]:
        """Positions of the sequence whose hidden states are read, at least one, ascending."""
        ...

    def values(self, states: States, batch: Batch) -> torch.Tensor:
        """(branches,) float32, groups in order; a value depends on its branch's rows only. NaN: there is none."""
        ...


class Engine:
    """One model behind a reader. Nothing heavy happens before `load`."""

    def __init__(self, candidate: Candidate, options: ScoringOptions, reader: Reader) -> None:
        self._candidate, self._options, self._reader = candidate, options, reader
        self.found: Description = describe(candidate)
        self.text = text_settings(self.found, options)
        self.device = choose_device(options.device)
        self.dtype = choose_dtype(options.dtype, self.found, self.device)
        self.attention = choose_attention(options.attn, self.found, self.device, self.dtype)
        self._loaded: LoadedModel | None = None
        self._tokenizer: Any = None  # outlives the weights
        self._guard: Guard | None = None
        self._texts = Texts(self._encode, kept=candidate.sweep is not None)
        if options.batch_tokens is not None and options.batch_tokens < 1:
            raise ScoringError(f"--batch-tokens {options.batch_tokens}: it must be at least 1")

    def settings(self) -> dict[str, Any]:
        """Its part of the protocol."""
        return {
            "device": self.device.partition(":")[0],
            "dtype": self.dtype,
            "attention": self.attention,
            **self.text.as_json(),
            **self._reader.settings(),
        }

    def load(self) -> LoadedModel:
        """The model, loaded at the first call. Raises CandidateError or ScoringError, one sentence each."""
        if self._loaded is None:
            with paused():
                from harness.scoring._model import load_model

            self._loaded = load_model(
                self._candidate,
                self.found,
                device=self.device,
                dtype=self.dtype,
                attention=self.attention,
                task=self._reader.task,
                trusted=self._options.trust_remote_code,
            )
            self._tokenizer = self._loaded.tokenizer
            self._reader.bind(self._loaded)
        return self._loaded

    def unload(self) -> None:
        """Let the weights go (another engine needs the memory); the next use loads them again."""
        self._loaded = self._guard = None
        if self.device != "cpu":
            import gc

            import torch

            gc.collect()
            torch.cuda.empty_cache()

    def follow(self, candidate: Candidate) -> None:
        """Become the merge at another lambda of the same recipe: the live model's weights change in place."""
        self._candidate = candidate
        if self._loaded is not None and candidate.recipe is not None:
            self._loaded.set_recipe(candidate.recipe)
            self._reader.bind(self._loaded)

    def encode(self, requests: Sequence[Request]) -> list[Encoded]:
        """Token ids of a window of requests, kept for the next lambda of a sweep."""
        return self._texts.of(requests)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Encode in the background what will be scored next, once there is a tokenizer."""
        if self._tokenizer is not None:
            self._texts.ahead(requests)

    def _encode(self, requests: Sequence[Request]) -> list[Encoded]:
        """A window that a kernel cannot share across keeps long sequences whole."""
        encoded = Encoder(self._tokenizer or self.load().tokenizer, self.text).encode(requests)
        window = self.found.window
        if self.attention != "varlen" or window is None:
            return encoded
        return [Encoded(e.ids, 0, e.cut) if len(e.ids) > window else e for e in encoded]

    def plan(self, encoded: Sequence[Encoded]) -> list[Batch]:
        """All batches; a function of the sequences and the budget, which is found once for a loaded model."""
        from harness.scoring._memory import Guard, auto_budget

        loaded = self.load()
        if self._guard is None:
            config, dtype = loaded.model.config, loaded.model.dtype
            self._guard = Guard(self._options.batch_tokens or auto_budget(config, loaded.device, dtype))
        return list(loaded.forward.plan(groups(encoded), self._guard.planned))

    def launch(self, batch: Batch) -> torch.Tensor:
        """Values of a batch's branches, groups in order; on a GPU they may still be on their way."""
        assert self._guard is not None, "plan comes first"
        return self._guard.run(batch, self._forward)

    def _forward(self, batch: Batch, budget: int) -> torch.Tensor:
        import torch

        states = self.load().forward(batch, self._reader.rows, budget)
        with torch.inference_mode():
            return self._reader.values(states, batch)

    def computed(self, batch: Batch) -> int:
        """Tokens that go through the model for a batch."""
        assert self._guard is not None, "plan comes first"
        return self.load().forward.computed(batch, self._guard.planned)

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        """Backend.score: batches of records, longest sequences first. Loads nothing when everything is done."""
        if all((r.example_key, r.response) in done for r in requests):
            return
        encoded = self.encode(requests)
        batches = [b for b in self.plan(encoded) if not all(_key(requests[i]) in done for i in members(b))]
        left = sum(len(members(batch)) for batch in batches)
        start = time.perf_counter()
        for batch, values in self._ahead(batches):
            numbers = values.tolist()
            left -= len(members(batch))
            now = time.perf_counter()
            self._report(batch, encoded, now - start, left)
            start = now
            yield list(_records(batch, numbers, requests, encoded))

    def _ahead(self, batches: Sequence[Batch]) -> Iterator[tuple[Batch, torch.Tensor]]:
        """On a GPU the next batch is laid out and launched while the last one is still computed."""
        if self.device == "cpu":
            yield from ((batch, self.launch(batch)) for batch in batches)
            return
        waiting: tuple[Batch, torch.Tensor] | None = None
        for batch in batches:
            launched = batch, self.launch(batch)
            if waiting is not None:
                yield waiting
            waiting = launched
        if waiting is not None:
            yield waiting

    def _report(self, batch: Batch, encoded: Sequence[Encoded], seconds: float, left: int) -> None:
        asked = members(batch)
        tokens = sum(len(encoded[i].ids) for i in asked)
        self._options.on_batch(self.report(len(asked), tokens, self.computed(batch), seconds, left))

    def report(self, responses: int, tokens: int, computed: int, seconds: float, left: int) -> BatchReport:
        """What a batch cost, with the state of memory and device."""
        from harness.scoring._memory import peak_memory

        assert self._guard is not None, "plan comes first"
        memory = peak_memory(self.load().device)
        return BatchReport(responses, tokens, computed, seconds, self._guard.now, left, memory, gpu_use(self.device))


def _key(request: Request) -> tuple[str, int]:
    return request.example_key, request.response


def _records(
    batch: Batch, values: Sequence[float], requests: Sequence[Request], encoded: Sequence[Encoded]
) -> Iterator[RewardRecord]:
    branches = [branch for group in batch for branch in group.branches]
    for branch, value in zip(branches, values, strict=True):
        for i in branch.members:
            yield record(requests[i], len(encoded[i].ids), encoded[i].cut, value)


def record(request: Request, tokens: int, cut: bool, value: float) -> RewardRecord:
    """A reward, or the reason why there is none: NaN and infinity are never rewards."""
    if value != value or value in (float("inf"), float("-inf")):
        return RewardRecord(request.example_key, request.response, None, tokens, cut, f"the model gave {value}")
    return RewardRecord(request.example_key, request.response, value, tokens, cut)
