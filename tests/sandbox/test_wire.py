"""What may cross between judge and candidate, and that nothing else does."""

from __future__ import annotations

import json
import os
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sandbox.box import wire

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(max_size=20),
    st.complex_numbers(allow_nan=False), st.fractions(), st.decimals(allow_nan=False),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 3)),
)  # fmt: skip
hashable = st.recursive(scalars.filter(lambda v: not isinstance(v, range)), lambda v: st.tuples(v, v), max_leaves=5)
plain = st.recursive(
    scalars,
    lambda v: st.one_of(
        st.lists(v, max_size=4),
        st.tuples(v, v),
        st.dictionaries(hashable, v, max_size=4),
        st.sets(hashable, max_size=4),
        st.frozensets(hashable, max_size=4),
    ),
    max_leaves=20,
)


def refuse(value: Any) -> Any:
    raise TypeError(type(value).__name__)


def no_handles(tag: str, body: Any) -> Any:
    raise wire.BadWireError(f"{tag} {body}")


def cross(value: Any, cap: int = 1 << 20) -> Any:
    encoded = json.loads(json.dumps(wire.Encoder(refuse, cap).encode(value)))
    return wire.decode(encoded, no_handles)


def same(a: Any, b: Any) -> bool:
    """Equal in value and in every type, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    return repr(a) == repr(b) or bool(a == b)


@given(plain)
def test_plain_data_crosses_unchanged(value: Any) -> None:
    assert same(cross(value), value)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), -0.0, 2**53, -(2**53), "\ud800", bytearray(b"x"), int])
def test_special_values_cross_unchanged(value: Any) -> None:
    assert same(cross(value), value)
    assert str(cross(-0.0)) == "-0.0"
    assert cross(float("nan")) != cross(float("nan"))


def test_subclasses_cross_as_their_base_without_their_methods() -> None:
    class Sly(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __index__(self) -> int:
            return 99

        __hash__ = int.__hash__

    class SlyList(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter([1, 2, 3])

    assert cross(Sly(5)) == 5
    assert type(cross(Sly(5))) is int
    assert cross(SlyList([7])) == [7]


@pytest.mark.parametrize("value", [object(), lambda: 0, iter([1]), Exception("x"), os, [{"a": object()}]])
def test_anything_else_is_opaque(value: Any) -> None:
    with pytest.raises(TypeError):
        cross(value)


@pytest.mark.parametrize("value", ["x" * 2000, [0] * 2000, 1 << 9000, {i: i for i in range(2000)}, b"x" * 2000])
def test_size_is_capped(value: Any) -> None:
    with pytest.raises(wire.TooLargeError):
        cross(value, cap=1000)


def test_depth_is_capped_both_ways() -> None:
    nested: list[Any] = []
    for _ in range(wire.MAX_DEPTH + 5):
        nested = [nested]
    with pytest.raises(wire.TooLargeError):
        cross(nested)
    with pytest.raises(wire.BadWireError):
        wire.decode(nested, no_handles)


@pytest.mark.parametrize(
    "forged",
    [
        1.5, {"x": 1}, {}, {"t": [], "S": []}, {"t": {"a": 1}}, {"t": "ab"}, {"d": [[1]]}, {"d": [[[], 1]]},
        {"d": [1]}, {"S": [[]]}, {"i": 5}, {"i": "zz"}, {"f": 1}, {"f": "x"}, {"b": "zz"}, {"b": 3}, {"c": []},
        {"c": [1, 2]}, {"r": [1.5]}, {"r": [0, 1, 0]}, {"T": "object"}, {"T": []}, {"D": "x"}, {"q": ["1", "0"]},
        {"h": 1}, {"g": "f"}, [{"t": [{"?": 0}]}],
    ],
)  # fmt: skip
def test_forged_values_are_refused(forged: Any) -> None:
    with pytest.raises(wire.BadWireError):
        wire.decode(forged, no_handles)


def test_sets_keep_the_order_that_a_program_can_see() -> None:
    literal = eval("{12, 13, 14, 15, 16}")  # the compiler makes it from a frozenset (MBPP 341)
    one_by_one = set()
    for number in (12, 13, 14, 15, 16):
        one_by_one.add(number)
    assert [list(cross(made)) for made in (literal, one_by_one)] == [list(literal), list(one_by_one)]
    assert list(cross(frozenset(literal))) == list(frozenset(literal))


def test_known_encodings() -> None:
    encode = wire.Encoder(refuse, 1000).encode
    assert encode((1, [None, "a"])) == {"t": [1, [None, "a"]]}
    assert encode({2**60: 0.5}) == {"d": [[{"i": "1000000000000000"}, {"f": "0.5"}]]}
    assert encode(Fraction(1, 3)) == {"q": ["1", "3"]}
    assert encode(Decimal("1.50")) == {"D": "1.50"}


def _pipe(data: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def test_messages_are_capped_checked_and_complete() -> None:
    assert wire.receive(_pipe(wire.pack({"a": [1]})), 100) == {"a": [1]}
    with pytest.raises(wire.TooLargeError):
        wire.receive(_pipe(wire.pack("x" * 200)), 100)
    with pytest.raises(wire.TooLargeError):
        wire.receive(_pipe(b"\xff" * 10), 100)
    with pytest.raises(wire.BadWireError):
        wire.receive(_pipe(struct.pack("<I", 3) + b"{x}"), 100)
    with pytest.raises(wire.BadWireError):
        wire.receive(_pipe(struct.pack("<I", 60000) + b"[" * 60000), 1 << 20)
    with pytest.raises(EOFError):
        wire.receive(_pipe(struct.pack("<I", 10) + b"12345"), 100)
