"""The page of nights in Chromium: nothing asked of the network, readable narrow, nothing for axe to find."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leaderboard.nights import Night, NightScore, NightVerdict
from leaderboard.render import build_site

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def nights_site(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve nights of two roles; on the last one of them falls."""
    folder = tmp_path_factory.mktemp("nights")
    spec = synthetic.Spec(synthetic.sweep(2, controls=False), tasks=["autoj"], scale=0.02)
    nights = []
    for i in range(12):
        day, fell = (date(2026, 1, 1) + timedelta(days=i)).isoformat(), i == 11
        scores = [
            NightScore(
                role, "autoj", role, f"{role}{i}", "r", "complete", n=9, metrics={"score": (v, v - 0.1, v + 0.05)}
            )
            for role, v in (("production", 0.5 if fell else 0.8), ("maths λ=0.35", 0.6))
        ]
        verdicts = [
            NightVerdict(
                "production", "autoj", "regression" if fell else "not worse", "n", "m", "i", -0.3, -0.4, -0.2, 1e-4
            ),
            NightVerdict("maths λ=0.35", "autoj", "not compared", "n", "m", "i", reason="other data"),
        ]
        nights.append(
            Night(day, "", scores, verdicts, "regression" if fell else "not worse", {"baseline": "previous"}, fell)
        )
    return build_site(synthetic.write_database(folder / "h.duckdb", spec), folder / "site", nights=nights).parent


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page_of_nights(open_page: Any, nights_site: Path, axe: str, scheme: str) -> None:
    page = open_page("nights.html", folder=nights_site, color_scheme=scheme, bypass_csp=True)
    page.evaluate(axe)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
    found = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
    assert [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in found["violations"]] == []


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_never_scrolls_sideways(open_page: Any, nights_site: Path, width: int) -> None:
    page = open_page("nights.html", folder=nights_site, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("svg.chart").count() == 2
    assert "▼ regression" in page.locator("header").inner_text()
