"""A model folder, read lazily: where every tensor lies in which safetensors file, and nothing more.

Only headers are read here, so a plan over a 14 GB model costs milliseconds. Everything that is wrong with a folder
is raised here as a CandidateError, before any work begins. This module imports nothing heavy.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import CandidateError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLED_INDEX = "pytorch_model.bin.index.json"
PICKLED = "pytorch_model.bin"
ITEM_SIZE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F32", "F16", "BF16")  # what can be merged; F64 checkpoints do not occur in practice
_HEADER_LIMIT = 100 << 20  # the format's own limit; a larger length is a damaged file
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?")


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


@dataclass(frozen=True, slots=True)
class Reading:
    """What may be done to read the parents of a merge; the first two are the user's consent, from the recipe."""

    pickle: bool = False  # read .bin files, through torch.load(weights_only=True)
    adapters: bool = False  # merge LoRA adapters into their base, through peft
    headers: bool = False  # of hub models get the headers only: enough to plan, not to merge

    @classmethod
    def of(cls, options: Mapping[str, Any], *, headers: bool = False) -> Reading:
        return cls(options.get("pickle") == "allow", options.get("adapters") == "merge", headers)


def locate(name: str, reading: Reading = Reading(), *, reward: bool = True) -> Path:
    """The local folder of a model: the folder itself, or the snapshot of a hub id (`owner/name[@revision]`); of an
    adapter that may be merged, the folder of the merged model (`reward`: it is the merge's reward model).

    Raises CandidateError where there is no such folder and no such hub model.
    """
    folder = _folder(name, reading)
    if reading.adapters and (folder / "adapter_config.json").exists():
        from harness.merging._adapter import merged_adapter

        whole = _folder(name, replace(reading, headers=False))  # to know what it makes, it must be made
        return merged_adapter(name, whole, reading, reward)
    return folder


def _folder(name: str, reading: Reading) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CandidateError(f"{name}: is a file, not a model folder")
    if not _HUB_ID.fullmatch(name):
        raise CandidateError(f"{name}: there is no such folder")
    from harness.merging._hub import snapshot

    return snapshot(name, weights=not reading.headers, pickle=reading.pickle)


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


def open_checkpoint(name: str, reading: Reading = Reading(), *, reward: bool = True) -> Checkpoint:
    """Read a model folder's configuration and tensor headers. Raises CandidateError with one sentence."""
    folder = locate(name, reading, reward=reward)
    if (folder / "adapter_config.json").exists():
        raise CandidateError(
            f"{name}: is a LoRA adapter, not a model; --merge-adapter (recipe: 'options: {{adapters: merge}}') merges "
            "it into its base through peft"
        )
    if not (folder / "config.json").exists():
        raise CandidateError(f"{name}: is not a model folder: config.json is missing")
    config = read_json(folder / "config.json")
    if config.get("quantization_config"):
        settings = config["quantization_config"]
        how = settings.get("quant_method", "unknown method") if isinstance(settings, dict) else settings
        raise CandidateError(f"{name}: is quantised ({how}); merging needs the float16, bfloat16 or float32 weights")
    if reading.headers and not Path(name).expanduser().is_dir() and not has_weights(folder):
        from harness.merging._hub import remote_headers

        return Checkpoint(name, folder, config, remote_headers(name, folder))
    return Checkpoint(name, folder, config, read_tensors(folder, name, pickle=reading.pickle))


def read_tensors(folder: Path, name: str | None = None, *, pickle: bool = False) -> dict[str, TensorRef]:
    """Every tensor of a folder, from one file or from the index's shards, in file order."""
    tensors: dict[str, TensorRef] = {}
    files = weight_files(folder, name or str(folder), pickle=pickle)
    for path in files:
        for ref in read_header(path):
            if ref.name in tensors:
                raise CandidateError(f"{path}: tensor '{ref.name}' is also in {tensors[ref.name].path.name}")
            tensors[ref.name] = ref
    index = folder / (INDEX if files[0].suffix == ".safetensors" else PICKLED_INDEX)
    if index.exists() and files[0].name not in (SINGLE, PICKLED):
        weight_map = read_json(index)["weight_map"]
        lost = [key for key, file in weight_map.items() if key not in tensors or tensors[key].path.name != file]
        if lost:
            raise CandidateError(
                f"{index}: tensor '{lost[0]}' is not in {weight_map[lost[0]]}"
                + (f" (and {len(lost) - 1} more)" if len(lost) > 1 else "")
            )
    return tensors


def has_weights(folder: Path) -> bool:
    """Are all its safetensors files there?"""
    try:
        return bool(weight_files(folder, str(folder)))
    except CandidateError:
        return False


def weight_files(folder: Path, name: str, *, pickle: bool = False) -> list[Path]:
    """The files that hold a model's weights, in a stable order: safetensors, or .bin files where `pickle` allows."""
    for single, index in ((SINGLE, INDEX), *([(PICKLED, PICKLED_INDEX)] if pickle else [])):
        if (folder / single).exists():
            return [folder / single]
        if (folder / index).exists():
            return _shards(folder / index)
    if not pickle and any(path for end in ("bin", "pth", "pt") for path in folder.glob(f"*.{end}")):
        raise CandidateError(
            f"{name}: has weights in PyTorch's pickle format (.bin) only, which can run code when it is read; save the "
            "model as safetensors first (save_pretrained does), or merge with --allow-pickle (recipe: 'options: "
            "{pickle: allow}'), which reads tensors and refuses everything else"
        )
    wanted = f"{SINGLE}, {INDEX}" + (f", {PICKLED} or {PICKLED_INDEX}" if pickle else "")
    raise CandidateError(f"{name}: has no weights (looked for {wanted})")


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CandidateError(f"{index}: 'weight_map' is missing or empty")
    files = sorted({str(file) for file in weight_map.values()})
    for file in files:
        if "/" in file or not (index.parent / file).is_file():
            raise CandidateError(f"{index}: names the shard '{file}', which is not in the folder")
    return [index.parent / file for file in files]


def read_header(path: Path) -> list[TensorRef]:
    """The tensors of one file, by offset. Checks lengths, shapes and overlaps. A .bin file is read by torch."""
    if path.suffix != ".safetensors":
        from harness.merging._pickled import read_pickled

        return read_pickled(path)
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
    dtype, shape = entry["dtype"], tuple(n.__index__() for n in entry["shape"])
    begin, end = (int(n) for n in entry["data_offsets"])
    if dtype not in ITEM_SIZE:
        raise CandidateError(f"{path}: tensor '{name}' has dtype {dtype}; quantised weights cannot be used")
    if min(shape, default=0) < 0 or end - begin != math.prod(shape) * ITEM_SIZE[dtype]:
        raise CandidateError(f"{path}: has a damaged header: tensor '{name}' has {end - begin} bytes for {shape}")
    return TensorRef(name, path, base + begin, end - begin, dtype, shape)
