"""Pool formats, told apart by content. A format is one function from rows to {example id: responses}.

own JSONL       {"example_id", "responses": [{"text", "source"?}, ...]}
lm-eval         --log_samples: {"doc_id", "doc", "target", "resps": [[text, ...]], "filter"?}
EvalPlus        samples.jsonl: {"task_id": "Mbpp/11", "solution" or "completion"}, one row a sample
bigcode         generations.json: [[text, ...], ...] in the order of the problems
DogeRM          {"0": {column: [value, ...]}, ...}: src/best_of_n/run_gsm8k.py and run_mbpp.py, --mode generate
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks._bestofn import Problem
from tasks._schema import Content, Row, brief, decode, parse, read_content, read_rows
from tasks._types import Pool, Response, Source, TaskError

Rows = dict[str, tuple[Response, ...]]


@dataclass(frozen=True, slots=True)
class PoolFile:
    """A pool file, read: what the formats need to make sense of it."""

    content: Content
    rows: Sequence[Row]
    problems: Sequence[Problem]


@dataclass(frozen=True, slots=True)
class Format:
    """A pool format: its name, how to recognise its first row, how to read it."""

    name: str
    matches: Callable[[Row], bool]
    read: Callable[[PoolFile], Rows]


def read_pool_file(path: Path, name: str, task: str, problems: Sequence[Problem], formats: Sequence[Format]) -> Pool:
    """Read a pool in any of `formats`. Raises TaskError: unknown format, unknown or repeated example, empty text."""
    content = read_content(path)
    rows = _pool_rows(content)
    chosen = next((form for form in formats if form.matches(rows[0])), None)
    if chosen is None:
        fields = ", ".join(rows[0].data)
        known = ", ".join(form.name for form in formats)
        raise TaskError(f"{path}: not a pool that {task} can read (first row has: {fields}); known formats: {known}")
    read = chosen.read(PoolFile(content, rows, problems))
    source = Source(f"pool {name}", str(path), None, content.sha256, False)
    return Pool(task, name, read, source, {"format": chosen.name})


def _pool_rows(content: Content) -> Sequence[Row]:
    """Rows of JSONL; one row a problem for the two formats that are one JSON value (columns, list of lists)."""
    if content.data[:4] == b"PAR1":
        return read_rows(content)
    text = decode(content)
    first = text.lstrip()[:1]
    if first == "[":
        return _bigcode_rows(content, text)
    head = text.lstrip()[1:].lstrip()
    # JSONL rows start with a named field; DogeRM's one object starts with a row number.
    if first == "{" and head[:1] == '"' and head[1:2].isdigit():
        whole = parse(text, str(content.path))
        return [Row(f"{content.path} key '{key}'", _columns(content, key, value)) for key, value in whole.items()]
    return read_rows(content)


def _bigcode_rows(content: Content, text: str) -> Sequence[Row]:
    whole = parse(text, str(content.path))
    if whole and all(isinstance(value, dict) for value in whole):
        return read_rows(content)
    rows = [Row(f"{content.path} entry {i}", {"generations": value}) for i, value in enumerate(whole)]
    if not rows:
        raise TaskError(f"{content.path}: the list is empty; rows were expected")
    return rows


def _columns(content: Content, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TaskError(f"{content.path}: key '{key}' should hold columns of equal length, not {brief(value)}")
    return {"#": key, **value}


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(name in row.data for name in names)


def collect(pairs: Sequence[tuple[str, str, Sequence[Response]]], problems: Sequence[Problem]) -> Rows:
    """Rows from (place, example id, responses); refuses unknown and repeated ids, and examples without a response."""
    known = {problem.id for problem in problems}
    rows: Rows = {}
    for where, example_id, responses in pairs:
        if example_id not in known:
            raise TaskError(
                f"{where}: there is no example '{example_id}'; known: {problems[0].id} to {problems[-1].id}"
            )
        if example_id in rows:
            raise TaskError(f"{where}: example '{example_id}' comes twice; give all its responses in one row")
        if not responses:
            raise TaskError(f"{where}: example '{example_id}' has no responses")
        rows[example_id] = tuple(responses)
    return rows


def _read_own(file: PoolFile) -> Rows:
    pairs = []
    for row in file.rows:
        entries = row.items("responses", 'a list of {"text", "source"}')
        inner = [Row(f"{row.where}: responses[{i}]", e) if isinstance(e, dict) else None for i, e in enumerate(entries)]
        if None in inner:
            raise row.error("responses", 'a list of {"text", "source"}', entries[inner.index(None)])
        responses = [
            Response(entry.text("text"), None, source=entry.text("source") if entry.data.get("source") else "")
            for entry in inner
            if entry is not None
        ]
        pairs.append((row.where, row.label("example_id"), responses))
    return collect(pairs, file.problems)


OWN = Format("own JSONL", _has("example_id", "responses"), _read_own)


def _read_bigcode(file: PoolFile) -> Rows:
    if len(file.rows) != len(file.problems):
        raise TaskError(
            f"{file.content.path}: has generations for {len(file.rows)} problems, the task has {len(file.problems)}; "
            "the format names no problem, so all of them are needed, in order"
        )
    pairs = [
        (row.where, problem.id, [Response(text, None) for text in row.texts("generations")])
        for row, problem in zip(file.rows, file.problems, strict=True)
    ]
    return collect(pairs, file.problems)


BIGCODE = Format("bigcode generations", _has("generations"), _read_bigcode)


def _read_evalplus(file: PoolFile) -> Rows:
    samples: dict[str, list[Response]] = {}
    places: dict[str, str] = {}
    for row in file.rows:
        example_id = row.label("task_id").rpartition("/")[2]
        field = "solution" if "solution" in row.data else "completion"
        samples.setdefault(example_id, []).append(Response(row.text(field), None))
        places.setdefault(example_id, row.where)
    return collect([(places[key], key, responses) for key, responses in samples.items()], file.problems)


EVALPLUS = Format(
    "EvalPlus samples",
    lambda row: "task_id" in row.data and bool({"solution", "completion"} & set(row.data)) and "#" not in row.data,
    _read_evalplus,
)


def dogerm(answers: str, key: Callable[[Row], str], prefill: str) -> Format:
    """DogeRM's output: `answers` names its column of texts, `key` finds the example, `prefill` went before the text."""

    def read(file: PoolFile) -> Rows:
        pairs = []
        for row in file.rows:
            texts = [text if text.lstrip().startswith(prefill) else prefill + text for text in row.texts(answers)]
            pairs.append((row.where, key(row), [Response(text, None) for text in texts]))
        return collect(pairs, file.problems)

    return Format("DogeRM output", _has("#", answers), read)


def lm_eval(key: Callable[[Row], str]) -> Format:
    """lm-eval's logged samples. Each filter repeats every document: only the first filter's rows are read."""

    def read(file: PoolFile) -> Rows:
        first = file.rows[0].data.get("filter")
        rows = [row for row in file.rows if row.data.get("filter") == first]
        pairs = [(row.where, key(row), [Response(t, None) for t in _resps(row)]) for row in rows]
        return collect(pairs, file.problems)

    return Format("lm-eval samples", _has("doc_id", "resps"), read)


def _resps(row: Row) -> list[str]:
    """`resps` holds one list of samples per request, and a generation task has one request; older files are flat."""
    outer = row.items("resps", "a list of lists of texts")
    samples = [text for inner in outer for text in (inner if isinstance(inner, list) else [inner])]
    if not all(isinstance(text, str) for text in samples):
        raise row.error("resps", "a list of lists of texts", outer)
    return samples
