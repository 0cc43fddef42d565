"""A backend without a model, for tests and dry runs: the reward is a pure function of the text."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from harness.candidate import Candidate
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

BATCH = 256


def fake_reward(prompt: str, response: str) -> float:
    """Uniform in [0, 1), from the SHA-256 of the two texts."""
    digest = hashlib.sha256(f"{prompt}\0{response}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class FakeBackend:
    def protocol(self) -> Mapping[str, Any]:
        return {"backend": "fake"}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        left = [r for r in requests if (r.example_key, r.response) not in done]
        for start in range(0, len(left), BATCH):
            yield [
                RewardRecord(r.example_key, r.response, fake_reward(r.prompt[-1].content, r.text), len(r.text.split()))
                for r in left[start : start + BATCH]
            ]


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:  # noqa: ARG001
    return FakeBackend()
