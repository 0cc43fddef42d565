"""Which row of one model's embedding belongs to which row of another's: tokens are paired by their string.

The output keeps the RM's ids. Tokens that only an expert has are appended after the RM's last row, in the order of
their strings, so that renumbering an expert changes nothing. A token without a row in its own model (id beyond the
embedding) counts as absent there; RM rows beyond its tokenizer (padding to a multiple of 64) are kept as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CandidateError, MergeError
from harness.merging._checkpoint import read_json

Merge = tuple[str, str]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one tokenizer. `tokens`: string -> id; `added`: string -> its entry in `added_tokens`."""

    kind: str  # BPE, Unigram, WordLevel, WordPiece
    tokens: dict[str, int]
    added: dict[str, dict[str, Any]]
    merges: tuple[Merge, ...]
    raw: dict[str, Any]  # the whole tokenizer.json


@dataclass(frozen=True)
class Alignment:
    """Rows of the output's vocabulary tensors and where each comes from.

    `experts[i][row]` is expert i's row for output row `row`, or -1 where it has none; `base` likewise.
    Rows below `rm_rows` exist in the RM; `appended` are the strings of the rows from `first_new` on.
    """

    rows: int
    rm_rows: int
    experts: tuple[tuple[int, ...], ...]
    base: tuple[int, ...] | None
    appended: tuple[tuple[str, int], ...]  # (token, output row)
    shared: int
    rm_only: int
    expert_only: int

    def identical(self, source: Sequence[int]) -> bool:
        """True where output row i comes from row i, for all rows: no gathering is needed."""
        return len(source) == self.rm_rows == self.rows and all(i == row for i, row in enumerate(source))

    @property
    def counts(self) -> dict[str, int]:
        return {"shared": self.shared, "rm_only": self.rm_only, "expert_only": self.expert_only}


def read_vocabulary(folder: Path, name: str) -> Vocabulary:
    """The tokenizer of a model folder. Raises CandidateError where there is none that can be read."""
    path = folder / "tokenizer.json"
    raw = read_json(path) if path.exists() else _converted(folder, name)
    try:
        model = raw["model"]
        vocab = model["vocab"]
        kind = model.get("type") or ("BPE" if "merges" in model else "WordLevel")
        pairs = ((piece, i) for i, (piece, _) in enumerate(vocab)) if kind == "Unigram" else vocab.items()
        tokens = {str(token): int(i) for token, i in pairs}
        added = {entry["content"]: dict(entry) for entry in raw.get("added_tokens") or []}
        tokens |= {token: int(entry["id"]) for token, entry in added.items()}
        merges = tuple(_pair(merge) for merge in model.get("merges") or [])
        "".join(tokens).encode()  # half of a surrogate pair cannot be written
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CandidateError(f"{path}: is not a tokenizer: {error!r}") from None
    return Vocabulary(kind, tokens, added, merges, raw)


