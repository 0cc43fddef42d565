"""Examples for the compare page, in files that a page opened from file:// may load.

fetch, workers and modules are blocked on file://, classic script tags are not: a shard is a script that hands
gzip in base64 to `__shard`. Text is data all the way: JSON inside base64 cannot end a script or start a tag.

    TASK-index.js      ids, subsets, labels, first words of the prompt, where the texts are
    TASK-text-K.js     prompts and responses of a stretch of examples
    TASK-run-ID.js     the rewards of one run, in the order of the index (in parts where there are many)
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard import view
from leaderboard._outcomes import Floats
from leaderboard.metrics import Measured
from results.queries_page import ExampleText

LIMIT = 600_000  # bytes of a shard
RAW = 1_200_000  # bytes of JSON to try for one shard; text shrinks to about a third, then grows by base64
LONGEST = 60_000  # characters of one text; what is left out is counted beside it
SHORTEST = 500  # a text is never cut below this to make an example fit
HEAD = 90  # characters of the prompt in the list
COMPRESSION = 6


@dataclass(frozen=True, slots=True)
class TaskShards:
    """Files of one task, relative to the site."""

    index: str
    texts: tuple[str, ...]
    starts: tuple[int, ...]  # first example of each text shard
    runs: Mapping[str, tuple[str, ...]]  # candidate id -> files


def write_shards(
    folder: Path, stem: str, examples: Iterable[ExampleText], runs: Mapping[str, Measured]
) -> TaskShards | None:
    """Write the shards of one task into `folder`/examples; None where it has no example."""
    (folder / "examples").mkdir(exist_ok=True)
    index = _Index()
    texts: list[str] = []
    starts: list[int] = []
    for first, packed in _stretches(index.collect(examples)):
        name = f"examples/{stem}-text-{len(texts)}.js"
        starts.append(first)
        texts.append(name)
        _write(folder, name, packed)
    if not texts:
        return None
    files = {cid: _write_run(folder, stem, cid, m) for cid, m in runs.items()}
    index_name = f"examples/{stem}-index.js"
    _write(folder, index_name, pack(index.content()))
    return TaskShards(index_name, tuple(texts), tuple(starts), files)


class _Index:
    """What the list of examples needs, gathered while the texts stream by."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._heads: list[str] = []
        self._labels: list[str] = []
        self._subsets: dict[str, int] = {}
        self._codes: list[int] = []

    def collect(self, examples: Iterable[ExampleText]) -> Iterator[dict[str, Any]]:
        for e in examples:
            self._ids.append(view.shorten(e.example_id, 200))
            self._heads.append(view.shorten(_last_turn(e)[: HEAD * 20], HEAD))
            self._labels.append("".join("?01"[label + 1] for label in e.labels))
            self._codes.append(self._subsets.setdefault(e.subset, len(self._subsets)))
            yield _row(e)

    def content(self) -> dict[str, Any]:
        return {
            "ids": self._ids,
            "heads": self._heads,
            "labels": self._labels,
            "subsets": list(self._subsets),
            "subset": self._codes,
        }


def _last_turn(e: ExampleText) -> str:
    return e.prompt[-1][1] if e.prompt else ""


def _row(e: ExampleText) -> dict[str, Any]:
    row: dict[str, Any] = {
        "prompt": [[role, _cut(text)] for role, text in e.prompt],
        "texts": [_cut(text) for text in e.responses],
    }
    for name, values in (("sources", e.sources), ("answers", e.answers), ("reasons", e.reasons)):
        if any(values):
            row[name] = [_cut(v, 2000) if v else v for v in values]
    return row


def _cut(text: str, longest: int = LONGEST) -> str:
    if len(text) <= longest:
        return text
    left = f"{len(text) - longest:,}"
    return f"{text[:longest]}\n[… {left} more characters are in the database, not on this page]"


def _stretches(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """(place of the first, packed rows) of stretches whose shard keeps the limit."""
    first, size, held = 0, 0, list[dict[str, Any]]()
    for row in rows:
        length = len(_json(row))
        if held and size + length > RAW:
            yield from _halved(first, held)
            first, size, held = first + len(held), 0, []
        held.append(row)
        size += length
    if held:
        yield from _halved(first, held)


def _halved(first: int, rows: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """The rows as they are if they fit, else in halves; one row that does not fit alone is cut shorter."""
    packed = pack(rows)
    if len(packed) <= LIMIT * 0.98:
        yield first, packed
    elif len(rows) > 1:
        half = len(rows) // 2
        yield from _halved(first, rows[:half])
        yield from _halved(first + half, rows[half:])
    else:
        longest = max(len(text) for text in rows[0]["texts"] + [text for _, text in rows[0]["prompt"]])
        if longest < SHORTEST:  # thousands of short responses: over the limit is better than nothing to read
            yield first, packed
            return
        shorter = {
            **rows[0],
            "texts": [_cut(text, longest // 2) for text in rows[0]["texts"]],
            "prompt": [[role, _cut(text, longest // 2)] for role, text in rows[0]["prompt"]],
        }
        yield from _halved(first, [shorter])


def _write_run(folder: Path, stem: str, candidate_id: str, measured: Measured) -> tuple[str, ...]:
    """Rewards of one run; null where a response was not scored, `cut` lists the places that were truncated."""
    data = measured.data
    short = short_numbers(data.rewards)
    values = [v if s else None for v, s in zip(short, data.scored.tolist(), strict=True)]
    cut = np.flatnonzero(data.cut).tolist()
    step = 40_000  # rewards a file: random digits hardly shrink
    names = []
    for part, start in enumerate(range(0, max(len(values), 1), step)):
        name = f"examples/{stem}-run-{candidate_id[:16]}{f'-{part}' if part else ''}.js"
        inside = [place for place in cut if start <= place < start + step]
        part_of = {"start": start, "rewards": values[start : start + step], "cut": inside}
        _write(folder, name, pack(part_of))
        names.append(name)
    return tuple(names)


def short_numbers(values: Floats) -> list[float]:
    """The numbers with as few digits as tell them apart.

    Where all are float32 numbers (logits), each becomes the shortest decimal that is nearest to it: equal stays
    equal and larger stays larger. Where one is not, all stay as they are.
    """
    single = values.astype(np.float32)
    if not np.array_equal(single, values, equal_nan=True):
        return [float(v) for v in values]
    return [float(text) for text in single.astype("U16")]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def pack(value: Any) -> str:
    """JSON, gzip, base64; equal content gives equal text."""
    return base64.b64encode(gzip.compress(_json(value).encode("ascii"), COMPRESSION, mtime=0)).decode("ascii")


def _write(folder: Path, name: str, packed: str) -> None:
    (folder / name).write_text(f'__shard("{name}","{packed}");\n', encoding="ascii")


def manifest(tasks: Sequence[tuple[str, TaskShards]]) -> dict[str, Any]:
    """Where the compare page finds what, by task."""
    return {name: {"index": s.index, "texts": s.texts, "starts": s.starts, "runs": dict(s.runs)} for name, s in tasks}
