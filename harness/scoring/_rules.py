"""Rewards that need no model: a function of a response's text, or a seeded draw. `baseline:NAME` names one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from harness.scoring._types import Request

_LATER = 1e-6  # decides between equally long responses and nothing else


def _length(request: Request, seed: int) -> float:  # noqa: ARG001
    return len(request.text) + _LATER * request.response


def _short(request: Request, seed: int) -> float:  # noqa: ARG001
    return -len(request.text) + _LATER * request.response


def _random(request: Request, seed: int) -> float:
    text = f"{seed}\0{request.example_key}\0{request.response}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


RULES: dict[str, Callable[[Request, int], float]] = {"length": _length, "short": _short, "random": _random}
