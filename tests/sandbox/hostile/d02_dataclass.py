# attack: none: dataclass with string annotations, recursion, enum, exception caught inside
# task: known
# expect: verdict=pass
# host must observe: -
from __future__ import annotations
import enum
from dataclasses import dataclass, field


class Colour(enum.IntEnum):
    RED = 1


@dataclass
class Point:
    x: int
    y: list[int] = field(default_factory=list)


def f(x):
    try:
        return int("no")
    except ValueError:
        return Point(x).x + Colour.RED
