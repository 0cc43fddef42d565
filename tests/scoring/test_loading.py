"""Folders that are not usable reward models: one sentence each, and nothing heavy loaded before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scoring_models import candidate, conversation, rewards

from harness.errors import CandidateError, ScoringError, UserError
from harness.scoring import hf
from harness.scoring._describe import choose_dtype, describe
from harness.scoring._types import ScoringOptions


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    value = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))


def refusal(folder: Path, **options: Any) -> str:
    """The sentence with which opening and scoring a folder ends."""
    with pytest.raises(UserError) as caught:
        rewards(hf.open_backend(candidate(folder), ScoringOptions(**options)), conversation(2))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_a_folder_without_config_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: not a model folder (it has no config.json)"


def test_a_damaged_config_is_named(copied: Path) -> None:
    (copied / "config.json").write_text("{")
    assert str(copied / "config.json") in refusal(copied)
    (copied / "config.json").write_text("[]")
    assert "expected a JSON object" in refusal(copied)


def test_a_language_model_is_not_a_reward_model(copied: Path) -> None:
    edit(copied / "config.json", architectures=["LlamaForCausalLM"])
    assert "not a reward model (config.json says LlamaForCausalLM" in refusal(copied)
    edit(copied / "config.json", architectures=None)
    assert "says no architecture" in refusal(copied)


def test_several_labels_are_not_a_scalar_reward(copied: Path) -> None:
    edit(copied / "config.json", id2label={"0": "a", "1": "b"})
    assert "num_labels is 2, expected 1" in refusal(copied)


def test_classes_of_the_checkpoints_own_need_consent(copied: Path) -> None:
    edit(copied / "config.json", architectures=["MyReward"], auto_map={"AutoModelForSequenceClassification": "m.My"})
    assert "--trust-remote-code" in refusal(copied)


OWN_CODE = """
import torch
from transformers import LlamaModel, LlamaPreTrainedModel


