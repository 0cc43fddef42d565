"""Small questions in the published schemas, a store, and an engine that is told what to write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.generation import hf
from harness.generation._types import EngineOptions, Job, Sampled
from results.store import Store, open_store
from tasks._types import LoadRequest

QUESTIONS = 8


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A data directory with eight questions, two worked examples, and three MBPP problems."""
    folder = tmp_path / "data"
    gsm8k = [{"question": f"what is {i} and {i} ?", "answer": f"it is that\n#### {2 * i}"} for i in range(QUESTIONS)]
    train = [{"question": f"what is {i} ?", "answer": f"it is <<{i}=1,000>>{i}\n#### {i},000"} for i in (3, 4)]
    mbpp = [
        {"task_id": i, "text": f"Add {i} to it .", "code": f"def f(x):\r\n  return x + {i}", "test_list": [
            f"assert f(1) == {1 + i}"], "test_setup_code": ""} for i in (1, 2, 3, 11, 12, 13)
    ]  # fmt: skip
    for name, rows in {"gsm8k/test": gsm8k, "gsm8k/train": train, "mbpp/mbpp": mbpp}.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def load(questions: Path) -> LoadRequest:
    return LoadRequest(data_dir=questions)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "pools.duckdb") as opened:
        yield opened


@dataclass
class Script:
    """What the scripted engine does, and what it was asked: samples spell 'the answer' with a number token."""

    stop_after: int | None = None  # questions, then a KeyboardInterrupt
    version: str = "1"
    asked: list[list[Job]] = field(default_factory=list)
    options: list[EngineOptions] = field(default_factory=list)
    closed: int = 0


class ScriptedEngine:
    """Writes tokens that are a function of the seed alone, as every engine must."""

    def __init__(self, script: Script, options: EngineOptions) -> None:
        self._script = script
        script.options.append(options)

    def versions(self) -> Mapping[str, str]:
        return {"scripted": self._script.version}

    def generate(self, jobs: Sequence[Job]) -> Iterator[Sampled]:
        self._script.asked.append(list(jobs))
        for done, job in enumerate(jobs):
            if done == self._script.stop_after:
                raise KeyboardInterrupt
            yield Sampled(job.example_id, tuple((100, 101, 18 + (job.seed + i) % 10, 2) for i in range(job.n)))

    def close(self) -> None:
        self._script.closed += 1


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Puts the scripted engine in the place of hf; every question is a batch of its own."""
    told = Script()
    opener: Callable[[EngineOptions], ScriptedEngine] = lambda options: ScriptedEngine(told, options)  # noqa: E731
    monkeypatch.setattr(hf, "open_engine", opener)
    monkeypatch.setattr("harness.generation._pool.COMMIT_SECONDS", 0.0)
    return told


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose heads are as wide as vLLM's attention on a CPU wants them (32)."""
    import torch
    from tiny import tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("policy") / "policy"
    words = tokenizer(["step"])
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, initializer_range=0.3, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
