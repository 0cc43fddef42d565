"""A strict subset of mergekit's YAML, translated into a recipe. What is not understood is an error, never skipped.

Read: merge_method, models[].model, models[].parameters.weight, base_model, dtype, tokenizer.source (union). The
reward model is the first model that is not the base (for linear: `base_model` where it is given). Weights of a
linear merge are normalised to 1, as mergekit does; for the others the reward model's weight must be 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, did_you_mean

_TOP = ("merge_method", "models", "base_model", "dtype", "tokenizer")
# Their options where mergekit's defaults differ from ours.
_METHODS: dict[str, dict[str, float]] = {
    "linear": {},
    "task_arithmetic": {},
    "dare_linear": {"density": 1.0},
    "dare_ties": {"density": 1.0},
}


def translate(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The recipe, as a mapping for harness.config.Recipe. Raises ConfigError naming the key."""
    _known(path, "", raw, _TOP)
    method = raw["merge_method"]
    if method not in _METHODS:
        raise ConfigError(
            f"{path}: merge_method: '{method}' cannot be taken over from mergekit's format; write a recipe of your "
            f"own with 'rm', 'experts' and 'method' ({', '.join(_METHODS)} can)"
        )
    models, weights = _models(path, raw.get("models"))
    base = raw.get("base_model")
    _tokenizer(path, raw.get("tokenizer"))
    recipe: dict[str, Any] = {"method": method, "dtype": raw.get("dtype", "rm")}
    if _METHODS[method]:
        recipe["options"] = dict(_METHODS[method])
    if method == "linear":
        weights = _linear(models, weights, base, path)
    else:
        models, weights = _beside_base(models, weights, base, path, method)
        recipe["base"] = base
    if len(models) < 2:
        raise ConfigError(f"{path}: models: a reward model and at least one expert are needed")
    experts = [{"model": m, "weight": w} for m, w in zip(models[1:], weights[1:], strict=True)]
    return {**recipe, "rm": models[0], "experts": experts}


def _linear(models: list[str], weights: list[float], base: Any, path: Path) -> list[float]:
    """Shares of a linear merge; the reward model comes to the front where `base_model` names it."""
    if base is not None and base not in models:
        raise ConfigError(
            f"{path}: base_model: '{base}' is not among the models; in a linear merge it names the reward model"
        )
    if base is not None:
        place = models.index(base)
        models.insert(0, models.pop(place))
        weights = [weights[place], *weights[:place], *weights[place + 1 :]]
    total = sum(weights)
    if total <= 0:
        raise ConfigError(f"{path}: models: the weights add up to {total:g}")
    return [weight / total for weight in weights]


def _beside_base(
    models: list[str], weights: list[float], base: Any, path: Path, method: str
) -> tuple[list[str], list[float]]:
    """Models and weights without the base."""
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base_model is missing; method '{method}' needs it")
    pairs = [(model, weight) for model, weight in zip(models, weights, strict=True) if model != base]
    if pairs and pairs[0][1] != 1:
        raise ConfigError(
            f"{path}: models: the reward model '{pairs[0][0]}' must have the weight 1 in method '{method}', "
            f"not {pairs[0][1]:g}"
        )
    return [model for model, _ in pairs], [weight for _, weight in pairs]


def _models(path: Path, value: Any) -> tuple[list[str], list[float]]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{path}: models: must be a list of models")
    names, weights = [], []
    for i, entry in enumerate(value):
        if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
            raise ConfigError(f"{path}: models[{i}]: must have a 'model'")
        _known(path, f"models[{i}].", entry, ("model", "parameters"))
        parameters = entry.get("parameters") or {}
        _known(path, f"models[{i}].parameters.", parameters, ("weight",))
        weight = parameters.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise ConfigError(f"{path}: models[{i}].parameters.weight: must be one number, not {weight!r}")
        names.append(entry["model"])
        weights.append(float(weight))
    return names, weights


def _tokenizer(path: Path, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: tokenizer: must be a mapping with 'source'")
    _known(path, "tokenizer.", value, ("source",))
    if value.get("source") != "union":
        raise ConfigError(f"{path}: tokenizer.source: only 'union' is supported (every token of every model is kept)")


def _known(path: Path, where: str, value: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in value:
        if key not in known:
            raise ConfigError(
                f"{path}: {where}{key}: unknown key of mergekit's format: {did_you_mean(str(key), known)}"
            )