class Doubled(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.first = torch.nn.Linear(config.hidden_size, OUTPUTS, bias=False)
        self.post_init()

    def forward(self, input_ids):
        return (2 * self.first(self.model(input_ids=input_ids).last_hidden_state[:, -1]),)
"""


@pytest.mark.parametrize("outputs", [1, 3])
def test_with_consent_classes_of_the_checkpoints_own_are_run(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: int
) -> None:
    import transformers.dynamic_module_utils
    from safetensors.torch import load_file, save_file

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    plain = rewards(hf.open_backend(candidate(copied), ScoringOptions()), conversation(2))
    (copied / "own.py").write_text(OWN_CODE.replace("OUTPUTS", str(outputs)))
    own = {"AutoModelForSequenceClassification": "own.Doubled"}
    edit(copied / "config.json", architectures=["Doubled"], auto_map=own)
    tensors = load_file(copied / "model.safetensors")
    tensors["first.weight"] = tensors.pop("score.weight").repeat(outputs, 1)
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    if outputs == 3:
        assert "gives 3 numbers a sequence, expected one reward" in refusal(copied, trust_remote_code=True)
        return
    backend = hf.open_backend(candidate(copied), ScoringOptions(trust_remote_code=True))
    assert backend.protocol()["attention"] == "whole"
    found = rewards(backend, conversation(2))
    assert found == {key: pytest.approx(2 * value, abs=1e-4) for key, value in plain.items()}


def test_truncated_weights_are_an_error(copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert refusal(copied).startswith(f"{copied}: transformers cannot load it: ")


def test_missing_weights_are_an_error(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    assert refusal(copied).startswith(f"{copied}: ")


def test_missing_tensors_are_listed(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = copied / "model.safetensors"
    tensors = load_file(path)
    del tensors["score.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    sentence = refusal(copied)
    assert "lack 2 tensors: model.layers.1.mlp.up_proj.weight, score.weight" in sentence


def test_an_unknown_architecture_is_an_error(copied: Path) -> None:
    edit(copied / "config.json", model_type="nobody_knows", architectures=["NobodyForSequenceClassification"])
    assert "transformers cannot load it" in refusal(copied)


def test_a_folder_without_a_tokenizer_is_an_error(copied: Path) -> None:
    for path in copied.glob("tokenizer*"):
        path.unlink()
    assert refusal(copied).startswith(f"{copied}: ")


def test_weights_that_are_not_numbers_leave_rewards_unscored_with_a_reason(copied: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    path = copied / "model.safetensors"
    tensors = load_file(path)
    tensors["score.weight"] = torch.full_like(tensors["score.weight"], float("nan"))
    save_file(tensors, path, metadata={"format": "pt"})
    backend = hf.open_backend(candidate(copied), ScoringOptions())
    records = [r for batch in backend.score(conversation(2), ()) for r in batch]
    assert {(r.reward, r.reason) for r in records} == {(None, "the model gave nan")}


def test_a_heads_bias_is_kept(copied: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    before = rewards(hf.open_backend(candidate(copied), ScoringOptions()), conversation(2))
    path = copied / "model.safetensors"
    save_file({**load_file(path), "score.bias": torch.tensor([10.0])}, path, metadata={"format": "pt"})
    after = rewards(hf.open_backend(candidate(copied), ScoringOptions()), conversation(2))
    assert after == {key: pytest.approx(value + 10, abs=1e-5) for key, value in before.items()}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": "float23"}, "--dtype float23: did you mean 'float32'?"),
        ({"device": "gpu"}, "--device gpu: did you mean 'cpu'? known: cpu, cuda"),
        ({"attn": "cascad"}, "--attn cascad: did you mean 'cascade'?"),
        ({"attn": "varlen"}, "--attn varlen needs CUDA"),
        ({"batch_tokens": 0}, "--batch-tokens 0: it must be at least 1"),
    ],
)
def test_options_that_cannot_be_met(family: Callable[[str], Path], options: dict[str, Any], sentence: str) -> None:
    assert refusal(family("llama"), **options).startswith(sentence)


def test_cuda_where_there_is_none(family: Callable[[str], Path]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert "no usable CUDA device; use --device cpu" in refusal(family("llama"), device="cuda")


def test_only_the_fallback_scores_an_architecture_that_is_not_known(family: Callable[[str], Path]) -> None:
    assert "a 'phi3' model can only be scored with --attn padded" in refusal(family("phi3"), attn="cascade")


def test_replayed_and_baseline_candidates_have_no_model() -> None:
    from harness.candidate import named

    with pytest.raises(ScoringError, match="it has no model to load"):
        hf.open_backend(named("x", "replay"), ScoringOptions())


def test_the_protocol_is_known_without_torch_and_a_finished_run_loads_nothing(family: Callable[[str], Path]) -> None:
    """A run whose rewards are all stored must answer at once: no weights, no tokenizer, no torch."""
    program = f"""
import sys
from pathlib import Path
from harness.candidate import Candidate
from harness.scoring import hf
from harness.scoring._types import Request, ScoringOptions
from tasks._types import Message
model = Candidate("x", "x", "checkpoint", Path({str(family("llama"))!r}))
backend = hf.open_backend(model, ScoringOptions(device="cpu"))
print(sorted(backend.protocol()))
done = [Request("k", i, (Message("user", "a"),), "b") for i in range(3)]
print(list(backend.score(done, [(r.example_key, r.response) for r in done])))
print([name for name in ("torch", "transformers", "tokenizers") if name in sys.modules])
"""
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "chat_template" in out[0]
    assert out[1:] == ["[]", "[]"]


def test_the_protocol_does_not_change_when_weights_are_loaded(family: Callable[[str], Path]) -> None:
    backend = hf.open_backend(candidate(family("llama")), ScoringOptions())
    before = dict(backend.protocol())
    rewards(backend, conversation(1))
    assert dict(backend.protocol()) == before
    assert before["attention"] == "cascade"
    assert before["dtype"] == "float32"


def test_the_dtype_is_float32_on_a_cpu_and_the_checkpoints_own_on_a_gpu(copied: Path) -> None:
    edit(copied / "config.json", dtype="bfloat16")
    found = describe(candidate(copied))
    assert [choose_dtype(None, found, device) for device in ("cpu", "cuda", "cuda:1")] == [
        "float32", "bfloat16", "bfloat16",
    ]  # fmt: skip
    assert choose_dtype("float16", found, "cpu") == choose_dtype("float16", found, "cuda") == "float16"
    assert hf.open_backend(candidate(copied), ScoringOptions(dtype="bfloat16")).protocol()["dtype"] == "bfloat16"


def test_a_missing_folder_is_a_candidate_error(tmp_path: Path) -> None:
    from harness.candidate import resolve

    with pytest.raises(CandidateError, match="there is no such folder"):
        resolve(str(tmp_path / "nothing"))
