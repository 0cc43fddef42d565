"""Tiny real reward models of every supported architecture, requests to score, and what transformers makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.candidate import Candidate
from harness.errors import UserError
from harness.scoring._types import Backend, Request, ScoringOptions
from tasks._types import Message

WINDOW = 24  # shorter than most test prompts
SIZE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.25,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "num_labels": 1,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": WINDOW}),
    "qwen2": ("Qwen2", {}),
    "qwen2_window": ("Qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma2", {"sliding_window": WINDOW, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3Text", {"sliding_window": WINDOW, "query_pre_attn_scalar": 8}),
    "phi3": ("Phi3", {}),  # not known to the packed engine: goes through the padded fallback
}


def write_model(
    folder: Path,
    kind: str,
    seed: int = 0,
    tokenizer_options: dict[str, Any] | None = None,
    task: str = "SequenceClassification",
    **changes: Any,
) -> Path:
    """A random model of one of KINDS, in float32: a reward model, or `task="CausalLM"`."""
    import torch
    import transformers
    from tiny import tokenizer

    name, extra = KINDS[kind]
    words = tokenizer(["[PAD]"], **(tokenizer_options or {}))
    settings = {k: v for k, v in SIZE.items() if not (name == "Phi3" and k == "head_dim")}
    if task == "CausalLM":
        settings |= {"tie_word_embeddings": False}
        del settings["num_labels"]
    config = getattr(transformers, f"{name}Config")(vocab_size=len(words), **{**settings, **extra, **changes})
    torch.manual_seed(seed)
    prefix = name.removesuffix("Text") if task == "CausalLM" else name  # Gemma 3 calls only its classifier so
    model = getattr(transformers, f"{prefix}For{task}")(config).eval()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def candidate(folder: Path) -> Candidate:
    """A checkpoint candidate whose identity does not matter here."""
    return Candidate(str(folder), folder.name, "checkpoint", folder=folder)


def request(key: str, response: int, prompt: str, text: str) -> Request:
    return Request(key, response, (Message("user", prompt),), text, "task", key)


def conversation(count: int = 6, responses: int = 3) -> list[Request]:
    """Prompts and responses of many lengths, with duplicates, an empty response and unknown characters."""
    texts = ["it is the one", "not what all had but this", "", "it is the one", "ünïcödé 数学 b c d " * 3, "a " * 40]
    return [
        request(f"k{i}", j, "what is the a of b " * (1 + 2 * i), texts[(i + j) % len(texts)])
        for i in range(count)
        for j in range(responses)
    ]


def rewards(backend: Backend, requests: Sequence[Request]) -> dict[tuple[str, int], float | None]:
    """Every reward, each exactly once."""
    found: dict[tuple[str, int], float | None] = {}
    for batch in backend.score(requests, ()):
        for r in batch:
            assert (r.example_key, r.response) not in found
            found[r.example_key, r.response] = r.reward
    assert set(found) == {(r.example_key, r.response) for r in requests}
    return found


def reference(
    folder: Path, requests: Sequence[Request], options: ScoringOptions, dtype: Any = None, attention: str = "eager"
) -> dict[Any, float]:
    """What transformers' own model gives each sequence alone: nothing of ours but the ids."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from harness.scoring import hf

    backend = hf.open_backend(candidate(folder), options)
    encoded = backend.engine.encode(requests)  # type: ignore[attr-defined]
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=dtype or torch.float32, attn_implementation=attention
    ).eval()
    model.config.get_text_config().pad_token_id = None  # then it takes the last token, whatever that is
    with torch.inference_mode():
        return {
            (r.example_key, r.response): model(input_ids=torch.tensor([e.ids.tolist()])).logits[0, 0].float().item()
            for r, e in zip(requests, encoded, strict=True)
        }


def opened(module: Any, one: Any, **extra: str) -> Backend:
    """A backend with these --backend-option values."""
    return module.open_backend(one, ScoringOptions(extra=extra))  # type: ignore[no-any-return]


def refused(module: Any, one: Any, **extra: str) -> str:
    """The one sentence with which opening or scoring is refused."""
    with pytest.raises(UserError) as caught:
        rewards(opened(module, one, **extra), conversation(1))
    assert "\n" not in str(caught.value)
    return str(caught.value)
