"""What bench/score.py scores: real texts, a tokenizer trained on them, and a random Llama of a chosen size."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import torch

from harness.scoring._batching import Encoded
from harness.scoring._template import Encoder, TextSettings
from harness.scoring._types import Request
from tasks._types import Message

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}<<SYS>>\n{{ m['content'] }}\n<</SYS>>\n\n"
    "{% elif m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }} {{ eos_token }}"
    "{% endif %}{% endfor %}"
)
SYSTEM = (  # about as long as the well-known one of Llama 2's chat models
    "You are a careful assistant who answers questions helpfully and honestly. Answers are safe and fair, and never"
    " contain anything harmful, unlawful or unkind. Where a question makes no sense or rests on something false, say"
    " why instead of giving a wrong answer. Where you do not know, say that you do not know, and never make up facts."
    " For mathematics, go step by step, check each step, and finish with the final answer on a line of its own."
)
SIZES: dict[str, dict[str, int]] = {  # hidden, MLP, layers, heads, key-value heads
    "41m": {"hidden_size": 512, "intermediate_size": 1792, "num_hidden_layers": 12,
            "num_attention_heads": 8, "num_key_value_heads": 2},
    "22m": {"hidden_size": 512, "intermediate_size": 1792, "num_hidden_layers": 6,
            "num_attention_heads": 8, "num_key_value_heads": 2},
    "9m": {"hidden_size": 256, "intermediate_size": 896, "num_hidden_layers": 6,
           "num_attention_heads": 4, "num_key_value_heads": 1},
    "tiny": {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2},
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 32},
}  # fmt: skip

Group = list[Request]


def autoj(data: Path, count: int) -> list[Group]:
    """The first `count` pairs of Auto-J Eval."""
    lines = (data / "autoj" / "testdata_pairwise.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    return [_group(f"a{i}", row["prompt"], [row["response 1"], row["response 2"]]) for i, row in enumerate(rows)]


def gsm(data: Path, count: int, responses: int) -> list[Group]:
    """The first `count` GSM8K questions with `responses` real answers each."""
    groups = []
    with gzip.open(data / "gsm8k_candidates" / "gsm8k_candidates.jsonl.gz", "rt", encoding="utf-8") as lines:
        for _, line in zip(range(count), lines, strict=False):
            row = json.loads(line)
            texts = [candidate["text"] for candidate in row["candidates"][:responses]]
            groups.append(_group(f"g{row['id']}", row["question"], texts))
    return groups


def _group(key: str, prompt: str, texts: list[str]) -> Group:
    return [Request(key, i, (Message("user", prompt),), text) for i, text in enumerate(texts)]


def train_tokenizer(groups: list[Group], size: int = 16000) -> Any:
    """Byte-level BPE on the texts themselves, so that lengths are like a real tokenizer's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(
        (text for group in groups for r in group for text in (r.prompt[0].content, r.text)), trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def encode(tokenizer: Any, groups: list[Group], system: str | None) -> list[list[Encoded]]:
    """Token ids, group by group."""
    encoder = Encoder(tokenizer, TextSettings(TEMPLATE, system, 4096, "left"))
    return [encoder.encode(group) for group in groups]


def random_model(size: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A Llama reward model with random weights of the scale that keeps activations alive."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=16000, max_position_embeddings=8192, num_labels=1, pad_token_id=2, bos_token_id=0, eos_token_id=1,
        **SIZES[size],
    )  # fmt: skip
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlamaForSequenceClassification(config).eval()
    finally:
        torch.set_default_dtype(default)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 1.0 if "embed" in name else parameter.shape[1] ** -0.5)
    return model
