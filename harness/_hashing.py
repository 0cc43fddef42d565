"""Content identity of model folders: what a candidate is, whatever its path, sharding or file names.

A tensor's digest is the xxh3_128 of its bytes; a checkpoint's is the sha256 over its sorted (name, dtype, shape,
digest) lines. Digests are kept per file in the user's cache (HARNESS_CACHE_DIR overrides), keyed by path, size,
times and inode, so an unchanged 14 GB folder is not read again. Two folders that hold the same tensors in other
shards are the same checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xxhash
from platformdirs import user_cache_dir

from harness.errors import CandidateError
from harness.merging._checkpoint import TensorRef, read_header, read_json, weight_files

_BLOCK = 1 << 20
_CACHE_VERSION = 1
# Configuration fields that change neither a reward nor how the weights are read.
_IDLE_CONFIG = frozenset(
    [
        "_name_or_path",
        "name_or_path",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "use_cache",
        "id2label",
        "label2id",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "_attn_implementation_autoset",
        "problem_type",
    ]
)
_IDLE_TOKENIZER = frozenset(
    [
        "chat_template",
        "name_or_path",
        "_name_or_path",
        "tokenizer_file",
        "processor_class",
        "special_tokens_map_file",
        "is_local",
        "backend",
        "local_files_only",
    ]
)

Digests = dict[str, tuple[str, tuple[int, ...], str]]
"""Tensor name -> (dtype, shape, xxh3_128 in hex)."""


def weights_hash(folder: Path, *, pickle: bool = False) -> str:
    """Identity of a folder's weights: 64 hex digits. Raises CandidateError where they cannot be read.

    `pickle`: .bin files may be read; equal tensors have one identity, whatever the format.
    """
    digests: Digests = {}
    for path in weight_files(folder, str(folder), pickle=pickle):
        digests |= file_digests(path)
    return fold(digests)


def fold(digests: Digests) -> str:
    """One identity from tensor digests, independent of order, sharding and file names."""
    total = hashlib.sha256(b"weights 1\n")
    for name in sorted(digests):
        total.update(json.dumps([name, *digests[name]], ensure_ascii=False).encode() + b"\n")
    return total.hexdigest()


def file_digests(path: Path) -> Digests:
    """The digests of one file of weights, from the cache when the file is unchanged."""
    cached = recall(path)
    if cached is not None:
        return cached
    stamp = _stamp(path)
    digests = {ref.name: (ref.dtype, ref.shape, tensor_digest(ref)) for ref in read_header(path)}
    remember(path, stamp, digests)
    return digests


def tensor_digest(ref: TensorRef) -> str:
    """xxh3_128 of one tensor's bytes, read in blocks."""
    digest, block = xxhash.xxh3_128(), bytearray(min(_BLOCK, ref.nbytes))
    with ref.path.open("rb", buffering=0) as file:
        file.seek(ref.offset)
        left = ref.nbytes
        while left:
            count = file.readinto(memoryview(block)[: min(left, len(block))])
            if not count:
                raise CandidateError(f"{ref.path}: became shorter while it was read")
            digest.update(memoryview(block)[:count])
            left -= count
    return digest.hexdigest()


def stamp(path: Path) -> list[Any]:
    """What must be unchanged for a cached digest to hold; take it before reading the file."""
    return _stamp(path)


def _stamp(path: Path) -> list[Any]:
    real = path.resolve()
    stat = real.stat()
    return [_CACHE_VERSION, str(real), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def cache_folder() -> Path:
    """The user's cache of this program; HARNESS_CACHE_DIR overrides."""
    return Path(os.environ.get("HARNESS_CACHE_DIR") or user_cache_dir("merged-rm-harness", appauthor=False))


def _cache_file(path: Path) -> Path:
    return cache_folder() / "hashes" / (hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32] + ".json")


def recall(path: Path) -> Digests | None:
    """Cached digests of an unchanged file, else None. A damaged cache counts as none."""
    try:
        entry = json.loads(_cache_file(path).read_text(encoding="utf-8"))
        if entry["stamp"] != _stamp(path):
            return None
        return {name: (dtype, tuple(shape), digest) for name, (dtype, shape, digest) in entry["tensors"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remember(path: Path, stamp: list[Any], digests: Digests) -> None:
    """Keep digests of a file that was unchanged since `stamp` was taken. A cache that cannot be written is no error."""
    target = _cache_file(path)
    with contextlib.suppress(OSError):
        if _stamp(path) != stamp:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"stamp": stamp, "tensors": digests}, file)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def folder_identity(folder: Path, *, pickle: bool = False) -> dict[str, str]:
    """What of a folder can change a reward: hashes of weights, tokenizer, chat template and configuration."""
    return {"weights": weights_hash(folder, pickle=pickle), **light_identity(folder)}


def light_identity(folder: Path) -> dict[str, str]:
    """`folder_identity` without the weights: small files only."""
    config = read_json(folder / "config.json")
    return {
        "tokenizer": _tokenizer_hash(folder),
        "template": hashlib.sha256(template_text(folder).encode()).hexdigest(),
        "config": canonical_hash({k: v for k, v in config.items() if k not in _IDLE_CONFIG}),
    }


def canonical_hash(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def template_text(folder: Path) -> str:
    """The chat template a tokenizer of this folder would use, "" where it has none."""
    jinja = folder / "chat_template.jinja"
    if jinja.exists():
        try:
            return jinja.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CandidateError(f"{jinja}: cannot be read: {error}") from None
    for name in ("tokenizer_config.json", "chat_template.json"):
        if (folder / name).exists():
            found = read_json(folder / name).get("chat_template")
            if isinstance(found, str):
                return found
            if isinstance(found, list):  # several named templates: transformers takes 'default'
                return str(next((t["template"] for t in found if t.get("name") == "default"), ""))
    return ""


def _tokenizer_hash(folder: Path) -> str:
    names = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.json")
    found = [folder / name for name in names if (folder / name).exists()]
    if not (folder / "tokenizer.json").exists():
        found += _raw_vocabulary(folder)
    return _hash_of_files(tuple((path, tuple(_stamp(path))) for path in found))


@functools.lru_cache(maxsize=32)
def _hash_of_files(found: tuple[tuple[Path, tuple[Any, ...]], ...]) -> str:
    """Hash of a tokenizer's files, by their stamps: a sweep asks for the same parents at every lambda."""
    parts: dict[str, Any] = {}
    for path, _ in found:
        if path.suffix == ".json" and path.name != "vocab.json":
            parts[path.name] = _without(portable_tokenizer_config(read_json(path)), _IDLE_TOKENIZER)
        else:
            parts[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return canonical_hash(parts)


def portable_tokenizer_config(config: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json in words that transformers 4.57 and 5 both read; the meaning stays the same.

    Version 5 names the plain fast tokenizer, and the list of further special tokens, in ways that 4.57 refuses.
    """
    config = dict(config)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    return config


def _raw_vocabulary(folder: Path) -> Iterable[Path]:
    names = ("tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt")
    return (folder / name for name in names if (folder / name).exists())


def _without(value: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}
