"""Tiny real checkpoints with real fast tokenizers: random weights, two layers, a few hundred tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
WORDS = "the a of to and in is it that for was on are with as at be this have from or one had by but not what all"


def tokenizer(extra: list[str], pad: str = "</s>", template: str | None = TEMPLATE) -> Any:
    """A byte-level-free word tokenizer that adds BOS by itself, like Llama's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(c) for c in range(33, 127)]
    tokens = list(dict.fromkeys(["<unk>", "<s>", "</s>", *letters, *WORDS.split(), *extra]))
    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokens.index("<s>"))])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token=pad
    )
    fast.chat_template = template
    return fast


def write_models(folder: Path) -> None:
    """rm, sft (Llama) and mistral_rm, mistral_sft under `folder`; the experts have tokens of their own."""
    import torch
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        LlamaForSequenceClassification,
        MistralConfig,
        MistralForCausalLM,
        MistralForSequenceClassification,
    )

    size = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": False,
        "initializer_range": 0.5, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    kinds = {
        "": (LlamaConfig, LlamaForSequenceClassification, LlamaForCausalLM),
        "mistral_": (MistralConfig, MistralForSequenceClassification, MistralForCausalLM),
    }
    for seed, (prefix, (config, classifier, causal)) in enumerate(kinds.items()):
        for name, kind, extra in (("rm", classifier, ["[PAD]"]), ("sft", causal, ["<calc>", "step"])):
            words = tokenizer(extra)
            torch.manual_seed(2 * seed + (name == "sft"))
            labels = {"num_labels": 1} if name == "rm" else {}
            model = kind(config(vocab_size=len(words), pad_token_id=2, **size, **labels))
            model.save_pretrained(folder / f"{prefix}{name}")
            words.save_pretrained(folder / f"{prefix}{name}")
