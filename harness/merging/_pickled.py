"""PyTorch's .bin files, read lazily: where every tensor's bytes lie, found without running what a pickle may contain.

torch.load(weights_only=True) builds tensors and refuses all else; mmap=True leaves their bytes in the file. A .bin
file is an uncompressed zip, one member for each storage, so mapped addresses differ as the members' offsets do.
"""

from __future__ import annotations

import mmap
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import CandidateError
from harness.merging._checkpoint import TensorRef

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def read_pickled(path: Path) -> list[TensorRef]:
    """The tensors of one .bin file, by offset. Raises CandidateError where it holds anything else or is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        members = _members(path)
    except Exception as error:  # noqa: BLE001  unpickling fails in many ways, and each is a file that is not taken
        raise CandidateError(f"{path}: {_reason(error)}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CandidateError(f"{path}: is not a plain mapping of names to tensors (a training checkpoint, perhaps)")
    base = _base(path, state, members)
    refs = [_ref(path, str(name), tensor, base) for name, tensor in state.items()]
    return sorted(refs, key=lambda ref: (ref.offset, ref.nbytes))


def _reason(error: Exception) -> str:
    text = str(error)
    if "Weights only load failed" in text or "Unsupported" in text:
        return "holds more than tensors, which could run code, and is refused; save the model as safetensors"
    if "mmap can only be used" in text:
        return "is damaged, or in the format of PyTorch before 1.6; save the model as safetensors"
    first = text.strip().split("\n")[0].rstrip(". ") or type(error).__name__
    return f"is not a PyTorch weights file, or is damaged: {first}"


def _members(path: Path) -> list[tuple[int, int]]:
    """(offset, size) of every storage's bytes."""
    found = []
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            if info.filename.endswith("/byteorder") and archive.read(info) != b"little":
                raise ValueError("its numbers are big-endian")
            if info.filename.rpartition("/")[0].endswith("/data") and info.compress_type == zipfile.ZIP_STORED:
                file.seek(info.header_offset + 26)  # lengths of the name and of the padding before the bytes
                name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
                found.append((info.header_offset + 30 + name + extra, info.file_size))
    return found


def _base(path: Path, state: dict[Any, Tensor], members: list[tuple[int, int]]) -> int:
    """The address at which the file is mapped: the one that puts every storage on a member of its size."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in state.values() if t.numel()}
    common: set[int] | None = None
    for address, size in storages.items():
        here = {address - offset for offset, length in members if length == size}
        common = {base for base in here if base % mmap.PAGESIZE == 0} if common is None else common & here
    if common is None:
        return 0
    if len(common) != 1:
        raise CandidateError(f"{path}: its tensors cannot be found in the file; save the model as safetensors")
    return common.pop()


def _ref(path: Path, name: str, tensor: Tensor, base: int) -> TensorRef:
    if tensor.dtype not in _NAMES:
        raise CandidateError(f"{path}: tensor '{name}' has dtype {tensor.dtype}; quantised weights cannot be used")
    if not tensor.is_contiguous():
        raise CandidateError(f"{path}: tensor '{name}' is not stored row by row; save the model as safetensors")
    offset = tensor.data_ptr() - base if tensor.numel() else 0
    return TensorRef(
        name, path, offset, tensor.numel() * tensor.element_size(), _NAMES[tensor.dtype], tuple(tensor.shape)
    )
