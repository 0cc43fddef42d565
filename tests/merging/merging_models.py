"""Small real models for the merging tests: random checkpoints with fast tokenizers, and ways to read and edit them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
    MistralForSequenceClassification,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

logging.disable_progress_bar()
logging.set_verbosity_error()

WORDS = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(37))]
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
CLASSES = {
    ("llama", True): (LlamaConfig, LlamaForSequenceClassification),
    ("llama", False): (LlamaConfig, LlamaForCausalLM),
    ("mistral", True): (MistralConfig, MistralForSequenceClassification),
    ("mistral", False): (MistralConfig, MistralForCausalLM),
}


def save_tokenizer(folder: Path, words: Sequence[str], added: Sequence[str] = ()) -> None:
    """A word-level tokenizer whose ids are the words' positions; `added` become special added tokens."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    if added:
        fast.add_special_tokens({"additional_special_tokens": list(added)})
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def save_model(
    folder: Path, *, seed: int, reward: bool, kind: str = "llama", words: Sequence[str] = WORDS,
    added: Sequence[str] = (), rows: int | None = None, dtype: torch.dtype = torch.float32, shard: str = "5GB",
    **config: Any,
) -> Path:  # fmt: skip
    """A random checkpoint with `rows` embedding rows (default: one for each token)."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 2,
        "vocab_size": rows or len(words) + len(added),
    }  # fmt: skip
    if reward:
        settings["num_labels"] = 1
    make_config, make_model = CLASSES[kind, reward]
    model = make_model(make_config(**(settings | config))).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    model.save_pretrained(folder, max_shard_size=shard)
    save_tokenizer(folder, words, added)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder, read by safetensors itself."""
    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The raw bytes: what bit-equality compares (NaN equals NaN, -0 differs from +0)."""
    return tensor.contiguous().view(torch.uint8)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(bits(a), bits(b)))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Rewrite a single-file checkpoint after changing its tensors."""
    path = folder / "model.safetensors"
    tensors = {k: v.clone() for k, v in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def ids_of(folder: Path) -> dict[str, int]:
    """Token -> id, as the tokenizers library reads the folder."""
    return dict(Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab())
