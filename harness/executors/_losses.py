"""Why a worker is gone, in a few words, and above all: did its memory run out?

Three things happen then. Ray ends the newest worker of a node before the last byte is taken, and says so. The kernel
kills the largest one, and nobody says so: the kernel's own count of such deaths on that node tells. Or an allocation
fails in the worker, and what it raised arrives here.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ADVICE = (
    ": smaller batches (--batch-tokens), fewer workers on a node (--workers) or more memory help;"
    " what is finished is kept, and the same command goes on from there"
)
ANSWER_SECONDS = 10.0  # for a node to say how many processes its kernel has killed; a new process may have to start
_FIGURES = re.compile(r"was (\S+ used / \S+) limit")  # in what Ray says
_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker is: Ray's name of the node, people's name, and the kernel's dead there when it came."""

    node: str
    host: str
    kills: int


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker is gone, in a few words. `memory`: for want of it."""

    reason: str
    memory: bool = False

    @property
    def advice(self) -> str:
        """What the user can do, to end a sentence with; "" where that is not known."""
        return ADVICE if self.memory else ""


class Coroner:
    """Finds out why workers are gone. Knows how many of each node's dead are accounted for."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def arrived(self, place: Place) -> None:
        """A worker has started there."""
        self._known.setdefault(place.node, place.kills)

    def examine(self, error: exceptions.RayError, place: Place | None) -> Loss:
        """Why a worker is gone, from what Ray raises; asks its node (`place`, None: it never arrived) if need be."""
        if isinstance(error, exceptions.RayTaskError):
            return _raised(error.cause, place)
        text = str(error)
        if isinstance(error, exceptions.OutOfMemoryError) or "running low on memory" in text:
            figures = _FIGURES.search(text)
            return Loss(f"out of memory: Ray ended it{_on(place)}{f' at {figures[1]}' if figures else ''}", memory=True)
        if "node has died" in text or "node was terminated" in text:
            return Loss("its node died")
        if place is not None and self._killed(place):
            return Loss(f"out of memory: the kernel killed it{_on(place)}", memory=True)
        return Loss("its process died")

    def _killed(self, place: Place) -> bool:
        """Whether the kernel has killed a process there that no other worker's death accounts for."""
        there = NodeAffinitySchedulingStrategy(place.node, soft=False)
        count: Any = ray.remote(kernel_kills).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        try:
            kills = int(ray.get(count.remote(), timeout=ANSWER_SECONDS))
        except exceptions.RayError:
            return False
        if kills <= self._known[place.node]:
            return False
        self._known[place.node] += 1
        return True


def _raised(cause: Any, place: Place | None) -> Loss:
    """By name: torch's class is not for the driver to import."""
    line = (str(cause).strip().splitlines() or [""])[0]
    named = f"{type(cause).__name__}: {line}".rstrip(": ")
    memory = type(cause).__name__ in ("MemoryError", "OutOfMemoryError") or "allocate memory" in line.lower()
    return Loss(f"out of memory{_on(place)}: {named}" if memory else named, memory=memory)


def _on(place: Place | None) -> str:
    return "" if place is None else f" on {place.host}"


def here() -> Place:
    """The place of the actor or task that calls it."""
    return Place(str(ray.get_runtime_context().get_node_id()), socket.gethostname(), kernel_kills())


def kernel_kills(listing: str | None = None, groups: Path = _GROUPS, machine: Path = Path("/proc/vmstat")) -> int:
    """Processes that the kernel has killed for memory: in this one's control group, else on the machine; 0: unknown.

    `listing` is the text of /proc/self/cgroup, of this process if None; `groups` is where control groups are mounted.
    """
    if listing is None:
        with suppress(OSError):
            listing = Path("/proc/self/cgroup").read_text()
    for file in (*_counters(listing or "", groups), machine):
        with suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def _counters(listing: str, groups: Path) -> Iterator[Path]:
    """Of either version; in a container the group may be mounted as the root, under a name that is not here."""
    for line in listing.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            base, name = groups / "memory", "memory.oom_control"
        elif not controllers:
            base, name = groups, "memory.events"
        else:
            continue
        yield from (base / path.lstrip(os.sep) / name, base / name)
