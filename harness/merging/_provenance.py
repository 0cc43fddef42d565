"""What a merge is, by content: its identity, merge.json and the model card.

A merge's id is a hash over the recipe, reduced to what changes weights, and its parents' content, never over paths.
A folder keeps that id only while its weights, tokenizer, template and configuration still hash to what its
merge.json says; otherwise it is a plain checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness._environment import versions
from harness._hashing import canonical_hash, folder_identity
from harness.config import Recipe
from harness.errors import UserError
from harness.merging._adapter import adapter_record
from harness.merging._methods import get_method

MERGE_FILE = "merge.json"
_FORMAT = 1
SILENT = ("config", "pickle", "adapters")  # options that allow something, and change no byte
_PACKAGES = ("merged-rm-harness", "torch", "transformers", "tokenizers", "safetensors")  # what takes part
Identity = Mapping[str, str]


def canonical_recipe(recipe: Recipe) -> dict[str, Any]:
    """The part of a single merge's recipe that decides the output's bytes, defaults filled in."""
    method = get_method(recipe.method)
    options = {**method.options, **recipe.options}
    options = {key: value for key, value in options.items() if key not in SILENT}
    if "formula" in method.options:
        options["formula"] = recipe.formula
    return {
        "method": recipe.method,
        "weights": [float(expert.weight or 0) for expert in recipe.experts],
        "layers": [[key, float(value)] for key, value in (recipe.layers or {}).items()],  # their order counts
        "options": {key: float(value) if type(value) is int else value for key, value in options.items()},
        "dtype": recipe.dtype,
        "seed": recipe.seed if method.random else None,
    }


def merge_identity(recipe: Recipe, parents: Mapping[str, Identity]) -> str:
    """The candidate id of a merge: 64 hex digits.

    `parents`: role ("rm", "expert 0", ..., "base") -> `folder_identity` of it. Of an expert and the base only weights
    and tokenizer count: template and configuration are the RM's.
    """
    return _identity(canonical_recipe(recipe), parents)


def _identity(recipe: Mapping[str, Any], parents: Mapping[str, Identity]) -> str:
    content = {
        role: {key: value for key, value in parent.items() if role == "rm" or key in ("weights", "tokenizer")}
        for role, parent in parents.items()
    }
    return canonical_hash({"merge": _FORMAT, "recipe": recipe, "parents": content})


def read_merge_folder(folder: Path) -> str | None:
    """The merge id of a folder made by `write_merge`, or None where it is not one any more (or never was)."""
    recorded = read_record(folder)
    if recorded is None:
        return None
    try:
        same = folder_identity(folder) == recorded["output"]["identity"]
        known = _identity(recorded["canonical"], {r: p["identity"] for r, p in recorded["parents"].items()})
        return known if same and known == recorded["id"] else None
    except (KeyError, TypeError, AttributeError, UserError, OSError):
        return None


def read_record(folder: Path) -> dict[str, Any] | None:
    """merge.json, or None where there is none that can be read."""
    try:
        record = json.loads((folder / MERGE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == _FORMAT else None


def record(plan: Any, recipe: Recipe, parents: Mapping[str, Identity], output: Identity) -> dict[str, Any]:
    """merge.json's content; `output` is the written folder's identity."""
    alignment = plan.alignment
    return {
        "format": _FORMAT,
        "id": merge_identity(recipe, parents),
        "formula": plan.method.formula,
        "recipe": recipe.model_dump(mode="json", exclude_defaults=True),
        "canonical": canonical_recipe(recipe),
        "parents": {role: _parent_entry(parent, parents[role]) for role, parent in plan.parents.items()},
        "tokens": {**alignment.counts, "rows": alignment.rows, "rm_rows": alignment.rm_rows},
        "appended": [token for token, _ in alignment.appended],
        "output": {"bytes": plan.nbytes, "identity": dict(output)},
        "versions": versions(_PACKAGES),
        "notes": list(plan.notes),
    }


def _parent_entry(parent: Any, identity: Identity) -> dict[str, Any]:
    adapter = adapter_record(parent.checkpoint.folder)
    entry = {"name": parent.name, "identity": dict(identity)}
    return entry if adapter is None else {**entry, "adapter": adapter}


def card(record: Mapping[str, Any]) -> str:
    """README.md of a merged folder."""
    parents = record["parents"]
    experts = [parent for role, parent in parents.items() if role.startswith("expert")]
    weights = record["canonical"]["weights"]
    rows = [f"| reward model | {parents['rm']['name']} | rest | `{parents['rm']['identity']['weights'][:16]}` |"]
    rows += [
        f"| expert | {parent['name']} | {weight:g} | `{parent['identity']['weights'][:16]}` |"
        for parent, weight in zip(experts, weights, strict=True)
    ]
    if "base" in parents:
        rows.append(f"| base | {parents['base']['name']} | | `{parents['base']['identity']['weights'][:16]}` |")
    tokens = record["tokens"]
    return "\n".join(
        [
            "---", "library_name: transformers", "pipeline_tag: text-classification",
            "tags: [reward-model, merge]", "---", "",
            "# A merged reward model", "",
            f"Made by merged-rm-harness {record['versions'].get('merged-rm-harness', '')} with the method "
            f"`{record['canonical']['method']}`: {record['formula']}.", "",
            "| role | model | lambda | weights |", "|---|---|---|---|", *rows, "",
            f"Tokens: {tokens['shared']:,} shared, {tokens['rm_only']:,} only in the reward model, "
            f"{tokens['expert_only']:,} only in experts. The reward head, the configuration and the chat template "
            "are the reward model's.", "",
            f"Merge id: `{record['id']}`. `merge.json` has the whole recipe; `harness merge --verify DIR` makes the "
            "merge again and compares.", "",
        ]
    )  # fmt: skip
