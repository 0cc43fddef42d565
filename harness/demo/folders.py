"""Model folders of the demo: where the shipped ones are, and how one is written (weights, tokenizer, template)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from harness.demo import world

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %} : {{ message['content'] }} ."
    "{% else %} {{ message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} :{% endif %}"
)
MAX_LENGTH = 256  # tokens; chains take at most 30, programs more


def models_dir() -> Path:
    """The folder of the shipped models: base, rm, sft and sft_wrong, each in transformers' format."""
    return Path(__file__).parent / "models"


def seed_tables() -> list[dict[str, Any]]:
    """What was measured on every seed that was trained, shipped or not (keys: measure.measure_world)."""
    tables: list[dict[str, Any]] = json.loads((Path(__file__).parent / "seeds.json").read_text(encoding="utf-8"))
    return tables


def build_tokenizer() -> Any:
    """One token a word, split at whitespace; words outside the vocabulary become `<unk>`; no tokens are added."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(world.VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=world.UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=world.PAD,
        bos_token=world.BOS,
        eos_token=world.EOS,
        unk_token=world.UNK,
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def save_model(model: Any, folder: Path) -> None:
    """Write the model in fp16 with its tokenizer; the model passed in keeps its own dtype."""
    import torch

    copy.deepcopy(model).to(torch.float16).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
