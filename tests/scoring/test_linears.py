"""Packed linear layers: the same product, weights that changed in place noticed, nothing left behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from harness.scoring import _linears
from harness.scoring._linears import FastLinears, works


def body(dtype: torch.dtype = torch.float32) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(24, 40), torch.nn.SiLU(), torch.nn.Linear(40, 8, bias=False)).to(dtype)


needed = pytest.mark.skipif(not works(), reason="this torch has no packed oneDNN linear layers")


@needed
def test_packed_layers_give_what_plain_ones_give() -> None:
    made, x = body(), torch.randn(16, 24)
    fast = FastLinears(made)
    assert len(fast._linears) == 2
    with torch.inference_mode():
        right = made(x)
        with fast():
            found = made(x)
    assert torch.allclose(found, right, atol=1e-5)


@needed
def test_weights_changed_in_place_are_packed_again() -> None:
    made, x = body(), torch.randn(16, 24)
    fast = FastLinears(made)
    with torch.inference_mode(), fast():
        made(x)
    with torch.no_grad():
        flat = made[0].weight.detach().view(-1)  # as a merge in memory writes them
        torch.lerp(flat, torch.ones_like(flat), 0.5, out=flat)
    with torch.inference_mode():
        right = made(x)
        with fast():
            assert torch.allclose(made(x), right, atol=1e-5)


def test_nothing_is_left_behind() -> None:
    made = body()
    fast = FastLinears(made)
    with pytest.raises(ZeroDivisionError), fast():
        _ = 1 / 0
    assert all("forward" not in vars(module) for module in made)
    assert torch.equal(made[0](torch.ones(2, 24)), F.linear(torch.ones(2, 24), made[0].weight, made[0].bias))


def test_other_dtypes_and_models_too_large_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FastLinears(body(torch.bfloat16))._linears == []
    monkeypatch.setattr(_linears, "_memory", lambda: 1000)
    assert FastLinears(body())._linears == []


def test_without_the_operators_stock_layers_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_weight: torch.Tensor) -> torch.Tensor:
        raise AttributeError("no such operator")

    monkeypatch.setattr(_linears, "_pack", missing)
    works.cache_clear()
    try:
        assert not works()
        assert FastLinears(body())._linears == []
    finally:
        works.cache_clear()
