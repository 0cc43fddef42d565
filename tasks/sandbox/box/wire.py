"""What crosses between judge and candidate: length-prefixed JSON, plain data only, size and depth capped.

None, bool, str and small int stand for themselves and a list for a list; everything else is an object with one key,
its tag. A value that is not plain data crosses as a handle (a number), never as content. No pickle, no eval.

    {"i": hex} int   {"f": repr} float   {"c": [re, im]} complex   {"b"|"B": hex} bytes, bytearray
    {"t": [..]} tuple   {"S"|"z": [..]} set, frozenset   {"d": [[k, v], ..]} dict   {"r": [a, b, c]} range
    {"D": text} Decimal   {"q": [n, d]} Fraction   {"T": name} builtin type
    {"h": n} object n of the candidate's process, {"m": n} one that is a re.Match (MBPP tests them for truth)
    {"g": name} global of the candidate's program

Subclasses cross as their base class, read with the base class's own methods: an overridden __eq__ stays behind.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_DEPTH = 100
_PLAIN = (int, str, float, bool, list, tuple, dict, set, frozenset, bytes, complex, range, type(None))
_TYPES: dict[str, type] = {kind.__name__: kind for kind in _PLAIN}
_TAGS: tuple[tuple[type, str], ...] = ((tuple, "t"), (set, "S"), (frozenset, "z"))
_SMALL = 1 << 53
Handles = Callable[[str, Any], Any]  # (tag "h", "m" or "g", its value) -> object


class TooLargeError(ValueError):
    """Over the size or the depth cap."""


class BadWireError(ValueError):
    """Not a message of this format."""


class Encoder:
    """Turns values into wire values; `opaque` gives the wire value of anything that is not plain data."""

    def __init__(self, opaque: Callable[[Any], Any], cap: int) -> None:
        self._opaque, self._left = opaque, cap

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise TooLargeError("the value is larger than the output limit")

    def encode(self, value: Any, depth: int = 0) -> Any:
        """One wire value. Raises TooLargeError; whatever `opaque` raises."""
        if depth > MAX_DEPTH:
            raise TooLargeError(f"the value is nested deeper than {MAX_DEPTH}")
        self._spend(2)
        if value is None or value is True or value is False:
            return value
        if isinstance(value, int):
            number = int.__index__(value)
            self._spend(number.bit_length() // 4)
            return number if -_SMALL < number < _SMALL else {"i": format(number, "x")}
        if isinstance(value, float):
            return {"f": float.__repr__(value)}
        if isinstance(value, str):
            self._spend(str.__len__(value))
            return str.__str__(value)
        return self._container(value, depth + 1)

    def _items(self, kind: Any, value: Any, depth: int) -> list[Any]:
        if 2 * kind.__len__(value) > self._left:  # before the work, not after it
            raise TooLargeError("the value is larger than the output limit")
        return [self.encode(item, depth) for item in kind.__iter__(value)]

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, list):
            return self._items(list, value, depth)
        if isinstance(value, dict):
            items = list(dict.items(value))
            return {"d": [[self.encode(k, depth), self.encode(v, depth)] for k, v in items]}
        for kind, tag in _TAGS:
            if isinstance(value, kind):
                return {tag: self._items(kind, value, depth)}
        return self._rare(value)

    def _rare(self, value: Any) -> Any:
        if isinstance(value, bytes | bytearray):
            self._spend(2 * len(value))
            return {"b": bytes.hex(value)} if isinstance(value, bytes) else {"B": bytearray.hex(value)}
        if isinstance(value, complex):
            return {"c": [float.__repr__(value.real), float.__repr__(value.imag)]}
        if isinstance(value, range):
            return {"r": [value.start, value.stop, value.step]}
        if type(value) is Decimal:
            return {"D": str(value)}
        if type(value) is Fraction:
            return {"q": [format(value.numerator, "x"), format(value.denominator, "x")]}
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return {"T": value.__name__}
        return self._opaque(value)


def decode(value: Any, handles: Handles, depth: int = 0) -> Any:
    """The value that a wire value stands for. Raises BadWireError on anything else, whoever sent it."""
    if depth > MAX_DEPTH + 1:
        raise BadWireError("nested too deep")
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is str:
        return value
    if kind is list:
        return [decode(item, handles, depth + 1) for item in value]
    if kind is not dict or len(value) != 1:
        raise BadWireError("not a wire value")
    ((tag, body),) = value.items()
    if tag in ("h", "m", "g"):
        return handles(tag, body)
    try:
        if tag in _SEQUENCES:
            return _SEQUENCES[tag](decode(item, handles, depth + 1) for item in _typed(body, list))
        if tag == "d":
            return {decode(k, handles, depth + 1): decode(v, handles, depth + 1) for k, v in _typed(body, list)}
        return _SCALARS[tag](body)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise BadWireError(f"bad value for tag {tag[:10]!r}") from error


def _typed(body: Any, kind: type) -> Any:
    if type(body) is not kind:
        raise BadWireError("not a wire value")
    return body


def _in_order(kind: type) -> Callable[[Any], Any]:
    """A maker of sets that iterate as the sender's did, where a set's history can be told from its order.

    A set of five numbers iterates differently when it was filled one by one or from another set, as a literal in a
    program is (MBPP 341: tuple({12, 13, 14, 15, 16}) starts with 16).
    """

    def make(items: Any) -> Any:
        wanted = list(items)
        found = kind(wanted)
        copied = kind(set(wanted)) if list(found) != wanted else found
        return copied if list(copied) == wanted else found

    return make


_SEQUENCES: dict[str, Callable[[Any], Any]] = {"t": tuple, "S": _in_order(set), "z": _in_order(frozenset)}
_SCALARS: dict[str, Callable[[Any], Any]] = {
    "i": lambda b: int(_typed(b, str), 16),
    "f": lambda b: float(_typed(b, str)),
    "b": lambda b: bytes.fromhex(b),
    "B": lambda b: bytearray.fromhex(b),
    "c": lambda b: complex(float(_typed(b[0], str)), float(_typed(b[1], str))),
    "r": lambda b: range(*_typed(b, list)),
    "D": lambda b: Decimal(_typed(b, str)),
    "q": lambda b: Fraction(int(_typed(b[0], str), 16), int(_typed(b[1], str), 16)),
    "T": lambda b: _TYPES[b],
}


def pack(message: Any) -> bytes:
    """A message as bytes: four bytes of length (little endian), then JSON in ASCII."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return struct.pack("<I", len(body)) + body


def write(descriptor: int, data: bytes) -> None:
    """All of `data`. Raises OSError (BrokenPipeError when the other end is gone)."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view[: 1 << 20]) :]


def read_exactly(descriptor: int, count: int) -> bytes:
    """`count` bytes. Raises EOFError when the other end closes first."""
    out = bytearray()
    while len(out) < count:
        piece = os.read(descriptor, min(1 << 18, count - len(out)))
        if not piece:
            raise EOFError
        out += piece
    return bytes(out)


def receive(descriptor: int, cap: int) -> Any:
    """One message of at most `cap` bytes. Raises EOFError, TooLargeError, BadWireError."""
    (size,) = struct.unpack("<I", read_exactly(descriptor, 4))
    if size > cap:
        raise TooLargeError("the message is larger than the output limit")
    try:
        return json.loads(read_exactly(descriptor, size))
    except (ValueError, RecursionError) as error:
        raise BadWireError("not JSON") from error
