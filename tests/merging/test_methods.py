"""Each method against its paper's formula worked out by hand, and what all methods have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merging_models import WORDS, same_bits, save_model, weights
from torch import Tensor

from harness.config import Expert, Recipe
from harness.errors import UserError
from harness.merging._live import LiveMerge
from harness.merging._methods import Piece, get_method
from harness.merging._plan import plan_merge
from harness.merging._writer import MergeReport, write_merge
from harness.plugins import METHODS, known

Make = Callable[..., Path]
ALL = sorted(known(METHODS))
BASED = ["dare_linear", "dare_ties", "task_arithmetic", "ties"]
NORM = "model.norm.weight"


def apply(
    method: str, rm: list[float], experts: list[list[float]], shares: list[float], base: list[float] | None = None,
    seed: int = 0, **options: Any,
) -> list[float]:  # fmt: skip
    found = get_method(method)
    piece = Piece(
        torch.tensor(rm), tuple(map(torch.tensor, experts)), tuple(shares), tuple(range(len(shares))),
        None if base is None else torch.tensor(base), {**found.options, **options}, "t", seed,
        lambda: torch.arange(len(rm)),
    )  # fmt: skip
    return [float(x) for x in found.merge(piece)]


def test_the_methods_there_are() -> None:
    assert ALL == ["dare_linear", "dare_ties", "linear", "slerp", "task_arithmetic", "ties", "warm"]


def test_linear_with_several_experts_is_the_sum_of_weighted_differences() -> None:
    assert apply("linear", [1.0, 2.0], [[3.0, 2.0], [1.0, 6.0]], [0.25, 0.5]) == [1.5, 4.0]
    assert apply("linear", [1.0, 2.0], [[3.0, 2.0], [1.0, 6.0]], [0.25, 0.5], formula="weighted_sum") == [1.5, 4.0]


def test_warm_is_the_mean_of_reward_models() -> None:
    assert apply("warm", [0.0, 4.0], [[4.0, 4.0], [8.0, 4.0], [4.0, 0.0]], [0.25, 0.25, 0.25]) == [4.0, 3.0]


def test_task_arithmetic_adds_task_vectors() -> None:
    assert apply("task_arithmetic", [2.0, 1.0], [[3.0, 3.0], [0.0, 5.0]], [0.5, 1.0], [1.0, 1.0]) == [2.0, 6.0]


def test_slerp_halfway_between_right_angles() -> None:
    half = math.sqrt(0.5)
    assert apply("slerp", [1.0, 0.0], [[0.0, 1.0]], [0.5]) == pytest.approx([half, half])
    third = [math.sin(math.pi / 3), math.sin(math.pi / 6)]
    assert apply("slerp", [1.0, 0.0], [[0.0, 1.0]], [1 / 3]) == pytest.approx(third)
    assert apply("slerp", [1.0, 1.0], [[3.0, 3.0]], [0.25]) == [1.5, 1.5]  # parallel: linear
    assert apply("slerp", [0.0, 0.0], [[2.0, 0.0]], [0.5]) == [1.0, 0.0]  # no direction: linear


def test_ties_trims_elects_and_averages() -> None:
    # Task vectors: rm (1, -2, 0, 3); expert (4, 4, 1, -1) trimmed to its half: (4, 4, 0, 0).
    # Weights .5 and .5: signs +, +, +, +. Entry 0: mean of 1 and 4; entry 1: the expert alone; entry 3: the rm alone.
    rm, expert, base = [2.0, -1.0, 1.0, 4.0], [5.0, 5.0, 2.0, 0.0], [1.0] * 4
    assert apply("ties", rm, [expert], [0.5], base, density=0.5) == [3.5, 5.0, 1.0, 4.0]


def test_ties_trimming_prefers_the_first_of_equals() -> None:
    assert apply("ties", [0.0] * 4, [[2.0, -2.0, 2.0, 1.0]], [1.0], [0.0] * 4, density=0.5) == [2.0, -2.0, 0.0, 0.0]


def test_dare_keeps_the_wanted_share_and_rescales() -> None:
    n = 100_000
    merged = torch.tensor(apply("dare_linear", [1.0] * n, [[3.0] * n], [0.5], [2.0] * n, density=0.25))
    kept = merged != 1.0
    assert set(merged.tolist()) == {1.0, 3.0}  # 1 + .5 * (3 - 2) / .25
    assert abs(float(kept.float().mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / n)
    runs = int((kept[1:] != kept[:-1]).sum())  # neighbours are independent
    assert abs(runs - 2 * 0.25 * 0.75 * (n - 1)) < 5 * math.sqrt(n)


def test_dare_draws_depend_on_seed_and_expert() -> None:
    n = 1000
    draws = {
        tuple(apply("dare_linear", [0.0] * n, [[1.0] * n], [1.0], [0.0] * n, seed=seed, density=0.5)) for seed in (0, 1)
    }
    assert len(draws) == 2
    both = torch.tensor(apply("dare_linear", [0.0] * n, [[1.0] * n, [2.0] * n], [1.0, 1.0], [0.0] * n, density=0.5))
    assert set(both.tolist()) == {0.0, 2.0, 4.0, 6.0}


def test_dare_ties_adds_only_what_agrees() -> None:
    # Density 1 drops nothing: rm (1, -2), expert (-3, -1) at weight .5: signs -, -.
    assert apply("dare_ties", [1.0, -2.0], [[-3.0, -1.0]], [0.5], [0.0, 0.0], density=1.0) == [-1.5, -2.5]


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    """A base, a reward model, an expert with renumbered tokens and a token of its own, and a second reward model."""
    words = [*WORDS[:3], *reversed(WORDS[3:])]
    half = {"dtype": torch.bfloat16}
    return {
        "rm": save_model(tmp_path / "rm", seed=1, reward=True, rows=48, added=["[PAD]"], **half),
        "expert": save_model(tmp_path / "expert", seed=2, reward=False, words=words, added=["<new>"], **half),
        "base": save_model(tmp_path / "base", seed=3, reward=False, **half),
        "rm2": save_model(tmp_path / "rm2", seed=4, reward=True, **half),
    }


def recipe(family: dict[str, Path], method: str, weight: float | None = 0.3, **more: Any) -> Recipe:
    expert = family["rm2"] if method == "warm" else family["expert"]
    base = str(family["base"]) if method in BASED else None
    return Recipe(
        rm=str(family["rm"]), experts=[Expert(model=str(expert), weight=weight)], method=method, base=base, **more
    )


def written(wanted: Recipe, out: Path) -> MergeReport:
    return write_merge(plan_merge(wanted), out)


@pytest.mark.parametrize("method", ALL)
def test_weight_0_is_the_reward_model(family: dict[str, Path], tmp_path: Path, method: str) -> None:
    written(recipe(family, method, 0.0), tmp_path / "out")
    a, merged = weights(family["rm"]), weights(tmp_path / "out")
    for name in a:
        assert same_bits(merged[name][: len(a[name])], a[name]), name


@pytest.mark.parametrize("method", ALL)
def test_rows_of_one_owner_are_exact_and_heads_are_kept(family: dict[str, Path], tmp_path: Path, method: str) -> None:
    written(recipe(family, method), tmp_path / "out")
    a, merged = weights(family["rm"]), weights(tmp_path / "out")
    embedding = "model.embed_tokens.weight"
    assert same_bits(merged[embedding][40:48], a[embedding][40:48])
    if method != "warm":
        assert same_bits(merged[embedding][48], weights(family["expert"])[embedding][40])
    assert same_bits(merged["score.weight"], a["score.weight"])
    assert not same_bits(merged[NORM], a[NORM])


@pytest.mark.parametrize("method", ALL)
def test_body_tensors_are_the_formula_in_float32_rounded_once(
    family: dict[str, Path], tmp_path: Path, method: str
) -> None:
    written(recipe(family, method), tmp_path / "out")
    found = get_method(method)
    key = "model.layers.1.mlp.down_proj.weight"
    tensors = {name: weights(folder)[key].float() for name, folder in family.items()}
    piece = Piece(
        tensors["rm"], (tensors["rm2" if method == "warm" else "expert"],), (0.3,), (0,),
        tensors["base"] if found.needs_base else None, found.options, key.removeprefix("model."), 0,
        lambda: torch.arange(tensors["rm"].numel()),
    )  # fmt: skip
    assert same_bits(weights(tmp_path / "out")[key], found.merge(piece).to(torch.bfloat16))


@pytest.mark.parametrize("method", ALL)
def test_chunks_and_memory_give_the_same_bytes(
    family: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    from harness.merging._source import FileSource, MappedSource

    first = written(recipe(family, method), tmp_path / "one")
    monkeypatch.setattr(FileSource, "chunk", 33)
    monkeypatch.setattr(MappedSource, "chunk", 100)
    assert written(recipe(family, method), tmp_path / "two").weights == first.weights
    live = LiveMerge.of(recipe(family, method, None, sweep=[0.0, 0.3]))
    live.set_weight(0.3)
    disk = weights(tmp_path / "one")
    for name, parameter in live.model.named_parameters():
        assert same_bits(parameter.data, disk[name]), name


@pytest.mark.parametrize("method", ["linear", "slerp", "warm"])
def test_weight_1_is_the_expert_for_methods_that_reach_it(family: dict[str, Path], tmp_path: Path, method: str) -> None:
    written(recipe(family, method, 1.0), tmp_path / "out")
    other = weights(family["rm2" if method == "warm" else "expert"])
    assert same_bits(weights(tmp_path / "out")[NORM], other[NORM])


@pytest.mark.parametrize("method", ALL)
def test_the_seed_belongs_to_the_identity_only_where_it_changes_bytes(
    family: dict[str, Path], tmp_path: Path, method: str
) -> None:
    one, two = (written(recipe(family, method, seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    assert (one.weights != two.weights) == (one.id != two.id) == method.startswith("dare")


def test_layers_override_the_weight_by_range_and_by_name(family: dict[str, Path], tmp_path: Path) -> None:
    layers = {"0-1": 0.2, "*.mlp.*": 0.9, "2": 0.0}
    written(recipe(family, "linear", 0.5, layers=layers), tmp_path / "out")
    a, b, merged = (weights(folder) for folder in (family["rm"], family["expert"], tmp_path / "out"))

    def check(name: str, weight: float) -> None:
        expected: Tensor = torch.lerp(a[name].float(), b[name].float(), weight).to(torch.bfloat16)
        assert same_bits(merged[name], a[name] if weight == 0 else expected), name

    check(NORM, 0.5)
    check("model.layers.0.self_attn.q_proj.weight", 0.2)
    check("model.layers.1.mlp.up_proj.weight", 0.9)  # the later pattern counts
    check("model.layers.2.mlp.up_proj.weight", 0.0)


def test_several_experts_share_a_swept_lambda_equally(family: dict[str, Path], tmp_path: Path) -> None:
    experts = [Expert(model=str(family[name])) for name in ("expert", "base")]
    sweep = Recipe(rm=str(family["rm"]), experts=experts, sweep=[0.4])
    written(sweep.at(0.4), tmp_path / "out")
    a, b, c, merged = (
        weights(f)[NORM].float() for f in (family["rm"], family["expert"], family["base"], tmp_path / "out")
    )
    assert torch.equal(merged, (a + (b - a) * 0.2 + (c - a) * 0.2).to(torch.bfloat16).float())


def test_rows_that_only_some_experts_have(tmp_path: Path) -> None:
    """One row for each way in which three vocabularies can overlap."""
    rm = save_model(tmp_path / "rm", seed=1, reward=True, words=[*WORDS[:10], "both", "onlyb", "own"])
    b = save_model(tmp_path / "b", seed=2, reward=False, words=[*WORDS[:10], "onlyb", "both", "new", "newb"])
    c = save_model(tmp_path / "c", seed=3, reward=False, words=[*WORDS[:10], "new", "newc", "both"])
    experts = [Expert(model=str(b), weight=0.2), Expert(model=str(c), weight=0.6)]
    report = written(Recipe(rm=str(rm), experts=experts), tmp_path / "out")
    assert report.tokens == {"shared": 12, "rm_only": 1, "expert_only": 3, "rows": 16, "rm_rows": 13}
    x, y, z, merged = (weights(folder)["model.embed_tokens.weight"] for folder in (rm, b, c, tmp_path / "out"))
    assert same_bits(merged[10], x[10] + (y[11] - x[10]) * 0.2 + (z[12] - x[10]) * 0.6)
    assert same_bits(merged[11], torch.lerp(x[11], y[10], 0.2))
    assert same_bits(merged[12], x[12])
    assert torch.allclose(merged[13], y[12] * 0.25 + z[10] * 0.75)  # "new": both experts, by their weights
    assert same_bits(merged[14], y[13])
    assert same_bits(merged[15], z[11])


@pytest.mark.parametrize(
    ("method", "change", "said"),
    [
        ("ties", {"base": None}, "needs the base"),
        ("linear", {"base": "./x"}, "has no use for a base"),
        ("slerp", {"formula": "weighted_sum"}, "has only one formula"),
        ("ties", {"options": {"density": 0.0}}, "options.density: must be a number above 0"),
        ("ties", {"options": {"density": "much"}}, "options.density: must be a number"),
        ("ties", {"options": {"densty": 0.5}}, "did you mean 'density'"),
        ("linear", {"options": {"merges": "expert"}}, "'expert' is not known; known: rm"),
        ("linear", {"layers": {"7-9": 0.5}}, "'7-9' matches no tensor"),
    ],
)
def test_recipes_that_make_no_sense(family: dict[str, Path], method: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan_merge(recipe(family, method).model_copy(update=change))


def test_too_many_experts_or_too_much_weight(family: dict[str, Path]) -> None:
    two = [Expert(model=str(family["expert"]), weight=0.6)] * 2
    with pytest.raises(UserError, match="takes 1 expert, the recipe names 2"):
        plan_merge(recipe(family, "slerp").model_copy(update={"experts": two}))
    with pytest.raises(UserError, match=r"add up to 1\.2"):
        plan_merge(recipe(family, "linear").model_copy(update={"experts": two}))
    plan_merge(recipe(family, "task_arithmetic").model_copy(update={"experts": two}))


def test_warm_wants_reward_models(family: dict[str, Path]) -> None:
    wrong = recipe(family, "warm").model_copy(update={"experts": [Expert(model=str(family["expert"]), weight=0.5)]})
    with pytest.raises(UserError, match="is not a reward model"):
        plan_merge(wrong)
