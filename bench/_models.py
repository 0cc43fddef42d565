"""Random Llama checkpoints of a wanted size, written without building a model: what bench/merge.py merges."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SIZES = {  # name -> (hidden, mlp, layers, heads, rows)
    "small": (1024, 2816, 8, 16, 32000),  # 130M parameters
    "medium": (1536, 4096, 16, 16, 32000),  # 500M
    "7b": (4096, 11008, 32, 32, 32000),  # Llama 2's
}
_SHARD = 300 << 20


def write_model(folder: Path, size: str, *, reward: bool, seed: int) -> int:
    """Write a bfloat16 checkpoint with config, tokenizer and shards; returns the bytes of its weights."""
    hidden, mlp, layers, heads, vocabulary = SIZES[size.removesuffix(" double")]
    if size.endswith(" double"):  # twice the layers and rows: twice the bytes
        layers, vocabulary = 2 * layers, 2 * vocabulary
    rows = vocabulary
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows, hidden)}
    for i in range(layers):
        p = f"model.layers.{i}."
        shapes |= {f"{p}self_attn.{n}_proj.weight": (hidden, hidden) for n in "qkvo"}
        shapes |= {f"{p}mlp.{n}_proj.weight": (mlp, hidden) for n in ("gate", "up")}
        shapes[f"{p}mlp.down_proj.weight"] = (hidden, mlp)
        shapes |= {f"{p}{n}.weight": (hidden,) for n in ("input_layernorm", "post_attention_layernorm")}
    shapes["model.norm.weight"] = (hidden,)
    shapes |= {"score.weight": (1, hidden)} if reward else {"lm_head.weight": (rows, hidden)}
    folder.mkdir(parents=True)
    total = _write_shards(folder, shapes, seed)
    config = {
        "architectures": ["LlamaForSequenceClassification" if reward else "LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": hidden, "intermediate_size": mlp, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": heads, "vocab_size": rows, "pad_token_id": 0, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "max_position_embeddings": 2048, "tie_word_embeddings": False, "dtype": "bfloat16",
    }  # fmt: skip
    if reward:
        config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (folder / "config.json").write_text(json.dumps(config))
    vocab = {f"w{i}": i for i in range(rows)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return total


def _write_shards(folder: Path, shapes: dict[str, tuple[int, ...]], seed: int) -> int:
    generator = torch.Generator().manual_seed(seed)
    # One pool of noise, read from many offsets: filling every weight afresh would take longer than the benchmark.
    pool = (torch.randn(1 << 22, generator=generator) * 0.02).to(torch.bfloat16)
    shards: list[dict[str, torch.Tensor]] = [{}]
    filled = total = 0
    for i, (name, shape) in enumerate(shapes.items()):
        count = int(torch.Size(shape).numel())
        start = (i * 7919) % 4096
        tensor = pool[start : start + 4_000_000].repeat(count // 4_000_000 + 1)[:count].view(shape).clone()
        if filled + tensor.nbytes > _SHARD and shards[-1]:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.nbytes
        total += tensor.nbytes
    names = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        names |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": total}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total
