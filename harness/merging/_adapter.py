"""LoRA adapters as parents: merged into their base through peft, once, into a folder of the user's cache.

The base's weights are taken in float32, the adapter is added, the sum is rounded once to the base's dtype. The
folder's name is a hash of the adapter's files, the base's content and peft's version, so what changed is merged anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness._environment import versions
from harness._hashing import cache_folder, canonical_hash, folder_identity
from harness.errors import CandidateError, MergeError
from harness.merging._checkpoint import Reading, locate, read_header, read_json
from harness.merging._folder import whole_folder

ADAPTER_FILE = "merged_adapter.json"
_CLASSES = {"SEQ_CLS": "AutoModelForSequenceClassification", "CAUSAL_LM": "AutoModelForCausalLM"}
_TOKENIZER = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.jinja", "chat_template.*",
    "*.model", "*.tiktoken",
)  # fmt: skip


def merged_adapter(name: str, folder: Path, reading: Reading, reward: bool) -> Path:
    """The folder of the model that the adapter in `folder` makes of its base; made now where it is not there yet.

    `reward`: it stands for a reward model where adapter_config.json names no task. Raises CandidateError or MergeError.
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise MergeError(f"{name}: merging an adapter needs the package peft, which is not installed: "
                         "pip install '.[peft]'") from None  # fmt: skip
    settings = read_json(folder / "adapter_config.json")
    task = settings.get("task_type") or ("SEQ_CLS" if reward else "CAUSAL_LM")
    if task not in _CLASSES:
        raise CandidateError(f"{name}: is an adapter for {task}; a merge takes SEQ_CLS and CAUSAL_LM")
    files = _weights(name, folder, reading)
    base = _base(name, folder, settings, reading)
    parents = {"base": folder_identity(base, pickle=reading.pickle), "adapter": _digest(folder, files)}
    made = {**versions(("peft", "transformers", "torch")), "task": task}
    out = cache_folder() / "adapters" / canonical_hash([parents, made])[:32]
    if not out.exists():
        record = {"adapter": name, "base": settings["base_model_name_or_path"], "hashes": parents, "versions": made}
        with whole_folder(out) as place:
            _merge(name, folder, files[0], base, place, task)
            (place / ADAPTER_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return out


def adapter_record(folder: Path) -> dict[str, Any] | None:
    """What a folder says of the adapter that it was made of; None for every other model."""
    return read_json(folder / ADAPTER_FILE) if (folder / ADAPTER_FILE).exists() else None


def _weights(name: str, folder: Path, reading: Reading) -> list[Path]:
    found = [folder / file for file in ("adapter_model.safetensors", "adapter_model.bin") if (folder / file).exists()]
    if not found:
        raise CandidateError(f"{name}: has an adapter_config.json, but no adapter_model.safetensors")
    if found[0].suffix == ".bin" and not reading.pickle:
        raise CandidateError(f"{name}: its adapter is in PyTorch's pickle format (.bin); --allow-pickle reads it")
    return found[:1]


def _base(name: str, folder: Path, settings: Mapping[str, Any], reading: Reading) -> Path:
    """The base's folder: a hub id, a path, or a path relative to the adapter."""
    wanted = settings.get("base_model_name_or_path")
    if not isinstance(wanted, str) or not wanted:
        raise CandidateError(f"{name}: adapter_config.json does not name its base (base_model_name_or_path)")
    beside = folder / wanted
    try:
        return beside if beside.is_dir() else locate(wanted, Reading(pickle=reading.pickle))
    except CandidateError as error:
        raise CandidateError(f"{name}: its base cannot be had: {error}") from None


def _digest(folder: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    small = sorted({p for pattern in (*_TOKENIZER, "adapter_config.json") for p in folder.glob(pattern)})
    for path in [*small, *files]:
        with path.open("rb") as file:
            total.update(f"{path.name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _merge(name: str, folder: Path, weights: Path, base: Path, out: Path, task: str) -> None:
    import peft
    import torch
    import transformers

    config = read_json(base / "config.json")
    own = [p for pattern in _TOKENIZER for p in folder.glob(pattern)]
    more = {"num_labels": 1} if task == "SEQ_CLS" else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's advice is for training
            kind = getattr(transformers, _CLASSES[task])
            model, report = kind.from_pretrained(base, dtype=torch.float32, output_loading_info=True, **more)
            rows = len(transformers.AutoTokenizer.from_pretrained(folder)) if own else 0
            if rows > model.get_input_embeddings().weight.shape[0]:
                model.resize_token_embeddings(rows)
            wrapped = peft.PeftModel.from_pretrained(model, str(folder))
            _check_head(name, report["missing_keys"], weights)
            merged = wrapped.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError) as error:
        if isinstance(error, CandidateError):
            raise
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise CandidateError(f"{name}: peft cannot merge this adapter into {base}: {first}") from None
    merged.to(_dtype(config)).save_pretrained(out)
    _write_config(config, out, merged)
    for path in own or [p for pattern in _TOKENIZER for p in base.glob(pattern)]:
        shutil.copyfile(path, out / path.name)


def _check_head(name: str, missing: Any, adapter: Path) -> None:
    """A head that neither the base nor the adapter brings would be random numbers."""
    trained = {part for ref in read_header(adapter) for part in ref.name.split(".")}
    lost = sorted(key for key in missing if key.split(".")[0] not in trained)
    if lost:
        raise CandidateError(f"{name}: neither the adapter nor its base has {', '.join(lost[:5])}")


def _dtype(config: Mapping[str, Any]) -> Any:
    import torch

    return getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch."))


def _write_config(config: dict[str, Any], out: Path, model: Any) -> None:
    """The base's own file, with what the adapter changes (transformers' spelling would depend on its version)."""
    fresh = read_json(out / "config.json")
    changed = {key: fresh[key] for key in ("architectures", "id2label", "label2id", "pad_token_id") if key in fresh}
    text = {"vocab_size": model.get_input_embeddings().weight.shape[0]}
    if isinstance(config.get("text_config"), dict):
        text = {"text_config": {**config["text_config"], **text}}
    (out / "config.json").write_text(json.dumps({**config, **changed, **text}, indent=2) + "\n", encoding="utf-8")
