"""Classifiers with several outputs (helpfulness, safety, ...): the reward is their weighted sum.

--backend multihead --backend-option weights=helpfulness=0.6,safety=0.4      by the config's label names
--backend multihead --backend-option weights=0.6,0.4                         by position
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.candidate import Candidate
from harness.errors import ScoringError, did_you_mean
from harness.merging._checkpoint import read_json
from harness.scoring._batching import Batch, Branch, Group
from harness.scoring._describe import Description, check_reward_model
from harness.scoring._engine import Engine
from harness.scoring._options import backend_options, number
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

if TYPE_CHECKING:
    import torch

    from harness.scoring._forward import States
    from harness.scoring._model import LoadedModel


def label_names(found: Description) -> list[str]:
    """The outputs' names in order, from the config's id2label."""
    names = read_json(found.folder / "config.json").get("id2label") or {}
    return [str(names.get(str(i), f"LABEL_{i}")) for i in range(found.labels)]


def read_weights(text: str, names: Sequence[str]) -> list[float]:
    """One weight an output; unnamed outputs weigh 0 when names are used. Raises ScoringError."""
    parts = [part.strip() for part in text.split(",")]
    if not any("=" in part for part in parts):
        if len(parts) != len(names):
            raise ScoringError(f"--backend-option weights={text}: {len(parts)} weights for {len(names)} outputs")
        return [number("multihead", "weights", part) for part in parts]
    weights = dict.fromkeys(names, 0.0)
    for part in parts:
        name, _, value = part.partition("=")
        if name not in weights:
            raise ScoringError(f"--backend-option weights: no output is called '{name}': {did_you_mean(name, names)}")
        weights[name] = number("multihead", "weights", value)
    return list(weights.values())


class WeightedReader:
    """Several linear outputs at the last token, weighted in float32."""

    task = "SequenceClassification"

    def __init__(self, name: str, weights: Sequence[float]) -> None:
        self._name, self._weights = name, list(weights)

    def settings(self) -> Mapping[str, Any]:
        return {"weights": self._weights}

    def bind(self, loaded: LoadedModel) -> None:
        import torch

        from harness.scoring._heads import apply_head, linear_head

        weight, bias = linear_head(loaded.model, self._name)
        self._head = apply_head(weight, bias)
        self._vector = torch.tensor(self._weights, device=weight.device)

    def rows(self, group: Group, branch: Branch) -> Sequence[int]:
        return [len(group.prefix) + len(branch.suffix) - 1]

    def values(self, states: States, batch: Batch) -> torch.Tensor:  # noqa: ARG002
        return (self._head(states.last()) * self._vector).sum(-1)


class MultiheadBackend:
    """A weighted sum of a sequence classifier's outputs."""

    def __init__(self, candidate: Candidate, options: ScoringOptions) -> None:
        given = backend_options("multihead", options.extra, {"weights": None})
        reader = WeightedReader(candidate.name, [])
        self._engine = Engine(candidate, options, reader)
        check_reward_model(self._engine.found, labels=None)
        reader._weights = read_weights(given["weights"], label_names(self._engine.found))

    def protocol(self) -> Mapping[str, Any]:
        return {"backend": "multihead", **self._engine.settings()}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        return self._engine.score(requests, done)


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    return MultiheadBackend(candidate, options)
