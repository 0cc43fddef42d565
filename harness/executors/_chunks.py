"""Cutting a task's requests into chunks for workers: whole groups with a shared prompt, the largest first. Pure.

A chunk is what travels, what is retried and what is lost with a worker. The rewards in it do not depend on how it was
cut (docs/scoring.md), so chunks may be split, and another number of workers gives the same rewards.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.scoring._types import Request
from tasks._types import Message

LARGEST = 500_000  # characters, about 125,000 tokens: some seconds of a large GPU, and eight of its batches
SHARE = 8  # chunks a worker would get if all were equally fast, at least

Chunk = tuple[Request, ...]


def characters(requests: Sequence[Request]) -> int:
    """What a group costs, near enough: its prompt once, its responses."""
    prompts = {r.prompt for r in requests}
    return sum(len(m.content) for p in prompts for m in p) + sum(len(r.text) for r in requests)


def cut(requests: Sequence[Request], workers: int) -> list[Chunk]:
    """Chunks of about equal size, those with the longest groups first."""
    groups = by_prompt(requests)
    sizes = {id(group): characters(group) for group in groups}
    most = max(1, min(LARGEST, sum(sizes.values()) // (SHARE * max(1, workers))))
    pieces = [piece for group in groups for piece in ([group] if sizes[id(group)] <= most else by_example(group))]
    pieces.sort(key=_longest, reverse=True)
    chunks: list[Chunk] = []
    held: list[Request] = []
    size = 0
    for piece in pieces:
        held += piece
        size += sizes.get(id(piece)) or characters(piece)
        if size >= most:
            chunks.append(tuple(held))
            held, size = [], 0
    return [*chunks, tuple(held)] if held else chunks


def halves(chunk: Chunk) -> list[Chunk]:
    """The chunk in two parts, or as it is when it holds one example. An example is never torn: judges compare in it."""
    parts = by_prompt(chunk)
    if len(parts) == 1:
        parts = by_example(chunk)
    if len(parts) == 1:
        return [chunk]
    middle = len(parts) // 2
    return [tuple(r for part in some for r in part) for some in (parts[:middle], parts[middle:])]


def by_prompt(requests: Sequence[Request]) -> list[list[Request]]:
    """Requests that share a prompt, in first-seen order."""
    found: dict[tuple[Message, ...], list[Request]] = {}
    for request in requests:
        found.setdefault(request.prompt, []).append(request)
    return list(found.values())


def by_example(requests: Sequence[Request]) -> list[list[Request]]:
    """Requests of the same example, in first-seen order."""
    found: dict[str, list[Request]] = {}
    for request in requests:
        found.setdefault(request.example_key, []).append(request)
    return list(found.values())


def _longest(group: Sequence[Request]) -> int:
    return sum(len(m.content) for m in group[0].prompt) + max(len(r.text) for r in group)
