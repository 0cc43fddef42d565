"""The check that another engine gives the model's rewards: which sample, and what it lets through."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import RunFailed
from harness.scoring._batching import Encoded
from harness.scoring._parity import BOUNDS, check_parity, sample


def encoded(*lengths: int) -> list[Encoded]:
    return [Encoded(np.full(n, 1, np.int32), 0, cut=False) for n in lengths]


def test_the_sample_spreads_over_lengths_without_duplicates_or_giants() -> None:
    lengths = [*range(1, 102), 50, 50, 5000]
    chosen = [lengths[i] for i in sample(encoded(*lengths), size=5)]
    assert chosen == [1, 26, 51, 76, 101]  # quarters of the way from 1 to 101
    assert sample(encoded(7, 7, 7)) == [0]
    assert sample(encoded(5000)) == [0]


def test_rounding_passes_and_its_size_is_told() -> None:
    assert check_parity([0.0, 1.00001, 2.0], [0.0, 1.0, 2.0], "float32", "x") == pytest.approx(1.2247e-5, rel=1e-3)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("wrong", [[0.5, 1.0, 2.0], [0.0, 1.0, 1.0], [0.0, float("nan"), 2.0]])
def test_a_wrong_reward_stops_the_run_whatever_the_dtype(wrong: list[float], dtype: str) -> None:
    with pytest.raises(RunFailed, match=r"x does not give the model's rewards: on a sample of 3 .* use --backend hf"):
        check_parity(wrong, [0.0, 1.0, 2.0], dtype, "x")


def test_a_sigmoid_or_a_swapped_order_does_not_pass_in_any_dtype() -> None:
    right = [-2.0, -0.5, 0.3, 1.9]
    for wrong in (1 / (1 + np.exp(-np.array(right))), right[::-1]):
        for dtype in BOUNDS:
            with pytest.raises(RunFailed):
                check_parity(list(wrong), right, dtype, "x")


def test_a_model_that_gives_nan_everywhere_is_left_to_the_records() -> None:
    assert check_parity([float("nan")] * 2, [float("nan")] * 2, "float32", "x") == 0.0
