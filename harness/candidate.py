"""Candidates: reward models to be judged, identified by content and never by name or path.

checkpoint  its weights, tokenizer, chat template and config
merge       its recipe over hashed parents; a folder from `harness merge` is the same candidate as the merge made
            in memory, as long as its weights still hash to what its merge.json says
replay      its name (rewards come from a file)
baseline    its rule
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import Recipe, read_recipe
from harness.errors import CandidateError, did_you_mean
from results.records import CandidateRecord, content_key


@dataclass(frozen=True, slots=True)
class Candidate:
    """`folder` is set for what lies on disk, `recipe` for a merge to be made in memory."""

    id: str
    name: str
    kind: str
    folder: Path | None = None
    recipe: Recipe | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sweep(self) -> str | None:
        """Equal for merges in memory that differ in lambda alone; None for everything else."""
        return None if self.recipe is None else str(self.detail["sweep"])

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
    from harness.merging._checkpoint import locate

    return from_folder(locate(spec), name or spec)


def baseline(spec: str) -> Candidate:
    """A rule that needs no model, for example baseline:length."""
    from harness.scoring._rules import RULES

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
    from harness.merging._provenance import read_merge_folder, read_record

    if (folder / "adapter_config.json").is_file():
        raise CandidateError(
            f"{folder}: is a LoRA adapter, not a model; merge it into its base first (peft: merge_and_unload), or "
            "name it in a recipe with 'options: {adapters: merge}'"
        )
    if not (folder / "config.json").is_file():
        raise CandidateError(f"{folder}: not a model folder (it has no config.json)")
    merge_id, record = read_merge_folder(folder), read_record(folder)
    if merge_id is not None and record is not None:
        parents = {role: (Path(p["name"]).name, p["identity"]) for role, p in record["parents"].items()}
        return Candidate(merge_id, name, "merge", folder=folder, detail=_merge_detail(record["canonical"], parents))
    identity = folder_identity(folder)
    return Candidate(_checkpoint_id(identity), name, "checkpoint", folder=folder, detail=identity)


def from_recipe(recipe: Recipe, name: str | None = None) -> Candidate:
    """A merge to be made in memory; the recipe must fix its weights (no sweep)."""
    from harness._hashing import folder_identity
    from harness.merging._provenance import canonical_recipe, merge_identity

    if recipe.sweep is not None:
        raise CandidateError("this recipe sweeps lambda: 'harness sweep' evaluates it, --model takes a single merge")
    names = _roles(recipe)
    recipe = _located(recipe)
    allowed = recipe.options.get("pickle") == "allow"
    parents = {
        role: (Path(names[role]).name, folder_identity(Path(folder), pickle=allowed))
        for role, folder in _roles(recipe).items()
    }
    detail = _merge_detail(canonical_recipe(recipe), parents)
    identity = merge_identity(recipe, {role: identity for role, (_, identity) in parents.items()})
    return Candidate(identity, name or _shown(recipe, detail), "merge", recipe=recipe, detail=detail)


def _shown(recipe: Recipe, detail: Mapping[str, Any]) -> str:
    """ "rm + 0.35 sft"; whatever else the recipe changes of a plain linear merge stands behind it."""
    merged = " + ".join([detail["rm"], *(f"{expert['weight']:g} {expert['name']}" for expert in detail["experts"])])
    from harness.merging._provenance import SILENT

    options = {key: value for key, value in recipe.options.items() if key not in SILENT}
    said = recipe.model_dump(include={"formula", "dtype", "seed"}, exclude_defaults=True) | options
    more = [] if recipe.method == "linear" else [recipe.method]
    more += [f"layers {where} {weight:g}" for where, weight in (recipe.layers or {}).items()]
    more += [f"{key} {value}" for key, value in said.items()]
    return f"{merged} ({', '.join(more)})" if more else merged


def from_sweep(recipe: Recipe) -> list[Candidate]:
    """One merge in memory for every lambda that the recipe sweeps."""
    if recipe.sweep is None:
        return [from_recipe(recipe)]
    return [from_recipe(recipe.at(weight)) for weight in recipe.sweep]


def _roles(recipe: Recipe) -> dict[str, str]:
    """Role -> model, as merge.json names the roles."""
    roles = {"rm": recipe.rm, **{f"expert {i}": expert.model for i, expert in enumerate(recipe.experts)}}
    return roles | ({"base": recipe.base} if recipe.base else {})


def _located(recipe: Recipe) -> Recipe:
    """The recipe with its models as local folders (hub ids are downloaded, adapters merged where it allows that)."""
    from harness.merging._checkpoint import Reading, locate
    from harness.merging._methods import get_method

    reading, rewards = Reading.of(recipe.options), get_method(recipe.method).rewards_only

    def local(name: str, *, reward: bool = False) -> str:
        return str(locate(name, reading, reward=reward))

    experts = [expert.model_copy(update={"model": local(expert.model, reward=rewards)}) for expert in recipe.experts]
    base = local(recipe.base) if recipe.base else None
    return recipe.model_copy(update={"rm": local(recipe.rm, reward=True), "experts": experts, "base": base})


def _checkpoint_id(identity: Mapping[str, str]) -> str:
    return content_key({"checkpoint": dict(identity)})


def _merge_detail(canonical: Mapping[str, Any], parents: Mapping[str, tuple[str, Mapping[str, str]]]) -> dict[str, Any]:
    """What the page shows of a merge; `sweep` is equal for all lambdas of one recipe."""
    rm_name, rm_identity = parents["rm"]
    weights = canonical["weights"]
    experts = [parents[f"expert {i}"] for i in range(len(weights))]
    family = {key: value for key, value in canonical.items() if key != "weights"}
    return {
        "rm": rm_name,
        "rm_id": _checkpoint_id(rm_identity),
        "experts": [
            {"name": name, "id": _checkpoint_id(identity), "weight": weight}
            for (name, identity), weight in zip(experts, weights, strict=True)
        ],
        "method": canonical["method"],
        "formula": canonical["options"].get("formula", ""),
        "lambda": sum(weights),
        "sweep": content_key([family, {role: dict(identity) for role, (_, identity) in parents.items()}]),
    }
