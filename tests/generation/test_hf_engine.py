"""The transformers engine: nucleus sampling by hand, samples that depend on their seed alone, a slow oracle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import candidate
from harness.errors import CandidateError
from harness.generation._types import EngineOptions, Job, Sampled
from harness.generation.hf import open_engine, pick
from harness.scoring._describe import describe

PROMPT = (1, 100, 101, 102, 103)


def _options(folder: Path, temperature: float = 1.0, top_p: float = 1.0, stop: tuple[int, ...] = (2,)) -> EngineOptions:
    policy = candidate.from_folder(folder, "policy")
    return EngineOptions(policy, describe(policy), "cpu", "float32", temperature, top_p, stop)


def _job(n: int = 4, seed: int = 77, example_id: str = "a", most: int = 12) -> Job:
    return Job(example_id, PROMPT, n, seed, most)


def _sample(folder: Path, *jobs: Job, **options: object) -> dict[str, tuple[tuple[int, ...], ...]]:
    engine = open_engine(_options(folder, **options))  # type: ignore[arg-type]
    found: list[Sampled] = list(engine.generate(jobs))
    engine.close()
    return {one.example_id: one.samples for one in found}


@pytest.mark.parametrize(
    ("draw", "top_p", "token"),
    # probabilities .5 (token 2), .3 (token 0), .2 (token 1); top_p .7 keeps .5 and .3, a mass of .8
    [(0.0, 1.0, 2), (0.49, 1.0, 2), (0.51, 1.0, 0), (0.79, 1.0, 0), (0.81, 1.0, 1), (0.999999, 1.0, 1),
     (0.62, 0.7, 2), (0.63, 0.7, 0), (0.999999, 0.7, 0), (0.999999, 0.5, 2), (0.999999, 0.01, 2)],
)  # fmt: skip
def test_a_token_is_where_the_draw_falls_in_the_kept_mass(draw: float, top_p: float, token: int) -> None:
    scores = torch.log(torch.tensor([[0.3, 0.2, 0.5]], dtype=torch.float64))
    assert pick(scores, torch.tensor([draw], dtype=torch.float64), 1.0, top_p).item() == token


def test_temperature_divides_the_logits() -> None:
    """At temperature 2, probabilities .8 and .2 become 2/3 and 1/3 (square roots 2 : 1)."""
    scores = torch.log(torch.tensor([[0.8, 0.2]], dtype=torch.float64)).repeat(300, 1)
    draws = (torch.arange(300, dtype=torch.float64) + 0.5) / 300
    assert int((pick(scores, draws, 2.0, 1.0) == 0).sum()) == 200


def test_samples_are_those_of_one_forward_pass_a_token(tiny: Path) -> None:
    """Oracle: no cache, no batch, no generate; one uniform number a token from the sample's own stream."""
    from transformers import AutoModelForCausalLM

    found = _sample(tiny / "sft", _job(), temperature=0.9, top_p=0.8)["a"]
    model = AutoModelForCausalLM.from_pretrained(tiny / "sft", dtype=torch.float32).eval()
    for i, sample in enumerate(found):
        draws = np.random.Generator(np.random.Philox(key=77 + i)).random(12)
        ids = list(PROMPT)
        for u in draws:
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0, -1].double().numpy() / 0.9
            mass = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            order = np.argsort(-mass, kind="stable")
            kept = order[: int(np.searchsorted(np.cumsum(mass[order]), 0.8)) + 1]
            upto = np.cumsum(mass[kept])
            ids.append(int(kept[np.searchsorted(upto, u * upto[-1], side="right")]))
            if ids[-1] == 2:
                break
        assert sample == tuple(ids[len(PROMPT) :])


def test_a_sample_depends_on_its_seed_and_on_nothing_beside_it(tiny: Path) -> None:
    many = _sample(tiny / "sft", _job(4, example_id="a"), _job(4, 500, "b"))
    few = _sample(tiny / "sft", _job(2, 500, "b"), _job(2, example_id="a"))
    assert few == {"a": many["a"][:2], "b": many["b"][:2]}
    assert len(set(many["a"] + many["b"])) == 8


def test_a_response_ends_with_its_first_stop_token(tiny: Path) -> None:
    free = _sample(tiny / "sft", _job(8, most=24), stop=())["a"]
    assert {len(sample) for sample in free} == {24}
    stop = (free[0][5], free[1][9])
    for sample, whole in zip(_sample(tiny / "sft", _job(8, most=24), stop=stop)["a"], free, strict=True):
        ends = [i for i, token in enumerate(whole) if token in stop]
        assert sample == (whole[: ends[0] + 1] if ends else whole)


def test_the_folders_own_generation_settings_change_nothing(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(tiny / "sft", folder)
    own = {"do_sample": True, "temperature": 0.01, "top_k": 1, "repetition_penalty": 9.0, "max_new_tokens": 2}
    (folder / "generation_config.json").write_text(json.dumps(own | {"min_new_tokens": 5, "bad_words_ids": [[100]]}))
    assert _sample(folder, _job()) == _sample(tiny / "sft", _job())


def test_greedy_takes_the_best_token(tiny: Path) -> None:
    (sample,) = _sample(tiny / "sft", _job(1), temperature=0.0)["a"]
    (peaked,) = _sample(tiny / "sft", _job(1), top_p=1e-9)["a"]
    assert sample == peaked


def test_a_policy_that_ties_its_embeddings_is_whole(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny / "sft")
    model.config.tie_word_embeddings = True
    model.tie_weights()
    shutil.copytree(tiny / "sft", tmp_path / "tied")
    model.save_pretrained(tmp_path / "tied")
    assert len(_sample(tmp_path / "tied", _job())["a"]) == 4


def test_a_policy_that_lacks_weights_is_refused(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny / "sft", tmp_path / "policy")
    weights = load_file(tiny / "sft" / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "policy" / "model.safetensors", {"format": "pt"})
    with pytest.raises(CandidateError, match=r"lack 1 tensors: model\.norm\.weight"):
        _sample(tmp_path / "policy", _job())
