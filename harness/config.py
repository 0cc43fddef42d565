"""Recipes: the one schema that merge, sweep, nightly and compare read. Errors name the file and the key path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.errors import ConfigError, did_you_mean


def _lambda(value: float) -> float:
    if math.isnan(value) or not 0 <= value <= 1:
        raise ValueError(f"lambda must be between 0 and 1, not {value}")
    return value


def _one_lambda(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("lambda must be a number between 0 and 1")  # noqa: TRY004  pydantic reports ValueError
    if isinstance(value, (list, tuple, dict)):
        raise ValueError("one expert has one lambda; for many use 'sweep:', for different layers 'layers:'")  # noqa: TRY004  pydantic reports ValueError
    return value


def parse_sweep(value: Any) -> Any:
    """ "0:1:0.05" -> [0.0, 0.05, ..., 1.0] (both ends included); lists pass through."""
    if not isinstance(value, str):
        return value
    pieces = value.split(":")
    try:
        start, stop, step = (float(piece) for piece in pieces)
    except ValueError:
        raise ValueError(f"'{value}' is not START:STOP:STEP, for example 0:1:0.05") from None
    if step <= 0 or stop < start:
        raise ValueError(f"'{value}' needs STEP > 0 and STOP >= START")
    count = round((stop - start) / step)
    if abs(start + count * step - stop) > 1e-9:
        raise ValueError(f"'{value}' does not reach {stop:g} in whole steps of {step:g}")
    return [round(start + i * step, 10) for i in range(count + 1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Expert(_Strict):
    """One SFT model and its weight (lambda), or only its name; the weight is left out when the recipe sweeps it."""

    model: str
    weight: Annotated[float | None, BeforeValidator(_one_lambda)] = None

    @model_validator(mode="before")
    @classmethod
    def _only_its_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    _range = field_validator("weight")(classmethod(lambda cls, v: v if v is None else _lambda(v)))  # noqa: ARG005


class ProtocolSettings(_Strict):
    """What the user fixes of the scoring protocol; None means: as the candidate's own files say.

    `system_prompt` is the text itself, or "name:..." for a well-known one (harness.scoring._prompts).
    """

    system_prompt: str | None = None
    chat_template: str | None = None
    max_length: int | None = Field(default=None, gt=0)
    truncation_side: str | None = Field(default=None, pattern="^(left|right)$")


class Recipe(_Strict):
    """A merge, or a sweep of merges, and what to evaluate it on (DESIGN: Recipe)."""

    rm: str
    experts: list[Expert] = Field(min_length=1)
    method: str = "linear"
    base: str | None = None
    sweep: Annotated[list[float] | None, BeforeValidator(parse_sweep)] = None
    layers: dict[str, Annotated[float, BeforeValidator(_one_lambda)]] | None = None
    formula: str = Field(default="lerp", pattern="^(lerp|weighted_sum)$")
    dtype: str = Field(default="rm", pattern="^(rm|float32|bfloat16|float16)$")
    seed: int = 0
    options: dict[str, float | str | bool] = Field(default_factory=dict)
    protocol: ProtocolSettings = ProtocolSettings()
    tasks: list[str] = Field(default_factory=list)
    task_options: dict[str, dict[str, str]] = Field(default_factory=dict)
    pools: dict[str, str] = Field(default_factory=dict)
    baselines: list[str] = Field(default_factory=list)

    @field_validator("sweep")
    @classmethod
    def _sweep_range(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and not value:
            raise ValueError("an empty list sweeps nothing")
        return None if value is None else [_lambda(v) for v in value]

    @field_validator("layers")
    @classmethod
    def _layers_range(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        return None if value is None else {k: _lambda(v) for k, v in value.items()}

    @model_validator(mode="after")
    def _weights(self) -> Recipe:
        for i, expert in enumerate(self.experts):
            if self.sweep is None and expert.weight is None:
                raise ValueError(f"experts[{i}].weight is missing: give a lambda, or a 'sweep'")
            if self.sweep is not None and expert.weight is not None:
                raise ValueError(f"experts[{i}].weight and 'sweep' both give lambda: keep one of them")
        return self

    def at(self, weight: float) -> Recipe:
        """The single merge of this sweep at one lambda (every expert gets an equal share of it)."""
        share = _lambda(weight) / len(self.experts)
        experts = [expert.model_copy(update={"weight": share}) for expert in self.experts]
        return self.model_copy(update={"sweep": None, "experts": experts})


def read_recipe(path: Path) -> Recipe:
    """Read a single recipe; relative model paths are taken from the recipe's own folder when they exist there.

    Raises ConfigError (one sentence: file, key, what is wrong), also for a file with a 'grid' of recipes.
    """
    raw = read_mapping(path)
    if "grid" in raw:
        raise ConfigError(f"{path}: 'grid' describes many merges: 'harness sweep' evaluates them, this takes one")
    return make_recipe(raw, path)


def read_mapping(path: Path) -> dict[str, Any]:
    """A recipe file as a mapping, not yet checked; mergekit's format is translated. Raises ConfigError."""
    raw = read_yaml(path, "recipe file", "a recipe is a mapping with at least 'rm' and 'experts'")
    if "merge_method" in raw:  # mergekit's format
        from harness.merging._mergekit import translate

        return translate(raw, path)
    return raw


def read_yaml(path: Path, what: str, expected: str) -> dict[str, Any]:
    """A YAML mapping. Raises ConfigError: `what` names the kind of file, `expected` is told where it is no mapping."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: {expected}")
    return raw


def make_recipe(raw: Mapping[str, Any], path: Path, said: Callable[[str], str] = str) -> Recipe:
    """The recipe that a mapping from `path` describes. `said` tells where a top-level key was really written."""
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_sentence(path, error, said)) from None
    return _resolve(recipe, path.parent)


def _sentence(path: Path, error: ValidationError, said: Callable[[str], str]) -> str:
    first = error.errors()[0]
    keys = [said(str(p)) if i == 0 else p for i, p in enumerate(first["loc"])]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in keys).lstrip(".")
    if first["type"] == "extra_forbidden":
        return f"{path}: unknown key '{where}': {did_you_mean(str(first['loc'][-1]), Recipe.model_fields)}"
    if first["type"] == "string_pattern_mismatch":
        words = first["ctx"]["pattern"].strip("^$()").split("|")
        return f"{path}: {where}: '{first['input']}' is not known: {did_you_mean(str(first['input']), words)}"
    text = first["msg"].removeprefix("Value error, ")
    return f"{path}: {where + ': ' if where else ''}{text[0].lower() + text[1:]}"


def _resolve(recipe: Recipe, folder: Path) -> Recipe:
    def local(name: str) -> str:
        return str(folder / name) if not Path(name).is_absolute() and (folder / name).is_dir() else name

    experts = [e.model_copy(update={"model": local(e.model)}) for e in recipe.experts]
    base = None if recipe.base is None else local(recipe.base)
    return recipe.model_copy(update={"rm": local(recipe.rm), "experts": experts, "base": base})
