"""transformers backend: right-padded batches without a mask, the reward read at each sequence's last token.

Causal models never look right, so padding on the right cannot reach a real token and no mask is needed; the hidden
state is gathered at len-1 and the head applied in float32 (ENGINES: the universal fallback).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from harness.candidate import Candidate
from harness.errors import RunFailed, ScoringError
from harness.scoring._batching import budget_batches, distinct
from harness.scoring._model import LoadedModel, load_model
from harness.scoring._template import Encoded, Encoder
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

SUMMARY = "transformers, on CPU or CUDA"
CPU_TOKENS, GPU_TOKENS = 4096, 16384  # budgets that were measured to be enough (ENGINES: Scoring)


class HfBackend:
    def __init__(self, loaded: LoadedModel, encoder: Encoder, budget: int) -> None:
        self._loaded, self._encoder, self._budget = loaded, encoder, budget

    def protocol(self) -> Mapping[str, Any]:
        return {
            "backend": "hf",
            "device": self._loaded.device.type,
            "dtype": str(self._loaded.dtype).removeprefix("torch."),
            "attention": self._loaded.attention,
            **self._encoder.settings(),
        }

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        encoded = self._encoder.encode(requests)
        sequences, places = distinct([e.ids for e in encoded])
        members: list[list[int]] = [[] for _ in sequences]
        for request, place in enumerate(places):
            members[place].append(request)
        for batch in budget_batches([len(s) for s in sequences], self._budget):
            wanted = [i for place in batch for i in members[place]]
            if all((requests[i].example_key, requests[i].response) in done for i in wanted):
                continue
            rewards = dict(zip(batch, self._forward([sequences[place] for place in batch]), strict=True))
            yield [_record(requests[i], encoded[i], rewards[places[i]]) for i in wanted]

    def _forward(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Rewards of one batch; halves the batch when memory runs out."""
        try:
            return self._rewards(rows)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise RunFailed(f"out of memory on one sequence of {len(rows[0])} tokens: use --max-length") from None
        torch.cuda.empty_cache()
        middle = len(rows) // 2
        return self._forward(rows[:middle]) + self._forward(rows[middle:])

    @torch.inference_mode()
    def _rewards(self, rows: Sequence[Sequence[int]]) -> list[float]:
        device = self._loaded.device
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)  # any id pads: nothing looks right
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        hidden = self._loaded.body(input_ids=ids.to(device), use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(rows), device=device), (lengths - 1).to(device)]
        return self._loaded.head(last).tolist()


def _record(request: Request, encoded: Encoded, reward: float) -> RewardRecord:
    size = len(encoded.ids)
    if reward != reward or reward in (float("inf"), float("-inf")):
        return RewardRecord(request.example_key, request.response, None, size, encoded.cut, f"the model gave {reward}")
    return RewardRecord(request.example_key, request.response, reward, size, encoded.cut)


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    loaded = load_model(candidate, options)
    encoder = Encoder(loaded.tokenizer, loaded.positions, options)
    budget = options.batch_tokens or (CPU_TOKENS if loaded.device.type == "cpu" else GPU_TOKENS)
    if budget < 1:
        raise ScoringError(f"--batch-tokens {budget}: it must be at least 1")
    return HfBackend(loaded, encoder, budget)
