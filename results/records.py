"""What is stored: plain records, one class per thing measured. Content keys are hex digests (`content_key`).

A reward is keyed by (candidate, protocol, example): the same key is never scored twice, a changed key never
reuses. Unscored is a status, never NaN or 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


class StoreError(ValueError):
    """The results database cannot do this. The text is one sentence for the user."""


def canonical(value: Any) -> str:
    """A value's canonical JSON: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_key(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON in UTF-8."""
    return hashlib.sha256(_encoded(canonical(value))).hexdigest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def storable(value: str) -> str:
    """Text that UTF-8 can hold: lone surrogates (from broken JSON escapes) are spelled out."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")


def example_key(prompt: Iterable[Sequence[str]], responses: Iterable[str]) -> str:
    """Identity of what a reward depends on besides the model: the conversation and the responses' texts."""
    turns = [[storable(part) for part in turn] for turn in prompt]
    return content_key({"prompt": turns, "responses": [storable(r) for r in responses]})


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A reward model to be judged; `id` is its identity by content, `name` is only shown."""

    id: str
    name: str
    kind: str  # checkpoint | merge | replay | baseline
    detail: Mapping[str, Any] = field(default_factory=dict)  # recipe, parents' hashes, architecture, ...


@dataclass(frozen=True, slots=True)
class ProtocolRecord:
    """Everything besides weights and text that can change a reward; its id is the hash of `settings`."""

    settings: Mapping[str, Any]

    @property
    def id(self) -> str:
        return content_key(dict(self.settings))


@dataclass(frozen=True, slots=True)
class ExampleRecord:
    """One example of a data set. `key` covers what a reward depends on: the prompt and the responses' texts."""

    example_id: str
    prompt: Sequence[tuple[str, str]]  # (role, content)
    responses: Sequence[str]
    labels: Sequence[bool | None]
    answers: Sequence[str | None]
    sources: Sequence[str]
    reasons: Sequence[str]
    subset: str
    stratum: str
    weight: float  # of this example in the task's `score`
    cluster: str | None
    _key: list[str] = field(default_factory=list, init=False, repr=False, compare=False)  # computed once

    @property
    def key(self) -> str:
        if not self._key:
            self._key.append(example_key(self.prompt, self.responses))
        return self._key[0]

    def keyed(self, key: str) -> ExampleRecord:
        """Itself, with the key that an earlier pass found."""
        self._key[:] = [key]
        return self


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A task's data as one run saw it: the examples in order, how metrics are made, where the bytes came from.

    `examples` may be read anew in every pass: none of their texts has to be in memory.
    """

    task: str
    outcome: str  # accuracy | agreement | best_of_n
    examples: Sequence[ExampleRecord]
    metrics: Sequence[Mapping[str, Any]]  # {"key", "parts": [[name, weight or null], ...], "outcome"}
    sources: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    notes: Sequence[str] = ()
    partial: str = ""  # why a run on it is partial ("" = it is not): missing subsets, --limit
    _key: list[str] = field(default_factory=list, init=False, repr=False, compare=False)  # computed once

    @property
    def key(self) -> str:
        """Identity: the examples with their labels and order, and the metrics (not where they came from)."""
        if not self._key:
            rows = map(example_content, self.examples)
            self._key.append(dataset_key(self.task, self.outcome, rows, self.metrics))
        return self._key[0]

    def keyed(self, key: str) -> DatasetRecord:
        """Itself, with the key that an earlier pass found."""
        self._key[:] = [key]
        return self


def example_content(e: ExampleRecord) -> list[Any]:
    """What a record adds to its data set's identity."""
    return link_content(e.example_id, e.key, e.labels, e.answers, e.subset, e.stratum, e.cluster)


def link_content(
    example_id: str,
    key: str,
    labels: Sequence[bool | None],
    answers: Sequence[str | None],
    subset: str,
    stratum: str,
    cluster: str | None,
) -> list[Any]:
    """What an example adds to its data set's identity."""
    known = [None if a is None else storable(a) for a in answers]
    group = None if cluster is None else storable(cluster)
    return [storable(example_id), key, list(labels), known, storable(subset), storable(stratum), group]


def dataset_key(task: str, outcome: str, rows: Iterable[Sequence[Any]], metrics: Sequence[Mapping[str, Any]]) -> str:
    """Identity of a data set from its rows (`link_content`, in order) and its metrics.

    It is the `content_key` of {"metrics", "outcome", "rows", "task"}, hashed row by row.
    """
    metrics = [dict(m) for m in metrics]
    digest = hashlib.sha256(_encoded(f'{{"metrics":{canonical(metrics)},"outcome":{canonical(outcome)},"rows":['))
    for number, row in enumerate(rows):
        digest.update(_encoded("," * (number > 0) + canonical(row)))
    digest.update(_encoded(f'],"task":{canonical(task)}}}'))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class RewardRecord:
    """The raw reward of one response under a candidate and a protocol, or why there is none."""

    example_key: str
    response: int  # position within the example
    reward: float | None  # None: unscored, and `reason` says why
    tokens: int = 0  # length scored, after truncation
    cut: bool = False  # the text was truncated
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunRewards:
    """One run's stored rewards and labels as arrays, for statistics (n examples, T responses in all).

    Responses of example i are `offsets[i]:offsets[i+1]` of the flat arrays.
    """

    run: Mapping[str, Any]  # row of `runs` joined with candidate and protocol: ids, names, status, ...
    task: str
    outcome: str
    metrics: Sequence[Mapping[str, Any]]
    example_ids: Sequence[str]
    subsets: Sequence[str]
    strata: Sequence[str]
    clusters: Sequence[str | None]
    weights: npt.NDArray[np.float64]  # (n,)
    offsets: npt.NDArray[np.int64]  # (n + 1,)
    rewards: npt.NDArray[np.float64]  # (T,), NaN where not scored (see `scored`)
    scored: npt.NDArray[np.bool_]  # (T,)
    labels: npt.NDArray[np.int8]  # (T,) 1 correct, 0 wrong, -1 unknown
    answers: Sequence[str | None]  # (T,)
    cut: npt.NDArray[np.bool_]  # (T,)
