"""What a paired test is given and must answer; `TEST` in a file of this package makes it known by the file's name."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from leaderboard._errors import LeaderboardError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Paired:
    """P comparisons of two candidates on C shared units (examples, or clusters of them)."""

    differences: Floats  # (C, P) sum over the unit of w_i (a_i - b_i); 0 where the unit takes no part
    wins: npt.NDArray[np.int64]  # (P,) examples with a above b
    losses: npt.NDArray[np.int64]  # (P,) examples with b above a
    plain: Bools  # (P,) all weights equal, outcomes 0 or 1, no unit with more than one example


class PairedTest(Protocol):
    """A two-sided test that the two candidates do equally well."""

    title: str

    def applies(self, paired: Paired) -> Bools:
        """(P,) which of the comparisons the test is valid for."""
        ...

    def p_values(self, paired: Paired, *, resamples: int, seed: int) -> Floats:
        """(P,) two-sided p-values in (0, 1]; the same arguments give the same values."""
        ...


def paired_tests() -> dict[str, PairedTest]:
    """Every file of leaderboard/stats that exposes TEST, by the file's name."""
    package = importlib.import_module("leaderboard.stats")
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    modules = {name: importlib.import_module(f"leaderboard.stats.{name}") for name in names}
    return {name: module.TEST for name, module in modules.items() if hasattr(module, "TEST")}


def paired_test(name: str) -> PairedTest:
    """The test of that name; LeaderboardError names the known ones."""
    known = paired_tests()
    if name not in known:
        raise LeaderboardError(f"unknown paired test '{name}'; known: {', '.join(known)}")
    return known[name]
