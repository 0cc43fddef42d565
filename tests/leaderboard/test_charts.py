"""Charts: geometry that can be checked by hand, and text that stays text."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest

from leaderboard import charts
from leaderboard.charts import Point, Series


def draw(*series: Series, log: bool = False) -> ET.Element:
    return ET.fromstring(str(charts.line_chart(series, x_title="λ", title="t", log=log)))


def places(svg: ET.Element) -> list[tuple[float, float]]:
    path = next(e for e in svg.iter("path") if str(e.get("class")).startswith("line"))
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", str(path.get("d")))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_higher_scores_are_higher_and_larger_weights_further_right() -> None:
    at = places(draw(Series("a", [Point(0, 0.5, 0.4, 0.6), Point(0.5, 0.8, 0.7, 0.9), Point(1, 0.6, 0.5, 0.7)])))
    assert at[0][0] < at[1][0] < at[2][0]
    assert at[1][1] < at[2][1] < at[0][1]
    assert at[1][0] == pytest.approx((at[0][0] + at[2][0]) / 2, abs=0.1)


def test_doublings_are_equally_far_apart_on_a_log_axis() -> None:
    at = places(draw(Series("a", [Point(n, 0.5) for n in (1, 2, 4, 8)]), log=True))
    steps = [b[0] - a[0] for a, b in itertools.pairwise(at)]
    assert max(steps) - min(steps) < 0.2


@pytest.mark.parametrize(
    "points", [[Point(0, 0.5, 0.5, 0.5)], [Point(0, 1.0, 1.0, 1.0), Point(1, 1.0, 1.0, 1.0)], [Point(0.3, 0.0)]]
)
def test_one_point_and_no_spread_are_drawn(points: list[Point]) -> None:
    assert all(math.isfinite(v) for at in places(draw(Series("a", points))) for v in at)


def test_nothing_to_draw_says_so() -> None:
    assert "no point has a value" in charts.line_chart([Series("a", [Point(0, math.nan)])], x_title="λ", title="t")


def test_names_are_text_even_when_they_are_markup() -> None:
    svg = draw(Series('</svg><script>alert(1)</script>"\x00\u202e', [Point(0, 0.1), Point(1, 0.2)]))
    assert not list(svg.iter("script"))


def test_every_line_has_its_own_style_and_marker() -> None:
    svg = draw(*(Series(str(i), [Point(0, i / 10), Point(1, i / 10)]) for i in range(6)))
    styles = [str(e.get("class")) for e in svg.iter("path") if str(e.get("class")).startswith("line")]
    assert len(set(styles)) == 6
    shapes = {re.sub(r"[\d.-]+ [\d.-]+", "", str(next(iter(g)).get("d")), count=1) for g in svg.iter("g")}
    assert len(shapes) == 6


def test_labels_do_not_overlap_and_long_names_differ() -> None:
    names = [f"general reward model + maths expert λ={i / 10}" for i in range(6)]
    svg = draw(*(Series(n, [Point(0, 0.5), Point(1, 0.5)]) for n in names))
    labels = [e for e in svg.iter("text") if str(e.get("class")).startswith("t")]
    heights = sorted(float(str(e.get("y"))) for e in labels)
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 12
    assert len({e.text for e in labels}) == 6


def test_the_strip_puts_the_dot_inside_its_interval() -> None:
    strip = ET.fromstring(str(charts.strip(0.5, 0.4, 0.6, (0.0, 1.0))))
    bar, dot = (str(e.get("d")) for e in strip)
    left, right = (float(x) for x in re.match(r"M([\d.]+) 5H([\d.]+)", bar).groups())  # type: ignore[union-attr]
    assert left < float(dot[1:].split()[0]) < right
    assert (left, right) == (38.8, 57.2)  # 2 + 92 * .4 and 2 + 92 * .6
