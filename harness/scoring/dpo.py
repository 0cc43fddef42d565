"""Implicit rewards of preference-tuned language models: beta times the log-probability ratio to a reference model.

    reward(x, y) = beta * (log p_policy(y | x) - log p_reference(y | x))

(Rafailov et al. 2023, equation 5, without the partition function, which cancels between responses to one prompt.)
The candidate is the policy; --backend-option reference=FOLDER names the reference, beta=0.1 is the default. Both
are given the candidate's token ids, so their vocabularies must be one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.candidate import Candidate, from_folder
from harness.errors import CandidateError, ScoringError
from harness.scoring._batching import Batch, Branch, Encoded, Group, members
from harness.scoring._describe import Description
from harness.scoring._engine import Engine, record
from harness.scoring._options import backend_options, number
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

if TYPE_CHECKING:
    import torch

    from harness.scoring._forward import States
    from harness.scoring._model import LoadedModel

_CHUNK = 256  # rows whose logits over the vocabulary exist at one time


class LogProbabilityReader:
    """log p(response | prompt) under a causal language model, summed in float32."""

    task = "CausalLM"

    def settings(self) -> Mapping[str, Any]:
        return {}

    def bind(self, loaded: LoadedModel) -> None:
        head = loaded.model.get_output_embeddings()
        if head is None:
            raise ScoringError("this model has no output embeddings: it gives no log-probabilities")
        self._head = head
        self._cap: float | None = getattr(loaded.model.config, "final_logit_softcapping", None)

    def rows(self, group: Group, branch: Branch) -> Sequence[int]:
        """Each response token is predicted at the position before it."""
        start = len(group.prefix)
        return range(start - 1, start + len(branch.suffix) - 1)

    def values(self, states: States, batch: Batch) -> torch.Tensor:
        import torch

        pairs = [(group, branch) for group in batch for branch in group.branches]
        found = [self._log_probabilities(states, i, branch.suffix).sum() for i, (_, branch) in enumerate(pairs)]
        return torch.stack(found)

    def _log_probabilities(self, states: States, branch: int, targets: Any) -> torch.Tensor:
        import torch

        hidden = states.of(branch)
        wanted = torch.from_numpy(targets.astype(np.int64)).to(hidden.device)
        short = -len(hidden) % 16  # a product with few rows takes another kernel on CPU, with other bits
        hidden = torch.nn.functional.pad(hidden, (0, 0, 0, short))
        pieces = []
        for start in range(0, len(wanted), _CHUNK):
            logits = self._head(hidden[start : start + _CHUNK]).float()[: len(wanted) - start]
            logits = logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)
            some = wanted[start : start + _CHUNK, None]
            pieces.append(torch.log_softmax(logits, -1).gather(1, some)[:, 0])
        return torch.cat(pieces)


class DpoBackend:
    """Two engines over one plan."""

    def __init__(self, candidate: Candidate, options: ScoringOptions) -> None:
        given = backend_options("dpo", options.extra, {"reference": None, "beta": "0.1"})
        place = Path(given["reference"])
        if not place.is_dir():
            raise ScoringError(f"--backend-option reference={place}: there is no such folder")
        reference = from_folder(place, place.name)
        self._beta = number("dpo", "beta", given["beta"])
        self._policy = Engine(candidate, options, LogProbabilityReader())
        self._reference = Engine(reference, replace(options, notify=lambda _: None), LogProbabilityReader())
        self._options, self._reference_id = options, reference.id
        for engine in (self._policy, self._reference):
            check_language_model(engine.found)

    def protocol(self) -> Mapping[str, Any]:
        own = {"backend": "dpo", "beta": self._beta, "reference": self._reference_id}
        return {**self._policy.settings(), **own}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        if all((r.example_key, r.response) in done for r in requests):
            return
        encoded = self._policy.encode(requests)
        self._same_vocabulary()
        whole = [i for i, e in enumerate(encoded) if e.split > 0]
        yield from self._lost(requests, encoded, set(whole))
        some = [encoded[i] for i in whole]
        self._reference.plan([])
        left = sum(1 for i in whole if (requests[i].example_key, requests[i].response) not in done)
        for batch in self._policy.plan(some):
            asked = [requests[whole[i]] for i in members(batch)]
            if not all((r.example_key, r.response) in done for r in asked):
                begun = time.perf_counter()
                found = list(self._batch(batch, requests, encoded, whole))
                left -= len(found)
                self._report(batch, [r.tokens for r in found], time.perf_counter() - begun, left)
                yield found

    def _report(self, batch: Batch, tokens: Sequence[int], seconds: float, left: int) -> None:
        """Both models' work: every token is wanted twice."""
        engines = (self._policy, self._reference)
        computed = sum(engine.computed(batch) for engine in engines)
        report = self._policy.report(len(tokens), len(engines) * sum(tokens), computed, seconds, max(0, left))
        self._options.on_batch(report)

    def _batch(
        self, batch: Batch, requests: Sequence[Request], encoded: Sequence[Encoded], whole: Sequence[int]
    ) -> Iterator[RewardRecord]:
        ratios = (self._policy.launch(batch) - self._reference.launch(batch)).tolist()
        branches = [branch for group in batch for branch in group.branches]
        for branch, ratio in zip(branches, ratios, strict=True):
            for i in (whole[member] for member in branch.members):
                yield record(requests[i], len(encoded[i].ids), encoded[i].cut, self._beta * ratio)

    def _lost(
        self, requests: Sequence[Request], encoded: Sequence[Encoded], whole: set[int]
    ) -> Iterator[list[RewardRecord]]:
        """Sequences cut on the left no longer show where the response begins."""
        reason = "cut: where the response begins is lost; use --truncation-side right or a longer --max-length"
        lost = [
            RewardRecord(r.example_key, r.response, None, len(e.ids), e.cut, reason)
            for i, (r, e) in enumerate(zip(requests, encoded, strict=True))
            if i not in whole
        ]
        if lost:
            yield lost

    def _same_vocabulary(self) -> None:
        mine, theirs = (engine.load().tokenizer.get_vocab() for engine in (self._policy, self._reference))
        if mine != theirs:
            different = sum(1 for token in mine.keys() | theirs.keys() if mine.get(token) != theirs.get(token))
            raise ScoringError(
                f"{self._reference.found.folder}: its vocabulary is not the candidate's ({different} tokens differ)"
            )


def check_language_model(found: Description) -> None:
    """Raise CandidateError unless it is a causal language model."""
    if not any(kind.endswith("ForCausalLM") for kind in found.architectures):
        kinds = ", ".join(found.architectures) or "no architecture"
        raise CandidateError(f"{found.folder}: not a causal language model (config.json says {kinds})")


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    return DpoBackend(candidate, options)
