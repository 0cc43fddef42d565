"""transformers, on CPU or CUDA: shared prompts are computed once, the reward is read at each sequence's last token.

The engine, its attention kernels and their ladder are described in docs/scoring.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.candidate import Candidate
from harness.scoring._batching import Batch, Branch, Group
from harness.scoring._describe import check_reward_model
from harness.scoring._engine import Engine
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

if TYPE_CHECKING:
    import torch

    from harness.scoring._forward import States
    from harness.scoring._model import LoadedModel


class ScalarReader:
    """A classifier with one linear output."""

    task = "SequenceClassification"

    def __init__(self, name: str) -> None:
        self._name = name

    def settings(self) -> Mapping[str, Any]:
        return {}

    def bind(self, loaded: LoadedModel) -> None:
        from harness.scoring._forward import WholeForward
        from harness.scoring._heads import apply_head, linear_head, own_head

        whole = isinstance(loaded.forward, WholeForward)
        self._head = own_head(self._name) if whole else apply_head(*linear_head(loaded.model, self._name))

    def rows(self, group: Group, branch: Branch) -> Sequence[int]:
        return [len(group.prefix) + len(branch.suffix) - 1]

    def values(self, states: States, batch: Batch) -> torch.Tensor:  # noqa: ARG002
        return self._head(states.last())[:, 0]


class HfBackend:
    """Raw scalar rewards of a sequence classifier."""

    def __init__(self, candidate: Candidate, options: ScoringOptions) -> None:
        self.engine = Engine(candidate, options, ScalarReader(candidate.name))
        check_reward_model(self.engine.found, trusted=options.trust_remote_code, any_head=True)

    def protocol(self) -> Mapping[str, Any]:
        return {"backend": "hf", **self.engine.settings()}

    def follow(self, candidate: Candidate) -> None:
        """The next merge of the same sweep."""
        self.engine.follow(candidate)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Encode in the background what comes next."""
        self.engine.prepare(requests)

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        return self.engine.score(requests, done)


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    return HfBackend(candidate, options)
