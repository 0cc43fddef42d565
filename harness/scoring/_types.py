"""What a backend is: requests in, batches of raw rewards out.

A backend is a file of harness/scoring with `SUMMARY` and `open_backend(candidate, options)`; the file's name is
its name on the command line. `harness.scoring.fake` is the smallest complete one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
class ScoringOptions:
    """What the user fixed of the protocol and of the machine; None means: decide from candidate and machine."""

    device: str | None = None  # cpu, cuda, cuda:1
    dtype: str | None = None  # float32, bfloat16, float16; None: as the checkpoint says
    batch_tokens: int | None = None  # padded tokens per forward pass
    chat_template: str | None = None  # template text, or path of a file with it
    system_prompt: str | None = None
    max_length: int | None = None  # tokens
    truncation_side: str | None = None  # left | right
    rewards_file: Path | None = None  # replay
    seed: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)
    notify: Callable[[str], None] = lambda _: None  # one sentence for the user (stderr)


class Backend(Protocol):
    """An open backend for one candidate."""

    def protocol(self) -> Mapping[str, Any]:
        """Everything besides weights and text that can change a reward, as JSON values (hashed into the key)."""
        ...

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        """Yield finished batches. Requests whose (example_key, response) is in `done` need no reward.

        Batches are planned over all requests, whatever is done, so that a resumed run repeats the same batches
        and ends with the same bits.
        """
        ...
