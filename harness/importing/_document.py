"""What every import format works on: a parsed file, the task's examples found by id or text, and one error."""

from __future__ import annotations

import json
import math
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UserError
from results.records import DatasetRecord, ExampleRecord
from tasks._schema import brief, decode, parse, read_content


class ScoresError(UserError):
    """A file of scores that cannot be read or joined. One sentence: file, line, what was expected."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file, parsed: one JSON value, or rows (JSON Lines, or a list) with the place each came from."""

    path: Path
    value: Any = None  # the whole, where the file is one JSON value
    rows: Sequence[tuple[str, Any]] = ()  # ("FILE:LINE" or "FILE row N", value)

    def first(self) -> Mapping[str, Any]:
        """The first row, {} where there is none or it is no object: what formats recognise themselves by."""
        row = self.rows[0][1] if self.rows else None
        return row if isinstance(row, dict) else {}

    def whole(self) -> Mapping[str, Any]:
        """The file's one object, {} where it is something else."""
        return self.value if isinstance(self.value, dict) else {}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the user said about the file."""

    scorer: str | None = None  # Inspect: which of several scores


Rewards = dict[str, list[float]]
"""Example id -> rewards in response order."""


def read_document(path: Path) -> Document:
    """Read JSON, JSON Lines (gzip undone), or an Inspect archive. Raises TaskError or ScoresError in one sentence."""
    content = read_content(path)
    if content.data[:4] == b"PK\x03\x04":
        return Document(path, value=_inspect_archive(path))
    text = decode(content)
    if text.lstrip()[:1] == "[":
        value = parse(text, str(path))
        return Document(path, value, [(f"{path} row {i}", row) for i, row in enumerate(value, 1)])
    lines = [(f"{path}:{n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > 1 and not _complete(lines[0][1]):  # one object, printed over several lines
        return Document(path, parse(text, str(path)))
    rows = [(where, parse(line, where)) for where, line in lines]
    return Document(path, rows[0][1] if len(rows) == 1 else None, rows)


def _complete(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return line.rstrip().endswith("}")  # a broken row of JSON Lines; its own error is the better one
    return True


def _inspect_archive(path: Path) -> Any:
    """An Inspect `.eval` archive in the shape of its JSON log."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if n.startswith("samples/") and n.endswith(".json"))
            return {"eval": {}, "samples": [json.loads(archive.read(name)) for name in names]}
    except NotImplementedError:
        raise ScoresError(
            f"{path}: this archive is packed in a way this Python cannot read; 'inspect log convert --to json' first"
        ) from None
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ScoresError(f"{path}: the archive is damaged ({error})") from None


def number(where: str, name: str, value: Any) -> float:
    """A finite number, also where logs write it as text. Raises ScoresError."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ScoresError(f"{where}: {name} should be a number, not {brief(value)}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ScoresError(f"{where}: {name} should be a finite number, not {brief(value)}")
    return float(value)


def plain(text: str) -> str:
    """Text for comparison: runs of white space are one space."""
    return " ".join(text.split())


def question(example: ExampleRecord) -> str:
    """The last user turn of an example's prompt, for comparison."""
    turns = [content for role, content in example.prompt if role == "user"]
    return plain(turns[-1] if turns else example.prompt[-1][1])


@dataclass(slots=True)
class Joiner:
    """Finds a task's examples by id and by text, and collects their rewards."""

    document: Document
    data: DatasetRecord
    rewards: Rewards = field(default_factory=dict)
    _by_question: dict[str, list[ExampleRecord]] = field(default_factory=lambda: defaultdict(list))
    _by_id: dict[str, ExampleRecord] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for example in self.data.examples:
            self._by_question[question(example)].append(example)
            self._by_id[example.example_id] = example

    def by_id(self, example_id: Any) -> ExampleRecord | None:
        return self._by_id.get(str(example_id))

    def by_question(self, text: str) -> list[ExampleRecord]:
        return list(self._by_question.get(plain(text), ()))

    def add(self, where: str, example: ExampleRecord, values: list[float]) -> None:
        """Keep one example's rewards; the same example twice must bring the same."""
        if len(values) != len(example.responses):
            raise ScoresError(
                f"{where}: {len(values)} scores for {self.data.task} example '{example.example_id}',"
                f" which has {len(example.responses)} responses"
            )
        if self.rewards.setdefault(example.example_id, values) != values:
            raise ScoresError(f"{where}: {self.data.task} example '{example.example_id}' appears twice, differently")

    def lose(self, where: str, what: str) -> None:
        """Note a row that belongs to no example; `finish` refuses the file for it."""
        self.lost.append(f"{where}: {what}")

    def finish(self) -> Rewards:
        """The rewards, when every row of the file joined. Raises ScoresError otherwise."""
        total = len(self.lost) + len(self.rewards)
        if self.lost:
            raise ScoresError(
                f"{len(self.lost)} of {total} rows belong to no example of {self.data.task}, so nothing was imported;"
                f" the first: {self.lost[0]}"
            )
        if not self.rewards:
            raise ScoresError(f"{self.document.path}: the file has no scores")
        return self.rewards
