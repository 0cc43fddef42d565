"""Options of single backends: --backend-option NAME=VALUE, checked against what the backend knows."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import ScoringError, did_you_mean


def backend_options(backend: str, given: Mapping[str, str], known: Mapping[str, str | None]) -> dict[str, str]:
    """The given options over the known ones' defaults. Raises ScoringError for unknown ones and for those without a
    default (None) that are missing."""
    for name in given:
        if name not in known:
            raise ScoringError(f"--backend-option {name}: unknown to --backend {backend}: {did_you_mean(name, known)}")
    found = {name: given.get(name, default) for name, default in known.items()}
    lacking = [name for name, value in found.items() if value is None]
    if lacking:
        raise ScoringError(f"--backend {backend} needs --backend-option {lacking[0]}=...")
    return {name: value for name, value in found.items() if value is not None}


def number(backend: str, name: str, text: str) -> float:
    """A finite number, or ScoringError."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0:  # NaN and infinity
        raise ScoringError(f"--backend-option {name}={text}: --backend {backend} expects a number there")
    return value
