"""What must hold for any numbers: endpoints, one rounding, and no influence of chunk, order or hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from merging_models import WORDS, same_bits, save_model, weights
from torch import Tensor

from harness.config import Expert, Recipe
from harness.merging._kernel import Kernel, finite
from harness.merging._plan import MergePlan, plan_merge
from harness.merging._sparse import drop, trim, uniform
from harness.merging._writer import write_merge

LAMBDAS = st.one_of(st.sampled_from([0.0, 1.0, 0.5, 0.35]), st.floats(0, 1))
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])
HALF_UNIT = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # at 1.0


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], MergePlan]:
    folder = tmp_path_factory.mktemp("plans")
    rm, sft = (save_model(folder / n, seed=i, reward=n == "rm") for i, n in enumerate(("rm", "sft")))
    return lambda weight: plan_merge(Recipe(rm=str(rm), experts=[Expert(model=str(sft), weight=weight)]))


def numbers(bits: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Any bit pattern of the dtype: subnormals, -0, infinities and NaN included."""
    return torch.from_numpy(bits.copy()).view(torch.float32) if dtype == torch.float32 else (
        torch.from_numpy(bits.astype(np.uint16)).view(dtype)
    )  # fmt: skip


BITS = arrays(np.uint32, st.integers(1, 70), elements=st.integers(0, 2**32 - 1))


def combined(plan: MergePlan, rm: Tensor, sft: Tensor, weight: float) -> Tensor:
    tensor = next(t for t in plan.tensors if t.kind == "body")
    out = torch.empty_like(rm)
    experts, used = ([sft], [0]) if weight else ([], [])
    Kernel(plan, plan.recipe).combine(out, rm, experts, None, [weight], used, tensor, lambda: torch.arange(len(rm)))
    return out


@given(bits=BITS, dtype=DTYPES)
@settings(deadline=None)
def test_endpoints_are_copies_of_any_bits(
    plans: Callable[[float], MergePlan], bits: np.ndarray, dtype: torch.dtype
) -> None:
    a, b = numbers(bits, dtype), numbers(bits[::-1], dtype)
    assert same_bits(combined(plans(0.0), a, b, 0.0), a)
    assert same_bits(combined(plans(1.0), a, b, 1.0), b)


@given(bits=BITS, other=st.integers(0, 2**32 - 1), dtype=DTYPES, weight=LAMBDAS)
@settings(deadline=None, max_examples=300)
def test_a_merge_is_within_half_a_unit_of_the_exact_value(
    plans: Callable[[float], MergePlan], bits: np.ndarray, other: int, dtype: torch.dtype, weight: float
) -> None:
    a, b = numbers(bits, dtype), numbers(bits ^ np.uint32(other), dtype)
    exact = (1 - weight) * a.double() + weight * b.double()
    assume(bool(torch.isfinite(exact).all()) and bool(torch.isfinite(a).all() and torch.isfinite(b).all()))
    assume(bool((b.double() - a.double()).abs().max() < torch.finfo(torch.float32).max))
    merged = combined(plans(weight), a, b, weight).double()
    # Half a unit in the last place of the exact value, plus float32's own error, which the larger parent bounds.
    size = torch.maximum(a.double().abs(), b.double().abs())
    binade = torch.ldexp(torch.ones_like(exact), torch.frexp(exact).exponent - 1)
    half = torch.clamp(binade, min=float(torch.finfo(dtype).tiny)) * HALF_UNIT[dtype]
    allowed = half + size * 4 * 2.0**-24 + 2.0**-149
    assert bool(((merged - exact).abs() <= allowed).all())


@given(bits=BITS, dtype=DTYPES, weight=LAMBDAS, cut=st.integers(0, 70))
@settings(deadline=None)
def test_a_merge_of_parts_is_the_part_of_the_merge(
    plans: Callable[[float], MergePlan], bits: np.ndarray, dtype: torch.dtype, weight: float, cut: int
) -> None:
    a, b = numbers(bits, dtype), numbers(bits[::-1], dtype)
    assume(bool(torch.isfinite(a.float()).all()))
    whole = combined(plans(weight), a, b, weight)
    parts = [combined(plans(weight), x, y, weight) for x, y in ((a[:cut], b[:cut]), (a[cut:], b[cut:]))]
    assert same_bits(whole, torch.cat(parts))


