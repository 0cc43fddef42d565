"""Rows of published files, and errors that say where they break: file, line, field, what was expected.

JSON Lines, JSON arrays and Parquet are told apart by their content, gzip is undone; the file's name never matters.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

from tasks._types import Message, TaskError


@dataclass(frozen=True, slots=True)
class Row:
    """One row with the place it came from; every getter raises TaskError naming place, field and expectation."""

    where: str
    data: Mapping[str, Any]

    def text(self, name: str, *, empty: bool = True) -> str:
        """A text field; `empty=False` also refuses whitespace alone."""
        value = self._get(name, "text")
        if not isinstance(value, str):
            raise self.error(name, "text", value)
        if not empty and not value.strip():
            raise TaskError(f"{self.where}: field '{name}' is empty: expected text")
        return value

    def whole(self, name: str) -> int:
        """A whole number; 3.0 and "3" are not (a converted column is a sign of damage)."""
        value = self._get(name, "a whole number")
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(name, "a whole number", value)
        return value

    def items(self, name: str, expected: str = "a list") -> list[Any]:
        """A list of anything."""
        value = self._get(name, expected)
        if not isinstance(value, list):
            raise self.error(name, expected, value)
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        values = self.items(name, "a list of texts")
        for value in values:
            if not isinstance(value, str):
                raise self.error(name, "a list of texts", value)
        return values

    def label(self, name: str) -> str:
        """An identifier: text or a whole number, as text."""
        value = self._get(name, "text or a whole number")
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self.error(name, "text or a whole number", value)
        return str(value)

    def prompt(self, name: str = "prompt") -> tuple[Message, ...]:
        """Text (one user turn), or messages [{"role", "content"}]; a conversation ends before the response."""
        value = self._get(name, "text or messages")
        if isinstance(value, str):
            return (Message("user", value),)
        if not isinstance(value, list) or not value:
            raise self.error(name, "text or a list of messages", value)
        return tuple(self._message(name, turn) for turn in value)

    def _message(self, name: str, turn: Any) -> Message:
        expected = 'messages like {"role": "user", "content": "..."}'
        if not isinstance(turn, dict):
            raise self.error(name, expected, turn)
        role, content = turn.get("role"), turn.get("content")
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise self.error(name, expected, turn)
        return Message(role, content)

    def _get(self, name: str, expected: str) -> Any:
        if name in self.data:
            return self.data[name]
        have = ", ".join(sorted(map(str, self.data))) or "none"
        raise TaskError(f"{self.where}: field '{name}' is missing (expected {expected}); the row has: {have}")

    def error(self, name: str, expected: str, value: object) -> TaskError:
        """The error for a field of the wrong type or value."""
        return TaskError(f"{self.where}: field '{name}' should be {expected}, not {brief(value)}")


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes (gzip undone) and the sha256 of the file as it lies on disk."""

    path: Path
    data: bytes
    sha256: str


def brief(value: object, limit: int = 60) -> str:
    """A value as an error message shows it."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing clause for unknown names: `did you mean 'x'? known: a, b, x`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (f"did you mean '{close[0]}'? " if close else "") + f"known: {', '.join(names) or 'none'}"


def choose_options(task: str, given: Mapping[str, str], known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The task's options with defaults filled in (the first of each); a typo is an error naming what is known."""
    for name in given:
        if name not in known:
            raise TaskError(f"{task}: unknown option '{name}': {did_you_mean(name, known)}")
    chosen = {name: given.get(name, values[0]) for name, values in known.items()}
    for name, value in chosen.items():
        if value not in known[name]:
            raise TaskError(f"{task}: option '{name}' cannot be '{value}': {did_you_mean(value, known[name])}")
    return chosen


def read_content(path: Path) -> Content:
    """Read a file whole. Raises TaskError when it is missing, a folder, unreadable, empty, or broken gzip."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise TaskError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise TaskError(f"{path}: is a folder; a data file is needed") from None
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror or error}") from None
    digest = hashlib.sha256(raw).hexdigest()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            raise TaskError(f"{path}: the gzip file is damaged or cut off; copy it again") from None
    if not raw.strip():
        raise TaskError(f"{path}: the file is empty; rows were expected")
    return Content(path, raw, digest)


def read_rows(content: Content) -> Sequence[Row]:
    """Rows of a JSON Lines, JSON-array or Parquet file, in file order; at least one."""
    if content.data[:4] == b"PAR1":
        return _parquet(content)
    text = decode(content)
    if text.lstrip()[:1] == "[":
        whole = parse(text, str(content.path))
        if not isinstance(whole, list) or not whole:
            raise TaskError(f"{content.path}: the list is empty; rows were expected")
        return [_as_row(f"{content.path} row {i + 1}", value) for i, value in enumerate(whole)]
    return JsonLines(content.path, text)


class JsonLines(Sequence[Row]):
    """Rows of a JSON Lines text: all are checked at first, and parsed again when they are asked for."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text
        self._count = sum(1 for _ in self)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        for number, line in enumerate(_lines(self._text), 1):
            if line.strip():
                where = f"{self._path}:{number}"
                yield _as_row(where, parse(line, where))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return next(islice(self, index % len(self), None))


def _lines(text: str) -> Iterator[str]:
    """Lines, one at a time; str.splitlines would also cut at U+2028, which JSON strings may hold."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def decode(content: Content) -> str:
    """The file as UTF-8 text, without a byte order mark."""
    try:
        return content.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.data.count(b"\n", 0, error.start) + 1
        raise TaskError(f"{content.path}:{line}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None


def parse(text: str, where: str) -> Any:
    """JSON, or a TaskError that says where it stops being JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise TaskError(f"{where}: not valid JSON at {place}: {error.msg}") from None
    except RecursionError:
        raise TaskError(f"{where}: the JSON is nested too deeply to be data") from None
    except ValueError as error:  # a number with more digits than Python converts
        raise TaskError(f"{where}: not valid JSON: {error}") from None


def _as_row(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise TaskError(f"{where}: a row should be an object with named fields, not {brief(value)}")
    return Row(where, value)


def _parquet(content: Content) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        values = pq.read_table(io.BytesIO(content.data)).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TaskError(f"{content.path}: the Parquet file is damaged or cut off: {reason}") from None
    if not values:
        raise TaskError(f"{content.path}: the file is empty; rows were expected")
    return [Row(f"{content.path} row {i + 1}", value) for i, value in enumerate(values)]
