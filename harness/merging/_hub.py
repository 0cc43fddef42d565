"""Models on the hub: snapshots, with or without their weights, and the headers of weights that stay there.

Planning needs configurations, tokenizers and headers only, so a merge that cannot be is refused before gigabytes are
fetched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from harness.errors import CandidateError
from harness.merging._checkpoint import ITEM_SIZE, TensorRef, has_weights

_SMALL = ["*.json", "*.model", "*.jinja", "*.txt", "*.tiktoken", "LICENSE*"]
_T = TypeVar("_T")


def snapshot(name: str, *, weights: bool, pickle: bool) -> Path:
    """The local snapshot of `owner/name[@revision]`; with `pickle`, .bin files where there are no safetensors.

    Raises CandidateError where it cannot be had. Files that are there already are not fetched again.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")

    def fetch(*patterns: str) -> Path:
        wanted = [*_SMALL, *patterns]
        return Path(
            _asked(name, lambda: snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
        )

    folder = fetch(*["*.safetensors"] * weights)
    if weights and pickle and not has_weights(folder) and not any(folder.glob("adapter_*")):
        return fetch("pytorch_model*.bin")
    return folder


def remote_headers(name: str, folder: Path) -> dict[str, TensorRef]:
    """The tensors of a hub model whose weights were not fetched: real dtypes and shapes, offsets within their file's
    data. `folder` is the snapshot, whose commit is asked for.
    """
    from huggingface_hub import get_safetensors_metadata

    repository = name.partition("@")[0]
    found = _asked(name, lambda: get_safetensors_metadata(repository, revision=folder.name))
    tensors = {}
    for file, metadata in sorted(found.files_metadata.items()):
        for key, info in sorted(metadata.tensors.items(), key=lambda item: item[1].data_offsets):
            begin, end = info.data_offsets
            if info.dtype not in ITEM_SIZE:
                raise CandidateError(f"{name}: tensor '{key}' has dtype {info.dtype}; quantised weights cannot be used")
            if end - begin != math.prod(info.shape) * ITEM_SIZE[info.dtype]:
                raise CandidateError(f"{name}: {file} has a damaged header: tensor '{key}' has {end - begin} bytes")
            tensors[key] = TensorRef(key, folder / file, begin, end - begin, info.dtype, tuple(info.shape))
    return tensors


def _asked(name: str, call: Callable[[], _T]) -> _T:
    """The hub's answer; what goes wrong in one sentence."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  the client raises many kinds: offline, gated, missing, timeouts
        lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [type(error).__name__]
        told = len(lines) > 1 and re.match(r"\d{3} (Client|Server) Error", lines[0])  # the reason comes second
        reason = lines[1 if told else 0].rstrip(". ")
        raise CandidateError(f"{name}: there is no such folder, and it cannot be had from the hub: {reason}") from None
