"""Every rounding decision of the site: numbers become text here and nowhere else.

Scores are shown in percent, differences in percentage points, both with one decimal; p-values with three, and
below .001 with one significant digit. Text that models or users wrote is made visible (`visible`), never markup.
"""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import datetime
from typing import Any

from markupsafe import Markup

MINUS = "−"
NOTHING = "–"
ALPHA = 0.05
NAME = 100  # characters of a name
LONGEST = 4000  # characters of any other text on a page; examples' texts are in shards, whole

# Marks that reorder or hide text: bidi controls, zero-width characters, the byte order mark, tags.
_HIDDEN = re.compile(
    "[\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent without the sign: 0.7975 -> "79.8"."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of fractions in signed percentage points: 0.0312 -> "+3.1", a rounded zero is "0.0"."""
    if value is None or math.isnan(value):
        return NOTHING
    text = f"{abs(100 * value):.{digits}f}"
    sign = "" if float(text) == 0 else "+" if value > 0 else MINUS
    return sign + text


def p_value(p: float | None) -> str:
    """ ".034", "<.001" never: small ones keep their size ("3e−52"), so that a page can say how small."""
    if p is None or math.isnan(p):
        return NOTHING
    if p >= 0.9995:
        return "1"
    if p >= 0.001:
        return f"{p:.3f}".lstrip("0")
    if p <= 0:
        return "<1e−300"
    mantissa, exponent = f"{p:.0e}".split("e")
    return f"{mantissa}e{MINUS}{-int(exponent)}"


def p_sentence(p: float | None) -> str:
    """ "p = .034", for running text."""
    shown = p_value(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def number(value: int) -> str:
    """A count with thousands separators: 2985 -> "2,985"."""
    return f"{value:,}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """ "1 run", "2 runs"."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def interval(lo: float | None, hi: float | None) -> str:
    """ "78.1–81.4" in percent."""
    return NOTHING if lo is None or hi is None else f"{percent(lo)}–{percent(hi)}"


def rank_range(rank: tuple[int, int] | None) -> str:
    """ "1–5", or "3" where it is one rank."""
    if rank is None:
        return NOTHING
    return str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}–{rank[1]}"


def lam(value: float | None) -> str:
    """A weight without noise: 0.35000000000000003 -> "0.35"."""
    return "" if value is None else f"{value:.6g}"


def moment(value: datetime | str | None) -> str:
    """UTC to the minute."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    return str(value) if value else NOTHING


def short(digest: str, length: int = 12) -> str:
    """The first characters of a hash."""
    return digest[:length]


def slug(text: str) -> str:
    """A file name or anchor made of a-z, 0-9 and hyphens; never empty. Not unique: callers number repeats."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60] or "x"


def visible(text: str) -> str:
    """The same text with control, bidi and zero-width characters shown instead of obeyed."""
    text = text.replace("\r\n", "\n")
    text = _CONTROL.sub(lambda m: chr(0x2400 + ord(m[0])) if ord(m[0]) < 0x20 else f"⟨U+{ord(m[0]):04X}⟩", text)
    return _HIDDEN.sub(lambda m: f"⟨U+{ord(m[0]):04X}⟩", text)


def finalize(value: Any) -> Any:
    """What every template expression passes through: nothing for None, visible text, markup as it is."""
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if len(value) > LONGEST:
        value = f"{value[:LONGEST]}… ({number(len(value) - LONGEST)} more characters)"
    return visible(value)


def shorten(text: str, length: int) -> str:
    """At most `length` characters, one line, an ellipsis where something is left out."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
