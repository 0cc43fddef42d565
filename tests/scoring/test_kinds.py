"""Other kinds of reward models, each on a tiny real model, against values written out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scoring_models import candidate, conversation, opened, refused, request, rewards, write_model

from harness.scoring import dpo, hf, multihead, prm
from harness.scoring._types import BatchReport, Request, ScoringOptions


def token_ids(folder: Path, requests: list[Request]) -> list[list[int]]:
    """The texts as the engine encodes them (test_template holds that to its rules)."""
    from transformers import AutoTokenizer

    from harness.scoring._describe import describe
    from harness.scoring._template import Encoder, text_settings

    settings = text_settings(describe(candidate(folder)), ScoringOptions())
    encoded = Encoder(AutoTokenizer.from_pretrained(folder), settings).encode(requests)
    return [[e.split, *e.ids.tolist()] for e in encoded]


# ---------------------------------------------------------------- several outputs


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    names = {"0": "helpful", "1": "safe", "2": "short"}
    return write_model(
        tmp_path / "heads", "llama", num_labels=3, id2label=names, label2id={v: int(k) for k, v in names.items()}
    )


def test_several_outputs_are_weighted_by_position_or_name(heads: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    asked = conversation(2)
    model = AutoModelForSequenceClassification.from_pretrained(heads).eval()
    model.config.pad_token_id = None  # it is </s>, and transformers would pool the token before it
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([row[1:]])).logits[0].tolist() for row in token_ids(heads, asked)]
    by_place = rewards(opened(multihead, candidate(heads), weights="0.5, -1, 2"), asked)
    by_name = rewards(opened(multihead, candidate(heads), weights="short=2,helpful=0.5,safe=-1"), asked)
    assert by_place == by_name
    for r, (a, b, c) in zip(asked, logits, strict=True):
        assert by_place[r.example_key, r.response] == pytest.approx(0.5 * a - b + 2 * c, abs=2e-5)


def test_weights_are_part_of_the_protocol(heads: Path) -> None:
    one, other = (opened(multihead, candidate(heads), weights=w).protocol() for w in ("1,0,0", "0,1,0"))
    assert one != other
    assert one["weights"] == [1, 0, 0]


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ("1,2", "2 weights for 3 outputs"),
        ("saef=1", "no output is called 'saef': did you mean 'safe'?"),
        ("1,x,2", "expects a number"),
        ("1,nan,2", "expects a number"),
    ],
)
def test_weights_that_do_not_fit(heads: Path, weights: str, sentence: str) -> None:
    assert sentence in refused(multihead, candidate(heads), weights=weights)


def test_options_of_a_backend_are_checked(heads: Path) -> None:
    assert refused(multihead, candidate(heads)) == "--backend multihead needs --backend-option weights=..."
    assert "did you mean 'weights'?" in refused(multihead, candidate(heads), wieghts="1,2,3")
    assert "did you mean 'min'?" in refused(prm, candidate(heads), fold="mni")


# ---------------------------------------------------------------- DPO


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("dpo")
    return (
        write_model(root / "policy", "llama", 1, task="CausalLM"),
        write_model(root / "reference", "llama", 2, task="CausalLM"),
    )


def log_probability(folder: Path, row: list[int]) -> float:
    """log p(response | prompt), token by token."""
    from transformers import AutoModelForCausalLM

    split, ids = row[0], row[1:]
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logits[i - 1, ids[i]]) for i in range(split, len(ids)))


@pytest.mark.parametrize("attn", ["cascade", "padded"])
def test_dpo_rewards_are_log_probability_ratios(policies: tuple[Path, Path], attn: str) -> None:
    policy, reference = policies
    asked = conversation(2)
    options = ScoringOptions(attn=attn, extra={"reference": str(reference), "beta": "0.25"})
    found = rewards(dpo.open_backend(candidate(policy), options), asked)
    for r, row in zip(asked, token_ids(policy, asked), strict=True):
        ratio = log_probability(policy, row) - log_probability(reference, row)
        assert found[r.example_key, r.response] == pytest.approx(0.25 * ratio, abs=1e-4)


def test_a_policy_against_itself_is_worth_nothing(policies: tuple[Path, Path]) -> None:
    found = rewards(opened(dpo, candidate(policies[0]), reference=str(policies[0])), conversation(2))
    assert set(found.values()) == {0.0}


def test_dpo_rewards_do_not_depend_on_batches(policies: tuple[Path, Path]) -> None:
    extra = {"reference": str(policies[1])}
    whole = rewards(dpo.open_backend(candidate(policies[0]), ScoringOptions(extra=extra)), conversation(3))
    for budget in (1, 70):
        options = ScoringOptions(extra=extra, batch_tokens=budget)
        some = rewards(dpo.open_backend(candidate(policies[0]), options), conversation(3)[::-2])
        assert some == {key: whole[key] for key in some}


def test_dpo_reports_both_models_work(policies: tuple[Path, Path]) -> None:
    seen: list[BatchReport] = []
    extra = {"reference": str(policies[1])}
    options = ScoringOptions(extra=extra, batch_tokens=120, on_batch=seen.append)
    rewards(dpo.open_backend(candidate(policies[0]), options), asked := conversation(3))
    assert len(seen) > 1
    assert sum(report.responses for report in seen) == len(asked)
    assert seen[-1].left == 0
    assert sum(report.tokens for report in seen) == 2 * sum(len(row) - 1 for row in token_ids(policies[0], asked))


def test_dpo_leaves_responses_unscored_whose_beginning_was_cut(policies: tuple[Path, Path]) -> None:
    options = ScoringOptions(extra={"reference": str(policies[1])}, max_length=20)
    records = [r for b in dpo.open_backend(candidate(policies[0]), options).score(conversation(2), ()) for r in b]
    assert any(r.reward is None and r.cut and "use --truncation-side right" in r.reason for r in records)
    assert all(r.reward is not None for r in records if not r.cut)


def test_the_reference_and_beta_are_part_of_the_protocol(policies: tuple[Path, Path]) -> None:
    policy, reference = policies
    protocols = [
        opened(dpo, candidate(policy), reference=str(place), beta=beta).protocol()
        for place, beta in ((reference, "0.1"), (reference, "0.2"), (policy, "0.1"))
    ]
    assert len({json.dumps(dict(p), sort_keys=True) for p in protocols}) == 3


def test_dpo_wants_language_models_of_one_vocabulary(
    policies: tuple[Path, Path], family: Callable[[str], Path], tmp_path: Path
) -> None:
    from tiny import tokenizer

    policy, reference = policies
    assert "not a causal language model" in refused(dpo, candidate(family("llama")), reference=str(reference))
    assert "no such folder" in refused(dpo, candidate(policy), reference="nowhere")
    other = write_model(tmp_path / "other", "llama", 3, task="CausalLM")
    tokenizer(["[PAX]"]).save_pretrained(other)
    assert "its vocabulary is not the candidate's (2 tokens differ)" in refused(
        dpo, candidate(policy), reference=str(other)
    )


# ---------------------------------------------------------------- process reward models

STEPS = [
    request("k", 0, "what is a", "it is\n\nthe one\n\nnot what"),
    request("k", 1, "what is a", "all in one step"),
    request("k", 2, "what is a", ""),
]


@pytest.fixture
def stepper(tmp_path: Path) -> Path:
    return write_model(tmp_path / "prm", "llama", task="TokenClassification", num_labels=2)


def step_scores(folder: Path, asked: Request) -> list[float]:
    """Probability of the second label at each '@', the tag of these tests."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    ids = token_ids(folder, [asked])[0][1:]
    tag = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("@")
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)[:, 1]
    return [float(scores[i]) for i, token in enumerate(ids) if token == tag]


