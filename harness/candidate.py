"""Candidates: reward models to be judged, identified by content and never by name or path.

checkpoint  its weights, tokenizer, chat template and config
merge       its recipe over hashed parents; a folder from `harness merge` is the same candidate as the merge made
            in memory, as long as its weights still hash to what its merge.json says
replay      its name (rewards come from a file)
baseline    its rule
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import Recipe, read_recipe
from harness.errors import CandidateError, did_you_mean
from results.records import CandidateRecord, content_key

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Candidate:
    """`folder` is set for what lies on disk, `recipe` for a merge to be made in memory."""

    id: str
    name: str
    kind: str
    folder: Path | None = None
    recipe: Recipe | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> CandidateRecord:
        return CandidateRecord(self.id, self.name, self.kind, self.detail)


def resolve(spec: str, *, name: str | None = None) -> Candidate:
    """The candidate that `--model SPEC` means: baseline:RULE, a folder, a recipe file, or a hub id.

    Raises CandidateError (one sentence) for anything else.
    """
    if spec.startswith("baseline:"):
        return baseline(spec)
    path = Path(spec)
    if path.is_dir():
        return from_folder(path, name or path.resolve().name)
    if path.suffix in (".yaml", ".yml"):
        return from_recipe(read_recipe(path), name)
    if path.is_file():
        raise CandidateError(f"--model {spec}: it is a file; give a model folder, a recipe (.yaml) or a hub id")
    if not _HUB_ID.fullmatch(spec):
        raise CandidateError(f"--model {spec}: there is no such folder")
    return from_folder(download(spec), name or spec)


def download(hub_id: str) -> Path:
    """Local snapshot of a hub id (`org/name` or `org/name@revision`). Raises CandidateError when it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, _, revision = hub_id.partition("@")
    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision or None,
                allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        kind = type(error).__name__
        raise CandidateError(
            f"'{hub_id}' is neither a folder here nor a model the hub would give ({kind}):"
            " check the name, the network and your token"
        ) from None


def baseline(spec: str) -> Candidate:
    """A rule that needs no model, for example baseline:length."""
    from harness.scoring.baseline import RULES

    rule = spec.removeprefix("baseline:")
    if rule not in RULES:
        raise CandidateError(f"--model {spec}: unknown baseline '{rule}': {did_you_mean(rule, RULES)}")
    return Candidate(content_key({"baseline": rule}), spec, "baseline", detail={"rule": rule})


def named(name: str, kind: str) -> Candidate:
    """A candidate that is only a name: rewards from a file (replay), or the fake backend."""
    return Candidate(content_key({kind: name}), name, kind)


def from_folder(folder: Path, name: str) -> Candidate:
    """A checkpoint folder, or the merge that `harness merge` wrote there."""
    from harness._hashing import folder_identity
    from harness.merging._provenance import read_merge_folder

    if not (folder / "config.json").is_file():
        raise CandidateError(f"{folder}: not a model folder (it has no config.json)")
    merged = read_merge_folder(folder)
    if merged is not None:
        return Candidate(merged.id, name, "merge", folder=folder, detail=merged.detail)
    identity = folder_identity(folder)
    return Candidate(content_key({"checkpoint": identity}), name, "checkpoint", folder=folder, detail=identity)


def from_recipe(recipe: Recipe, name: str | None = None) -> Candidate:
    """A merge to be made in memory; the recipe must fix its weights (no sweep)."""
    from harness.merging._provenance import recipe_candidate

    merged = recipe_candidate(recipe)
    return Candidate(merged.id, name or merged.name, "merge", recipe=recipe, detail=merged.detail)
