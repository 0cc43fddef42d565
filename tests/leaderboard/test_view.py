"""Rounding decisions, by hand."""

from __future__ import annotations

import math
from datetime import datetime

import pytest

from leaderboard import view


@pytest.mark.parametrize(
    ("value", "shown"), [(0.7975275, "79.8"), (1.0, "100.0"), (0.0, "0.0"), (None, "–"), (math.nan, "–")]
)
def test_percent(value: float | None, shown: str) -> None:
    assert view.percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0312, "+3.1"), (-0.0312, "−3.1"), (0.0004, "0.0"), (-0.0004, "0.0"), (math.nan, "–")]
)
def test_points(value: float, shown: str) -> None:
    assert view.points(value) == shown


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0703125, ".070"),
        (0.05, ".050"),
        (0.001, ".001"),
        (0.00099, "1e−3"),
        (3.2e-52, "3e−52"),
        (0.0, "<1e−300"),
        (0.9996, "1"),
        (1.0, "1"),
        (0.9994, ".999"),
        (None, "–"),
    ],
)
def test_p_values(p: float | None, shown: str) -> None:
    assert view.p_value(p) == shown


def test_p_in_a_sentence() -> None:
    assert view.p_sentence(0.034) == "p = .034"
    assert view.p_sentence(0.0) == "p <1e−300"


def test_ranks_weights_times_and_counts() -> None:
    assert view.rank_range((1, 5)) == "1–5"
    assert view.rank_range((3, 3)) == "3"
    assert view.lam(0.1 + 0.2) == "0.3"
    assert view.lam(None) == ""
    assert view.moment(datetime(2026, 3, 1, 7, 5, 59)) == "2026-03-01 07:05 UTC"
    assert view.plural(1, "run") == "1 run"
    assert view.plural(2985, "run") == "2,985 runs"


def test_hidden_and_reordering_characters_are_shown() -> None:
    assert view.visible("a\u202eb\u200bc\ufeff") == "a⟨U+202E⟩b⟨U+200B⟩c⟨U+FEFF⟩"
    assert view.visible("nul\x00 esc\x1b del\x7f") == "nul␀ esc␛ del⟨U+007F⟩"
    assert view.visible("\ud800") == "⟨U+D800⟩"
    assert view.visible("kept\n\tas it is é 漢 🙂") == "kept\n\tas it is é 漢 🙂"


def test_slugs_are_safe_file_names() -> None:
    assert view.slug("../../etc/passwd") == "etc-passwd"
    assert view.slug("數學") == "x"
    assert view.slug("Évaluation  №1!") == "evaluation-no1"


def test_shorten_keeps_one_line() -> None:
    assert view.shorten("a\nb  c", 10) == "a b c"
    assert view.shorten("abcdef", 4) == "abc…"