@pytest.mark.parametrize("fold", prm.FOLDS)
def test_step_scores_are_folded(stepper: Path, fold: str) -> None:
    found = rewards(opened(prm, candidate(stepper), tag=" @ ", fold=fold), STEPS)
    texts = ["it is @ the one @ not what @ ", "all in one step @ ", " @ "]
    for asked, text in zip(STEPS, texts, strict=True):
        scores = step_scores(stepper, replace(asked, text=text))
        assert len(scores) == text.count("@")
        product = 1.0
        for score in scores:
            product *= score
        right = {"min": min(scores), "last": scores[-1], "mean": sum(scores) / len(scores), "product": product}[fold]
        assert found[asked.example_key, asked.response] == pytest.approx(right, abs=1e-6)


def test_a_language_models_steps_are_its_choice_of_two_words(policies: tuple[Path, Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = rewards(opened(prm, candidate(policies[0]), tag=" @ ", fold="last"), STEPS[1:2])
    words = AutoTokenizer.from_pretrained(policies[0])
    ids = token_ids(policies[0], [replace(STEPS[1], text="all in one step @ ")])[0][1:]
    at = ids.index(words.convert_tokens_to_ids("@"))
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(policies[0]).eval()(input_ids=torch.tensor([ids])).logits[0, at]
    good, bad = (float(logits[words.convert_tokens_to_ids(word)]) for word in "+-")
    assert found["k", 1] == pytest.approx(float(torch.tensor([bad, good]).softmax(0)[1]), abs=1e-6)


def test_process_models_are_checked(stepper: Path, family: Callable[[str], Path]) -> None:
    assert "not a process reward model" in refused(prm, candidate(family("llama")))
    assert "not one token of this model's vocabulary" in refused(prm, candidate(stepper))
    assert opened(prm, candidate(stepper), tag="@").protocol()["step_tag"] == "@"


# ---------------------------------------------------------------- a sweep in one live model


def test_following_lambdas_share_model_and_texts_and_give_the_rewards_of_each_alone(tmp_path: Path) -> None:
    from harness.candidate import from_recipe
    from harness.config import Expert, Recipe

    rm = write_model(tmp_path / "rm", "llama", 1)
    sft = write_model(tmp_path / "sft", "llama", 2, task="CausalLM")

    def merge(weight: float) -> Any:
        return from_recipe(Recipe(rm=str(rm), experts=[Expert(model=str(sft), weight=weight)]))

    asked = conversation(2)
    backend = hf.open_backend(merge(0.0), ScoringOptions())
    seen = {0.0: rewards(backend, asked)}
    model = backend.engine.load().model  # type: ignore[attr-defined]
    for weight in (0.5, 1.0, 0.5):
        backend.follow(merge(weight))  # type: ignore[attr-defined]
        assert backend.engine.load().model is model  # type: ignore[attr-defined]
        found = rewards(backend, asked)
        assert seen.setdefault(weight, found) == found
    assert seen[0.0] == rewards(hf.open_backend(candidate(rm), ScoringOptions()), asked)
    assert len({tuple(found.values()) for found in seen.values()}) == 3
