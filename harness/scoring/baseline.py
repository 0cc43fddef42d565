"""Baselines that need no model: `--model baseline:length`, `baseline:short`, `baseline:random`.

Length is the response's number of characters; it alone reaches 100% on some RewardBench subsets, so a candidate
that does not beat it there has shown nothing. Of equally long responses the later one wins, as in the classifier
"the first if it is longer, else the second" behind Auto-J's published 72.6 on Others (651 of 903 are strictly
longer; 5 of the 6 pairs of equal length prefer the second response).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from harness.candidate import Candidate
from harness.scoring._rules import RULES
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

BATCH = 4096


class BaselineBackend:
    def __init__(self, rule: str, seed: int) -> None:
        self._rule, self._seed = rule, seed

    def protocol(self) -> Mapping[str, Any]:
        seed = {"seed": self._seed} if self._rule == "random" else {}
        return {"backend": "baseline", "rule": self._rule, **seed}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        rule = RULES[self._rule]
        left = [r for r in requests if (r.example_key, r.response) not in done]
        for start in range(0, len(left), BATCH):
            yield [RewardRecord(r.example_key, r.response, rule(r, self._seed)) for r in left[start : start + BATCH]]


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    return BaselineBackend(candidate.name.removeprefix("baseline:"), options.seed)
