"""Real vLLM engines on CPU: transformers' rewards, before and after swaps of weights. `.ci/vllm` runs these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring_models import candidate, conversation, reference, request, rewards, write_model

from harness.errors import RunFailed, ScoringError
from harness.scoring import vllm
from harness.scoring._types import ScoringOptions

HEADS = {"hidden_size": 64, "head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}  # what vLLM takes
BOUND = 2e-5
pytestmark = pytest.mark.filterwarnings("ignore")  # vLLM's own

real = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed here: .ci/vllm runs these tests")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    root = tmp_path_factory.mktemp("vllm")

    def folder(kind: str) -> Path:
        place = root / kind
        if not place.exists():
            task = "CausalLM" if kind == "sft" else "SequenceClassification"
            kinds = {"sft": "llama", "rm": "llama"}
            write_model(place, kinds.get(kind, kind), 1 + (kind == "sft"), task=task, **HEADS)
        return place

    yield folder
    vllm.shut_down()


def scored(one: Any, **options: Any) -> dict[tuple[str, int], Any]:
    return rewards(vllm.open_backend(one, ScoringOptions(device="cpu", **options)), conversation())


def error(found: dict[Any, float], right: dict[Any, float]) -> float:
    return max(abs(found[key] - right[key]) for key in right) / float(np.std(list(right.values())))


def merge(models: Callable[[str], Path], weight: float) -> Any:
    from harness.candidate import from_recipe
    from harness.config import Expert, Recipe

    return from_recipe(Recipe(rm=str(models("rm")), experts=[Expert(model=str(models("sft")), weight=weight)]))


@real
@pytest.mark.vllm
@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_float32_rewards_are_the_models(models: Callable[[str], Path], kind: str) -> None:
    right = reference(models(kind), conversation(), ScoringOptions())
    assert error(scored(candidate(models(kind))), right) < BOUND


@real
@pytest.mark.vllm
def test_bfloat16_is_no_worse_than_the_model_alone_in_bfloat16(models: Callable[[str], Path]) -> None:
    import torch

    right = reference(models("llama"), conversation(), ScoringOptions())
    alone = reference(models("llama"), conversation(), ScoringOptions(), dtype=torch.bfloat16)
    found = scored(candidate(models("llama")), dtype="bfloat16")
    noise, ours = (np.mean([abs(x[key] - right[key]) for key in right]) for x in (alone, found))
    assert ours < 1.25 * noise


@real
@pytest.mark.vllm
def test_cut_sequences_are_the_same_as_in_transformers(models: Callable[[str], Path]) -> None:
    right = reference(models("llama"), conversation(), ScoringOptions(max_length=40))
    assert error(scored(candidate(models("llama")), max_length=40), right) < BOUND


@real
@pytest.mark.vllm
def test_a_live_engine_takes_the_weights_of_every_lambda_and_comes_back(models: Callable[[str], Path]) -> None:
    from harness.scoring import hf

    seen: dict[float, Any] = {}
    backend = vllm.open_backend(merge(models, 0.0), ScoringOptions(device="cpu"))
    for weight in (0.0, 0.5, 1.0, 0.5, 0.0):
        backend.follow(merge(models, weight))  # type: ignore[attr-defined]
        found = rewards(backend, conversation())
        right = rewards(hf.open_backend(merge(models, weight), ScoringOptions(device="cpu")), conversation())
        assert error(found, right) < BOUND
        assert seen.setdefault(weight, found) == found
    assert len({tuple(found.values()) for found in seen.values()}) == 3
    plain = reference(models("rm"), conversation(), ScoringOptions())
    assert error(seen[0.0], plain) < BOUND


@real
@pytest.mark.vllm
def test_a_stale_prefix_cache_is_noticed(models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    long = [request("k", i, "what is the a of b " * 30, "it is " * i) for i in range(4)]  # blocks of 128 are cached
    options = ScoringOptions(device="cpu")
    rewards(vllm.open_backend(merge(models, 0.0), options), long)
    monkeypatch.setattr(vllm._LIVE.llm, "reset_prefix_cache", lambda: True)
    monkeypatch.setattr(vllm._LIVE, "checked", set())  # as after the first swap
    with pytest.raises(RunFailed, match=r"vLLM does not give the model's rewards: on a sample of \d+"):
        rewards(vllm.open_backend(merge(models, 0.75), options), long)


@real
@pytest.mark.vllm
def test_a_swap_without_effect_is_noticed(models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    scored(merge(models, 0.0))
    monkeypatch.setattr(vllm._LIVE.llm, "collective_rpc", lambda *_args, **_kwargs: None)
    with pytest.raises(RunFailed, match="did not move with the weights"):
        scored(merge(models, 0.25))


@real
@pytest.mark.vllm
def test_a_model_that_vllm_cannot_run_is_one_sentence(family: Callable[[str], Path]) -> None:
    with pytest.raises((RunFailed, ScoringError), match=r"vLLM cannot .*; use --backend hf"):
        scored(candidate(family("llama")))  # heads of eight


def test_without_the_package_the_error_says_how_to_get_it(
    family: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "find_spec", lambda _name: None)
    with pytest.raises(ScoringError, match=r"needs the package vllm, .* pip install '.\[vllm\]'"):
        vllm.open_backend(candidate(family("llama")), ScoringOptions())