def _pair(merge: Any) -> Merge:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _converted(folder: Path, name: str) -> dict[str, Any]:
    """tokenizer.json of a folder that has only a SentencePiece or vocab.txt file, made by transformers."""
    names = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
    if not any((folder / file).exists() for file in names):
        raise CandidateError(
            f"{name}: has no tokenizer (tokenizer.json is missing), and tokens are paired by their strings; copy the "
            "tokenizer files there, or set the option 'tokens: by_id' if both models are known to number them alike"
        )
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        value = json.loads(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # noqa: BLE001  anything that transformers raises means the same to the user
        raise CandidateError(f"{name}: its tokenizer cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise CandidateError(f"{name}: its tokenizer cannot be read")
    return value


def align(
    rm: Vocabulary, rm_rows: int, experts: Sequence[tuple[Vocabulary, int]], base: tuple[Vocabulary, int] | None
) -> Alignment:
    """Pair rows by token string. Each parent comes with the number of rows of its embedding."""
    owned = _having(rm, rm_rows)
    theirs = [_having(vocabulary, rows) for vocabulary, rows in experts]
    anyones = set[str]().union(*theirs)
    new = sorted(anyones - rm.tokens.keys())
    # A token that the RM's tokenizer has, but its embedding lacks, keeps its id when an expert brings the row.
    stray = {t: i for t, i in rm.tokens.items() if i >= rm_rows and t in anyones}
    first = max(rm_rows, 1 + max((i for i in rm.tokens.values() if i >= rm_rows), default=0)) if new else rm_rows
    appended = sorted(stray.items(), key=lambda item: item[1]) + [(t, first + i) for i, t in enumerate(new)]
    rows = max([rm_rows, *(row + 1 for _, row in appended)])
    if rows > 2 * rm_rows + len(appended) + 1000:
        far = max(rm.tokens, key=lambda token: rm.tokens[token])
        raise MergeError(f"token '{far}' of the RM has the id {rm.tokens[far]:,}, far beyond its {rm_rows:,} rows")
    places = {**owned, **dict(appended)}
    shared = len(owned.keys() & anyones)
    return Alignment(
        rows=rows,
        rm_rows=rm_rows,
        experts=tuple(_rows(tokens, places, rows) for tokens in theirs),
        base=None if base is None else _rows(_having(*base), places, rows),
        appended=tuple(appended),
        shared=shared,
        rm_only=len(owned) - shared,
        expert_only=len(appended),
    )


def _having(vocabulary: Vocabulary, rows: int) -> dict[str, int]:
    """The tokens that have a row."""
    return {token: i for token, i in vocabulary.tokens.items() if 0 <= i < rows}


def _rows(tokens: Mapping[str, int], places: Mapping[str, int], rows: int) -> tuple[int, ...]:
    found = [-1] * rows
    for token, place in places.items():
        found[place] = tokens.get(token, -1)
    return tuple(found)


def align_by_id(rm_rows: int, others: Sequence[int], has_base: bool) -> Alignment:
    """Pair rows by number, where the user says so; all models need the same number of rows."""
    if any(rows != rm_rows for rows in others):
        raise MergeError(f"'tokens: by_id' needs equal vocabularies, but the models have {[rm_rows, *others]} rows")
    ids = tuple(range(rm_rows))
    experts = len(others) - has_base
    return Alignment(rm_rows, rm_rows, (ids,) * experts, ids if has_base else None, (), rm_rows, 0, 0)


def check_merges(rm: Vocabulary, expert: Vocabulary, name: str) -> None:
    """Refuse tokenizers that cut shared text differently (contradictory BPE merges); 'merges: rm' overrides.

    Merges are contradictory where the two order their common merges differently, or where one has a merge that
    the other lacks although both have its result.
    """
    if rm.kind != expert.kind:
        raise MergeError(f"{name}: has a {expert.kind} tokenizer, the RM has {rm.kind}; {_OVERRIDE}")
    if rm.merges == expert.merges:
        return
    ours, theirs = set(rm.merges), set(expert.merges)
    for mine, other, tokens in ((rm.merges, theirs, expert.tokens), (expert.merges, ours, rm.tokens)):
        odd = [merge for merge in mine if merge not in other and "".join(merge) in tokens]
        if odd:
            raise MergeError(f"{name}: its BPE merges contradict the RM's (for example {odd[0]}); {_OVERRIDE}")
    if [m for m in rm.merges if m in theirs] != [m for m in expert.merges if m in ours]:
        raise MergeError(f"{name}: its BPE merges contradict the RM's (same merges, another order); {_OVERRIDE}")


_OVERRIDE = "the option 'merges: rm' keeps the RM's way of cutting text into tokens"


def extend(rm: Vocabulary, experts: Sequence[Vocabulary], appended: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """The output's tokenizer.json: the RM's, with the expert-only tokens at the given ids, flags kept."""
    raw: dict[str, Any] = json.loads(json.dumps(rm.raw))
    model = raw["model"]
    entries = list(raw.get("added_tokens") or [])
    owners = {token: next(v for v in experts if token in v.tokens) for token, _ in appended}
    new = [(token, row) for token, row in appended if token not in rm.tokens]  # others lacked only their row
    entries += [{**owners[token].added[token], "id": row} for token, row in new if token in owners[token].added]
    raw["added_tokens"] = entries
    # Added tokens are numbered after the model's vocabulary on loading. Where that would not give these ids (a gap
    # before them, or new model tokens), every token goes into the model's vocabulary, where ids are explicit.
    natural = all(token in owners[token].added for token, _ in new) and [row for _, row in new] == list(
        range(len(rm.tokens), len(rm.tokens) + len(new))
    )
    if not natural:
        wanted = {entry["content"]: int(entry["id"]) for entry in entries} | dict(new)
        for token, row in sorted(wanted.items(), key=lambda item: item[1]):
            _insert(model, rm.kind, token, row, owners.get(token))
    if rm.kind == "BPE":
        model["merges"] = [*model["merges"], *_new_merges(rm, experts, model)]
    return raw


def _insert(model: dict[str, Any], kind: str, token: str, row: int, owner: Vocabulary | None) -> None:
    if kind != "Unigram":
        model["vocab"][token] = row
        return
    if row < len(model["vocab"]):
        return  # there already
    if row > len(model["vocab"]):
        raise MergeError(
            f"token '{token}': a Unigram tokenizer cannot have a gap before id {row}; drop the padding rows"
        )
    pieces = owner.raw["model"]["vocab"] if owner and owner.kind == "Unigram" else []
    model["vocab"].append([token, next((score for piece, score in pieces if piece == token), 0.0)])


def _new_merges(rm: Vocabulary, experts: Sequence[Vocabulary], model: dict[str, Any]) -> list[Any]:
    known, new = set(rm.merges), []
    for vocabulary in experts:
        for merge in vocabulary.merges:
            whole = "".join(merge)
            if merge not in known and whole not in rm.tokens and all(p in model["vocab"] for p in (*merge, whole)):
                known.add(merge)
                new.append(merge)
    as_text = bool(rm.raw["model"]["merges"]) and isinstance(rm.raw["model"]["merges"][0], str)
    return [" ".join(merge) if as_text else list(merge) for merge in new]
