"""Charts drawn at build time: plain SVG that follows the page's colours, prints, and needs no script.

Lines differ by colour, dash and marker, never by colour alone, and are named at their right end. A point says
its numbers on hover; the page puts the table of numbers behind every chart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from leaderboard import view

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 38, 118, 12, 40
STYLES = 6  # line styles in the style sheet: colour .s1 to .s6, each with its dash
LABEL = 18  # characters of a line's name beside the chart


@dataclass(frozen=True, slots=True)
class Point:
    """x in the axis' units; value and interval as fractions (no band where the interval is None)."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line."""

    name: str
    points: Sequence[Point]


def line_chart(
    series: Sequence[Series],
    *,
    x_title: str,
    title: str,
    log: bool = False,
    markers: Sequence[tuple[float, str]] = (),
    x_text: Callable[[float], str] = "{:g}".format,
) -> Markup:
    """Lines with bands over a common x axis. `log`: base 2, for N; `markers`: dashed lines at x, with a word."""
    lines = [Series(s.name, [p for p in s.points if math.isfinite(p.value)]) for s in series]
    lines = [s for s in lines if s.points]
    if not lines:
        return Markup('<p class="mut">Nothing to draw: no point has a value.</p>')
    xs = sorted({p.x for s in lines for p in s.points})
    x, y, ticks = _x_scale(xs, log), *_y_scale(lines)
    parts = [_grid(y, ticks), _x_axis(xs, x, x_title, log, x_text)]
    parts += [_mark(x(at), word) for at, word in markers]
    parts += [_band(s, i, x, y) for i, s in enumerate(lines)]
    parts += [_line(s, i, x, y, x_title, x_text) for i, s in enumerate(lines)]
    parts.append(_names(lines, y))
    label = escape(view.visible(title))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


Scale = Callable[[float], float]


