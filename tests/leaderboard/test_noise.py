"""Margins within rounding are counted, with the bound of the run's dtype."""

from __future__ import annotations

import numpy as np
import pytest

from leaderboard._noise import close_calls
from results.bounds import reward_bound

REWARDS = np.array([-1.0, 1.0, np.nan, -1.0, 1.0])  # standard deviation 1


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-5), ("float16", 2.5e-3), ("bfloat16", 2e-2)])
def test_the_bound_is_a_share_of_the_rewards_spread(dtype: str, bound: float) -> None:
    assert reward_bound({"dtype": dtype}, REWARDS) == pytest.approx(bound)
    assert reward_bound({"dtype": dtype}, 5 * REWARDS) == pytest.approx(5 * bound)


def test_runs_that_computed_nothing_have_no_noise() -> None:
    assert reward_bound({"backend": "replay"}, REWARDS) == 0.0
    assert reward_bound({"dtype": "float32"}, np.array([np.nan])) == 0.0


def test_only_margins_inside_the_bound_count() -> None:
    margins = np.array([0.0, 0.009, -0.009, 0.011, -0.5, np.nan])
    assert close_calls(margins, 0.01) == 3
    assert close_calls(margins, 0.0) == 0
