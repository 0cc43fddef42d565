"""What a backend is: requests in, batches of raw rewards out.

A backend is a file of harness/scoring with `open_backend(candidate, options)`; the file's name is its name on the
command line, its docstring's first sentence what `harness ls backends` says. `harness.scoring.fake` is the smallest
complete one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from results.records import RewardRecord
from tasks._types import Message


@dataclass(frozen=True, slots=True)
class Request:
    """One response to score. (`example_key`, `response`) is unique within a call."""

    example_key: str
    response: int
    prompt: tuple[Message, ...]
    text: str
    task: str = ""
    example_id: str = ""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one batch cost; `--log-json` writes one line each, the progress bar shows the sums."""

    responses: int  # rewards of this batch, duplicates included
    tokens: int  # their lengths, as if each had been scored alone
    computed: int  # tokens that went through the model, padding included
    seconds: float
    budget: int  # tokens a batch may have at this moment (halved when memory runs out, grown back later)
    left: int  # responses still to come: a backend counts those of its call, an executor adds those of later ones
    memory: int = 0  # bytes: peak on the GPU, or of the process
    gpu: int | None = None  # per cent of the last moment in which the GPU was busy; None where that is not known

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """What the user fixed of the protocol and of the machine; None means: decide from candidate and machine."""

    device: str | None = None  # cpu, cuda, cuda:1
    dtype: str | None = None  # float32, bfloat16, float16; None: as the checkpoint says
    batch_tokens: int | None = None  # tokens per forward pass; None: found from device and model
    attn: str | None = None  # cascade, varlen, flex, padded; None: the fastest that is right here
    chat_template: str | None = None  # template text, or path of a file with it
    system_prompt: str | None = None
    max_length: int | None = None  # tokens
    truncation_side: str | None = None  # left | right
    rewards_file: Path | None = None  # replay
    trust_remote_code: bool = False  # model classes that live in the checkpoint's own Python files
    seed: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)  # --backend-option NAME=VALUE
    notify: Callable[[str], None] = lambda _: None  # one sentence for the user (stderr)
    on_batch: Callable[[BatchReport], None] = lambda _: None


class Backend(Protocol):
    """An open backend for one candidate. Opening is cheap: weights are loaded by the first `score` that needs them.

    A backend may also have `follow(candidate)`, to become the next merge of a sweep in its live model,
    `prepare(requests)`, to get ready in the background for what will be scored next, and `check(requests)`, to see
    (and refuse) all of a task's requests before the first is scored.
    """

    def protocol(self) -> Mapping[str, Any]:
        """Everything besides weights and text that can change a reward, as JSON values (hashed into the key)."""
        ...

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        """Yield finished batches. Requests whose (example_key, response) is in `done` need no reward.

        A task comes in windows of whole examples, one call each, the same ones in every run. Batches are planned over
        all requests of the call, whatever is done, so that a resumed run repeats the same batches and ends with the
        same bits.
        """
        ...