def _f(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _x_scale(xs: Sequence[float], log: bool) -> Scale:
    shape: Scale = math.log2 if log else float
    lo, hi = shape(xs[0]), shape(xs[-1])
    width = WIDTH - LEFT - RIGHT
    return lambda v: LEFT + (width / 2 if hi == lo else (shape(v) - lo) / (hi - lo) * width)


def _y_scale(lines: Sequence[Series]) -> tuple[Scale, list[float]]:
    values = [v for s in lines for p in s.points for v in (p.value, p.low, p.high) if v is not None]
    values = [v for v in values if math.isfinite(v)]
    lo, hi = min(values), max(values)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if (hi - lo) / s <= 6), 0.25)
    first, last = math.floor(lo / step + 1e-9), math.ceil(hi / step - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    bottom, top = first * step, last * step
    height = HEIGHT - TOP - BOTTOM
    ticks = [i * step for i in range(first, last + 1)]
    return (lambda v: TOP + (top - v) / (top - bottom) * height), ticks


def _grid(y: Scale, ticks: Sequence[float]) -> str:
    paths = "".join(f"M{LEFT} {_f(y(t))}H{WIDTH - RIGHT}" for t in ticks)
    texts = "".join(f'<text x="{LEFT - 6}" y="{_f(y(t) + 4)}" class="e">{100 * t:.0f}</text>' for t in ticks)
    return f'<path class="grid" d="{paths}"/>{texts}'


def _x_axis(xs: Sequence[float], x: Scale, title: str, log: bool, x_text: Callable[[float], str]) -> str:
    keep = xs if log or len(xs) <= 6 else _spread(xs) if xs[-1] <= 100 else [*xs[:: len(xs) // 4][:4], xs[-1]]
    texts = "".join(f'<text x="{_f(x(v))}" y="{HEIGHT - 24}" class="m">{escape(x_text(v))}</text>' for v in keep)
    middle = _f((LEFT + WIDTH - RIGHT) / 2)
    return f'{texts}<text x="{middle}" y="{HEIGHT - 6}" class="m">{escape(title)}</text>'


def _mark(at: float, word: str) -> str:
    line = f'<path class="mark" d="M{_f(at)} {TOP}V{HEIGHT - BOTTOM}"/>'
    return f'{line}<text x="{_f(at)}" y="{TOP - 3}" class="m">{escape(view.visible(view.shorten(word, LABEL)))}</text>'


def _spread(xs: Sequence[float]) -> list[float]:
    """About six ticks: round numbers of the range where the points are close together."""
    step = next(s for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 1e9) if (xs[-1] - xs[0]) / s <= 6)
    first, last = math.ceil(xs[0] / step - 1e-9), math.floor(xs[-1] / step + 1e-9)
    return [round(i * step, 9) for i in range(first, last + 1)] or [xs[0], xs[-1]]


def _band(s: Series, index: int, x: Scale, y: Scale) -> str:
    ends = [(p.x, p.low, p.high) for p in s.points if p.low is not None and p.high is not None]
    if len(ends) < 2:
        return ""
    upper = [f"{_f(x(at))} {_f(y(high))}" for at, _, high in ends]
    lower = [f"{_f(x(at))} {_f(y(low))}" for at, low, _ in reversed(ends)]
    return f'<path class="band s{index % STYLES + 1}" d="M{"L".join(upper + lower)}Z"/>'


def _line(s: Series, index: int, x: Scale, y: Scale, x_title: str, x_text: Callable[[float], str]) -> str:
    style = f"s{index % STYLES + 1}"
    path = "L".join(f"{_f(x(p.x))} {_f(y(p.value))}" for p in s.points)
    name = escape(view.visible(view.shorten(s.name, 24)))
    dots = []
    for p in s.points:
        band = "" if p.low is None else f" [{view.interval(p.low, p.high)}]"
        text = f"{name}, {escape(x_title)} {escape(x_text(p.x))}: {view.percent(p.value)}{band}"
        dots.append(f'<path d="{_marker(index, x(p.x), y(p.value))}"><title>{text}</title></path>')
    return f'<path class="line {style}" d="M{path}"/><g class="dots {style}">{"".join(dots)}</g>'


def _marker(index: int, x: float, y: float) -> str:
    """Circle, square, triangle, diamond, ... by line; small enough to be read as a line's texture."""
    a, b = _f(x), _f(y)
    return (
        f"M{_f(x - 3)} {b}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
        f"M{_f(x - 2.7)} {_f(y - 2.7)}h5.4v5.4h-5.4z",
        f"M{a} {_f(y - 3.6)}l3.4 6h-6.8z",
        f"M{a} {_f(y - 3.8)}l3.8 3.8l-3.8 3.8l-3.8 -3.8z",
        f"M{a} {_f(y + 3.6)}l3.4 -6h-6.8z",
        f"M{_f(x - 3)} {_f(y - 1)}h2v-2h2v2h2v2h-2v2h-2v-2h-2z",
    )[index % STYLES]


def _names(lines: Sequence[Series], y: Scale) -> str:
    """Names at the lines' ends, pushed apart where they would overlap, kept inside the chart."""
    ends = sorted((y(s.points[-1].value), i, s.name) for i, s in enumerate(lines))
    places: list[float] = []
    for at, _, _ in ends:
        places.append(max(at, places[-1] + 13) if places else max(at, TOP + 4))
    over = max(0.0, (places[-1] if places else 0) - (HEIGHT - BOTTOM + 4))
    out = []
    short = _without_prefix([s.name for s in lines])
    for place, (_, i, _) in zip(places, ends, strict=True):
        shown = escape(view.visible(view.shorten(short[i], LABEL)))
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{_f(place - over + 4)}" class="t{i % STYLES + 1}">{shown}</text>')
    return "".join(out)


def _without_prefix(names: Sequence[str]) -> list[str]:
    """Names too long for their place lose the words that several of them start with: the ends tell them apart."""
    long = [name for name in names if len(name) > LABEL]
    if len(long) < 2:
        return list(names)
    words = [name.split(" ") for name in long]
    same = next((i for i, column in enumerate(zip(*words, strict=False)) if len(set(column)) > 1), 0)
    shared = " ".join(words[0][:same])
    return [f"…{name[len(shared) :]}" if shared and name in long else name for name in names]


def strip(value: float, low: float, high: float, scale: tuple[float, float]) -> Markup:
    """A score and its interval on a common scale, 96 units wide: the bar is the interval, the dot the score."""
    lo, hi = scale
    width = (hi - lo) or 1.0

    def at(v: float) -> float:
        return 2 + 92 * min(1.0, max(0.0, (v - lo) / width))

    bar = f'<path class="ci" d="M{_f(at(low))} 5H{_f(max(at(high), at(low) + 0.5))}"/>'
    dot = f'<path class="at" d="M{_f(at(value))} 5h0"/>'
    return Markup(f'<svg class="strip" viewBox="0 0 96 10" aria-hidden="true">{bar}{dot}</svg>')
