"""A backend for tests: rewards of the fake one, or of another (`like=hf`), and the accidents it is told to have.

log=FILE        a line for everything it does, with the process that did it
sleep=SECONDS   before every chunk
most=N          killed by the operating system when a chunk has more requests: as when memory runs out
poison=TEXT     killed over any prompt with this text
weight=BYTES    memory that it takes when it is opened, and keeps: as a model does
hoard=BYTES     memory that every request of a chunk takes while the chunk is scored
glutton=TEXT    over a prompt with this text it takes far more memory than its container has
room=BYTES      address space that is left for scoring a chunk, which it has scored before without that limit
straggle=FILE   the process that is first to create this file takes ten minutes over its chunk
refuse=TEXT     a user's mistake, found while scoring
differ=yes      another protocol in every process
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.candidate import Candidate
from harness.errors import ScoringError
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

STEP, STEP_SECONDS = 16 << 20, 0.02  # memory is taken so slowly that a look every 50 ms sees it coming
FAR_TOO_MUCH = 3 << 30


def taken(size: int) -> list[bytearray]:
    """So many bytes, all of them touched."""
    held = []
    for _ in range(size // STEP):
        held.append(bytearray(b"x") * STEP)
        time.sleep(STEP_SECONDS)
    return held


@contextmanager
def confined(room: int | None) -> Iterator[None]:
    """So much address space on top of what this process has; no limit where it is None."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    if room is not None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Unruly:
    def __init__(self, candidate: Candidate, options: ScoringOptions) -> None:
        self._told = dict(options.extra)
        module = import_module(f"harness.scoring.{self._told.get('like', 'fake')}")
        self._real: Any = module.open_backend(candidate, options)
        self._log("open", candidate.name)
        self._model = taken(int(self._told.get("weight", 0)))
        if hasattr(self._real, "follow"):
            self.follow = self._follow

    def _log(self, *words: object) -> None:
        if "log" in self._told:
            with Path(self._told["log"]).open("a") as file:
                file.write(" ".join(map(str, [os.getpid(), *words])) + "\n")

    def _follow(self, candidate: Candidate) -> None:
        self._log("follow", candidate.name)
        self._real.follow(candidate)

    def protocol(self) -> Mapping[str, Any]:
        mine = {"process": os.getpid()} if "differ" in self._told else {}
        return {**self._real.protocol(), **mine}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        self._log("begin", len(requests), len(done))
        if "refuse" in self._told:
            raise ScoringError(self._told["refuse"])
        if len(requests) > int(self._told.get("most", len(requests))):
            os.kill(os.getpid(), signal.SIGKILL)
        if "poison" in self._told and any(self._told["poison"] in r.prompt[0].content for r in requests):
            os.kill(os.getpid(), signal.SIGKILL)
        if "glutton" in self._told and any(self._told["glutton"] in r.prompt[0].content for r in requests):
            taken(FAR_TOO_MUCH)
        if "straggle" in self._told:
            with suppress(FileExistsError):
                Path(self._told["straggle"]).touch(exist_ok=False)
                time.sleep(600)
        time.sleep(float(self._told.get("sleep", 0)))
        hoarded = taken(int(self._told.get("hoard", 0)) * len(requests))
        if "room" in self._told:
            list(self._real.score(requests, done))
        with confined(int(self._told["room"]) if "room" in self._told else None):
            yield from self._real.score(requests, done)
        del hoarded
        self._log("end", len(requests))


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    return Unruly(candidate, options)