@given(bits=BITS, dtype=DTYPES)
@settings(deadline=None)
def test_finite_sees_every_nan_and_infinity(bits: np.ndarray, dtype: torch.dtype) -> None:
    values = numbers(bits, dtype)
    assert finite(values) == bool(torch.isfinite(values.float()).all())


def test_finite_is_not_fooled_by_its_own_overflow() -> None:
    assert finite(torch.full((10,), 3e38))
    assert finite(torch.tensor([3e38, 3e38, -3e38, -3e38]))
    assert not finite(torch.tensor([float("inf"), float("-inf")]))


@given(bits=BITS, density=st.floats(0.01, 1))
@settings(deadline=None)
def test_trimming_keeps_the_share_and_the_largest(bits: np.ndarray, density: float) -> None:
    values = torch.nan_to_num(numbers(bits, torch.float32))
    assume(bool((values != 0).all()))
    kept = trim(values, density)
    chosen = kept != 0
    assert int(chosen.sum()) == max(1, int(density * len(values)))
    assert same_bits(kept[chosen], values[chosen])
    if bool((~chosen).any()):
        assert float(values[chosen].abs().min()) >= float(values[~chosen].abs().max())


def test_draws_are_uniform_and_independent_of_order() -> None:
    positions = torch.arange(200_000)
    draws = uniform(positions, "key")
    assert float(draws.min()) >= 0
    assert float(draws.max()) < 1
    counts = torch.histc(draws, bins=20, min=0, max=1)
    assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 45  # chi-squared with 19 degrees of freedom, p about 7e-4
    order = torch.randperm(200_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(uniform(positions[order], "key"), draws[order])
    correlation = torch.corrcoef(torch.stack([draws, uniform(positions, "other")]))[0, 1]
    assert abs(float(correlation)) < 0.01
    assert not torch.equal(uniform(positions + 2**32, "key"), draws)
    assert torch.equal(drop(torch.ones(4), 1.0, torch.arange(4), "k"), torch.ones(4))


@pytest.mark.parametrize("method", ["linear", "dare_linear"])
def test_renumbering_an_expert_changes_no_byte(tmp_path: Path, method: str) -> None:
    """The same expert with its tokens in another order, rows moved accordingly."""
    from merging_models import edit_weights

    rm = save_model(tmp_path / "rm", seed=1, reward=True)
    base = save_model(tmp_path / "base", seed=3, reward=False)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    order = torch.cat([torch.arange(3), order[order >= 3]])
    save_model(tmp_path / "one", seed=2, reward=False)
    save_model(tmp_path / "two", seed=2, reward=False, words=[WORDS[i] for i in order])

    def move(tensors: dict[str, Tensor]) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors[name][order].clone()

    edit_weights(tmp_path / "two", move)
    for name in ("one", "two"):
        expert = Expert(model=str(tmp_path / name), weight=0.3)
        recipe = Recipe(rm=str(rm), experts=[expert], method=method, base=str(base) if method != "linear" else None)
        write_merge(plan_merge(recipe), tmp_path / f"out-{name}")
    a, b = weights(tmp_path / "out-one"), weights(tmp_path / "out-two")
    assert all(same_bits(a[name], b[name]) for name in a)


def test_the_hash_seed_of_python_changes_no_byte(tmp_path: Path) -> None:
    rm = save_model(tmp_path / "rm", seed=1, reward=True, words=WORDS[:30])
    sft = save_model(tmp_path / "sft", seed=2, reward=False, added=["<x>", "<y>"])
    files = []
    for seed in ("0", "1"):
        out = tmp_path / f"out{seed}"
        code = "import sys; from harness.cli.main import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", code, "merge", "--rm", rm, "--sft", sft, "--lambda", "0.35", "-o", out]
        subprocess.run(list(map(str, command)), check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        files.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert files[0] == files[1]
