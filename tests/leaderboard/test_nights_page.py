"""The page of nights from records made by hand: what it says, hostile names, many nights."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from leaderboard.nights import Night, NightScore, NightVerdict, read_nights, write_night
from leaderboard.pages.nights import SHOWN, nights_page
from leaderboard.render import build_site

RULE = {"baseline": "previous", "margin": 0.5, "alpha": 0.05, "metric": "score"}


def night(
    number: int, *, roles: int = 1, verdict: str = "identical", name: str = "production", low: bool = False
) -> Night:
    day = (date(2026, 1, 1) + timedelta(days=number)).isoformat()
    value = 0.5 if low else 0.9
    names = [name if i == 0 else f"{name} {i}" for i in range(roles)]
    scores = [
        NightScore(role, "rewardbench", role, f"{'b' if low else 'a'}{i:064d}", f"run {number} {i}", "complete",
                   n=100, metrics={"score": (value, value - 0.05, value + 0.05)}) for i, role in enumerate(names)
    ]  # fmt: skip
    verdicts = [
        NightVerdict(role, "rewardbench", verdict, "2025-12-31", role, "c", -0.4, -0.5, -0.3, 1e-9) for role in names
    ]
    return Night(day, f"key {number}", scores, verdicts, verdict, RULE, int(verdict == "regression"))


def test_a_regression_stands_first_and_marks_the_chart() -> None:
    page = nights_page([night(0), night(1), night(2, verdict="regression", low=True)])
    assert page["worse"]
    assert page["verdict"] == "regression: production on rewardbench"
    (task,) = page["tasks"]
    assert "▼ regression" in task["charts"][0]["svg"]
    row = task["rows"][0]
    assert (row["night"], row["score"], row["gate"], row["difference"], row["p"]) == (
        "2026-01-03", "50.0", "▼ regression", "−40.0", "1e−9"
    )  # fmt: skip
    assert [r["night"] for r in task["rows"]] == ["2026-01-03", "2026-01-02", "2026-01-01"]


def test_a_failed_run_is_a_gap_and_says_why() -> None:
    broken = NightScore("production", "rewardbench", "m", "id", "", "failed", "out of memory")
    page = nights_page([night(0), Night("2026-01-02", "k", [broken], [], "", RULE, 3)])
    row = page["tasks"][0]["rows"][0]
    assert (row["score"], row["ci"], row["gate"]) == ("failed", "out of memory", "")
    assert page["verdict"] == "nothing to compare with yet; 1 run failed"
    assert page["tasks"][0]["charts"] == []


def test_old_nights_leave_the_page_and_not_the_history(tmp_path: Path) -> None:
    nights = [night(i, roles=3) for i in range(SHOWN + 80)]
    page = nights_page(nights)
    assert (page["left_out"], page["count"]) == (80, f"{SHOWN + 80} nights")
    assert len(page["nights"]) == SHOWN
    for one in nights[:3]:
        write_night(tmp_path, one)
    assert [n.night for n in read_nights(tmp_path)] == ["2026-01-01", "2026-01-02", "2026-01-03"]


@pytest.fixture(scope="module")
def database(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = synthetic.Spec(synthetic.sweep(2, controls=False), tasks=["autoj"], scale=0.02)
    path: Path = synthetic.write_database(tmp_path_factory.mktemp("nights") / "h.duckdb", spec)
    return path


def test_names_stay_text_and_many_nights_stay_small(database: Path, tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>"\u202e'
    nights = [night(i, roles=4, name=hostile) for i in range(400)]
    site = build_site(database, tmp_path / "site", nights=nights).parent
    text = (site / "nights.html").read_text()
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert len(text) < 1_000_000
    assert 'href="nights.html"' in (site / "index.html").read_text()
    assert (site / "night.json").is_file()


def test_without_nights_there_is_no_such_page(database: Path, tmp_path: Path) -> None:
    site = build_site(database, tmp_path / "site").parent
    assert not (site / "nights.html").exists()
    assert "nights.html" not in (site / "index.html").read_text()
