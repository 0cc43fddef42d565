"""`harness merge --verify DIR`: make a recorded merge again from its parents and compare, tensor by tensor."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from harness._hashing import weights_hash
from harness.config import Recipe
from harness.errors import CandidateError, MergeError, UserError
from harness.merging._checkpoint import read_tensors
from harness.merging._plan import plan_merge
from harness.merging._provenance import MERGE_FILE, read_record
from harness.merging._writer import write_merge


def verify_merge(folder: Path) -> dict[str, Any]:
    """{"ok": bool, "message": one sentence, "differing": tensor names}. The merge is made again beside `folder`.

    Raises CandidateError where `folder` has no merge.json, MergeError where its parents are gone or have changed.
    """
    record = read_record(folder)
    if record is None:
        raise CandidateError(f"{folder}: has no readable {MERGE_FILE}: it was not made by harness merge")
    actual = weights_hash(folder)
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=folder.resolve().parent) as place:
        again = Path(place) / "merge"
        try:
            plan = plan_merge(Recipe.model_validate(record["recipe"]))
            report = write_merge(plan, again)
        except UserError as error:
            raise MergeError(f"{folder}: cannot be made again: {error}") from None
        if report.id != record["id"]:
            return _answer(False, "its parents are not the models that it was made of", [])
        differing = [] if report.weights == actual else _differing(folder, again)
    if report.weights == actual:
        return _answer(True, f"made again from its parents, with the same bytes (weights {actual[:12]})", [])
    shown = ", ".join(differing[:5]) + (", ..." if len(differing) > 5 else "")
    return _answer(False, f"{len(differing)} tensors differ from the merge that it records ({shown})", differing)


def _differing(a: Path, b: Path) -> list[str]:
    from harness._hashing import tensor_digest

    mine, again = read_tensors(a), read_tensors(b)
    names = list(dict.fromkeys([*mine, *again]))
    return [
        name
        for name in names
        if name not in mine or name not in again or tensor_digest(mine[name]) != tensor_digest(again[name])
    ]


def _answer(ok: bool, message: str, differing: list[str]) -> dict[str, Any]:
    return {"ok": ok, "message": message, "differing": differing}
