"""A model folder, read lazily: where every tensor lies in which safetensors file, and nothing more.

Only headers are read here, so a plan over a 14 GB model costs milliseconds. Everything that is wrong with a folder
is raised here as a CandidateError, before any work begins. This module imports nothing heavy.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CandidateError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ITEM_SIZE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F32", "F16", "BF16")  # what can be merged; F64 checkpoints do not occur in practice
_HEADER_LIMIT = 100 << 20  # the format's own limit; a larger length is a damaged file
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt", "*.tiktoken", "LICENSE*"]


@dataclass(frozen=True, slots=True)
class TensorRef:
    """One tensor: `nbytes` bytes at `offset` of `path`, row-major, of safetensors dtype `dtype`."""

    name: str
    path: Path
    offset: int
    nbytes: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model folder: its configuration and its tensors, in the order in which they lie in the files."""

    name: str  # as the user wrote it
    folder: Path
    config: dict[str, Any]
    tensors: dict[str, TensorRef]

    @property
    def files(self) -> list[Path]:
        return list(dict.fromkeys(ref.path for ref in self.tensors.values()))


def locate(name: str) -> Path:
    """The local folder of a model: the folder itself, or the snapshot of a hub id (`owner/name[@revision]`).

    Raises CandidateError where there is no such folder and no such hub model.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CandidateError(f"{name}: is a file, not a model folder")
    if not _HUB_ID.fullmatch(name):
        raise CandidateError(f"{name}: there is no such folder")
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_HUB_FILES))
    except Exception as error:  # noqa: BLE001  the client raises many kinds: offline, gated, missing, timeouts
        reason = str(error).strip().split("\n")[0].rstrip(". ")
        raise CandidateError(f"{name}: there is no such folder, and it cannot be had from the hub: {reason}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder; CandidateError where it is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CandidateError(f"{path.parent}: not a model folder (it has no {path.name})") from None
    except (OSError, ValueError) as error:
        raise CandidateError(f"{path}: is not readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise CandidateError(f"{path}: expected a JSON object")
    return value


def open_checkpoint(name: str) -> Checkpoint:
    """Read a model folder's configuration and tensor headers. Raises CandidateError with one sentence."""
    folder = locate(name)
    if (folder / "adapter_config.json").exists():
        raise CandidateError(
            f"{name}: is a LoRA adapter, not a model; merge it into its base first (peft: merge_and_unload)"
        )
    if not (folder / "config.json").exists():
        raise CandidateError(f"{name}: is not a model folder: config.json is missing")
    config = read_json(folder / "config.json")
    if config.get("quantization_config"):
        how = config["quantization_config"].get("quant_method", "unknown method")
        raise CandidateError(f"{name}: is quantised ({how}); merging needs the float16, bfloat16 or float32 weights")
    return Checkpoint(name, folder, config, read_tensors(folder, name))


def read_tensors(folder: Path, name: str | None = None) -> dict[str, TensorRef]:
    """Every tensor of a folder, from one file or from the index's shards, in file order."""
    tensors: dict[str, TensorRef] = {}
    for path in weight_files(folder, name or str(folder)):
        for ref in read_header(path):
            if ref.name in tensors:
                raise CandidateError(f"{path}: tensor '{ref.name}' is also in {tensors[ref.name].path.name}")
            tensors[ref.name] = ref
    if (folder / INDEX).exists() and not (folder / SINGLE).exists():
        weight_map = read_json(folder / INDEX)["weight_map"]
        lost = [key for key, file in weight_map.items() if key not in tensors or tensors[key].path.name != file]
        if lost:
            raise CandidateError(
                f"{folder / INDEX}: tensor '{lost[0]}' is not in {weight_map[lost[0]]}"
                + (f" (and {len(lost) - 1} more)" if len(lost) > 1 else "")
            )
    return tensors


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files that make up a model, in a stable order."""
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    if (folder / INDEX).exists():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CandidateError(f"{folder / INDEX}: 'weight_map' is missing or empty")
        files = sorted(set(weight_map.values()))
        for file in files:
            if not isinstance(file, str) or "/" in file or not (folder / file).is_file():
                raise CandidateError(f"{folder / INDEX}: names the shard '{file}', which is not in the folder")
        return [folder / file for file in files]
    if list(folder.glob("*.bin")) or list(folder.glob("*.pth")) or list(folder.glob("*.pt")):
        raise CandidateError(
            f"{name}: has weights in PyTorch's pickle format (.bin) only, which can run code when it is read; "
            "save the model as safetensors first (save_pretrained does)"
        )
    raise CandidateError(f"{name}: has no weights: neither {SINGLE} nor {INDEX} is there")


def read_header(path: Path) -> list[TensorRef]:
    """The tensors of one safetensors file, by offset. Checks lengths, shapes and overlaps."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise CandidateError(f"{path}: is not a safetensors file, or is truncated (its header does not fit)")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        refs = [_ref(path, key, entry, 8 + length) for key, entry in header.items()]
    except CandidateError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CandidateError(f"{path}: has a damaged safetensors header: {error!r}") from None
    refs.sort(key=lambda ref: (ref.offset, ref.nbytes))
    end = 8 + length
    for ref in refs:
        if ref.offset != end:
            raise CandidateError(f"{path}: has a damaged header: tensor '{ref.name}' overlaps or leaves a gap")
        end += ref.nbytes
    if end > size:
        raise CandidateError(f"{path}: is truncated: its header promises {end:,} bytes, the file has {size:,}")
    if end < size:
        raise CandidateError(f"{path}: has {size - end:,} bytes more than its header describes")
    return refs


def _ref(path: Path, name: str, entry: dict[str, Any], base: int) -> TensorRef:
    dtype, shape = entry["dtype"], tuple(int(n) for n in entry["shape"])
    begin, end = (int(n) for n in entry["data_offsets"])
    if dtype not in ITEM_SIZE:
        raise CandidateError(f"{path}: tensor '{name}' has dtype {dtype}; quantised weights cannot be used")
    if min(shape, default=0) < 0 or end - begin != math.prod(shape) * ITEM_SIZE[dtype]:
        raise CandidateError(f"{path}: has a damaged header: tensor '{name}' has {end - begin} bytes for {shape}")
    return TensorRef(name, path, base + begin, end - begin, dtype, shape)
