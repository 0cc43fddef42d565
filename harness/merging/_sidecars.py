"""The small files of a merged folder: the RM's, byte for byte, with only the vocabulary fields edited where needed.

Nothing is loaded and saved again through transformers: version 5 writes tokenizer files that 4.57 refuses.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness._hashing import portable_tokenizer_config
from harness.merging._checkpoint import read_json
from harness.merging._plan import MergePlan

_COPIED = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*",
    "merges.txt", "*.jinja", "chat_template.*", "*.model", "*.tiktoken", "*.py", "LICENSE*", "NOTICE*", "USE_POLICY*",
    "preprocessor_config.json", "processor_config.json",
)  # fmt: skip


def write_sidecars(plan: MergePlan, folder: Path) -> bool:
    """Copy configuration, tokenizer and template from the RM's folder into `folder`; True where any was edited."""
    source = plan.rm.checkpoint.folder
    for path in sorted({p for pattern in _COPIED for p in source.glob(pattern) if p.is_file()}):
        shutil.copyfile(path, folder / path.name)
    _edit(folder / "tokenizer_config.json", portable_tokenizer_config)
    edits = _config_edits(plan)
    if edits is not None:
        _write(folder / "config.json", edits)
    if plan.tokenizer is not None:
        _write_tokenizer(plan, folder)
    return edits is not None or plan.tokenizer is not None


def _config_edits(plan: MergePlan) -> dict[str, Any] | None:
    config = json.loads(json.dumps(plan.rm.checkpoint.config))
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    changed = False
    if plan.alignment.rows != plan.alignment.rm_rows:
        text["vocab_size"] = plan.alignment.rows
        changed = True
    if plan.recipe.dtype != "rm":
        for part in (config, text):
            for key in ("dtype", "torch_dtype"):
                if key in part:
                    part[key] = plan.recipe.dtype
                    changed = True
    return config if changed else None


def _write_tokenizer(plan: MergePlan, folder: Path) -> None:
    """The extended vocabulary in every file that spells it out; a SentencePiece file that lacks tokens is left out."""
    assert plan.tokenizer is not None
    assert plan.rm.vocabulary is not None
    _write(folder / "tokenizer.json", plan.tokenizer)
    owners = [parent.vocabulary for parent in plan.experts if parent.vocabulary]
    added = {
        token: (row, next(v.added[token] for v in owners if token in v.added))
        for token, row in plan.alignment.appended
        if any(token in v.added for v in owners)
    }
    only_added = len(added) == len(plan.alignment.appended)
    _edit(folder / "tokenizer_config.json", lambda config: _decoder(config, added))
    _edit(folder / "added_tokens.json", lambda known: known | {token: row for token, (row, _) in added.items()})
    if only_added:
        return
    for stale in folder.glob("*.model"):
        stale.unlink()
    model = plan.tokenizer["model"]
    _edit(folder / "vocab.json", lambda _: model["vocab"])
    if (folder / "merges.txt").exists():
        lines = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _decoder(config: dict[str, Any], added: Mapping[str, tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    """transformers' own list of added tokens, extended where the RM's file has one."""
    known = config.get("added_tokens_decoder")
    if not isinstance(known, dict):
        return config
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    new = {str(row): {flag: entry[flag] for flag in flags if flag in entry} for row, entry in added.values()}
    return {**config, "added_tokens_decoder": known | new}


def _edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change a JSON file where it exists; one that stays as it is keeps its bytes."""
    if path.exists():
        before = read_json(path)
        after = change(before)
        if after != before:
            _write(path, after)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
