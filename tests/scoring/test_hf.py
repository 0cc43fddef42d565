"""One reward: what transformers' own model gives the sequence alone, whatever stands beside it in the batch."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scoring_models import KINDS, WINDOW, candidate, conversation, reference, request, rewards, write_model

from harness.scoring import hf
from harness.scoring._types import BatchReport, ScoringOptions

Family = Callable[[str], Path]
PACKED = [kind for kind in KINDS if kind != "phi3"]
FLOAT32_BOUND = 2e-5  # of the rewards' standard deviation


def scored(folder: Path, requests: list[Any], **options: Any) -> dict[tuple[str, int], Any]:
    return rewards(hf.open_backend(candidate(folder), ScoringOptions(**options)), requests)


def error(found: dict[Any, float], right: dict[Any, float]) -> float:
    """Largest difference, in standard deviations of the right rewards."""
    return max(abs(found[key] - right[key]) for key in right) / float(np.std(list(right.values())))


@pytest.mark.parametrize("attn", ["cascade", "padded"])
@pytest.mark.parametrize("kind", PACKED)
def test_float32_rewards_are_those_of_the_model_alone(family: Family, kind: str, attn: str) -> None:
    requests = conversation()
    right = reference(family(kind), requests, ScoringOptions())
    assert max(map(len, [r.prompt[0].content.split() for r in requests])) > WINDOW
    found = scored(family(kind), requests, attn=attn)
    assert error(found, right) < FLOAT32_BOUND * (5 if kind.startswith("gemma") else 1)


def test_an_architecture_we_do_not_know_goes_through_the_fallback(family: Family) -> None:
    requests = conversation()
    backend = hf.open_backend(candidate(family("phi3")), ScoringOptions())
    assert backend.protocol()["attention"] == "padded"
    assert error(rewards(backend, requests), reference(family("phi3"), requests, ScoringOptions())) < FLOAT32_BOUND


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "gemma2"])
def test_half_precision_is_no_worse_than_the_model_alone_in_half_precision(
    family: Family, kind: str, dtype: str
) -> None:
    requests = conversation(10)
    right = reference(family(kind), requests, ScoringOptions())
    alone = reference(family(kind), requests, ScoringOptions(), dtype=getattr(torch, dtype))
    found = scored(family(kind), requests, dtype=dtype)
    noise, ours = (np.mean([abs(x[key] - right[key]) for key in right]) for x in (alone, found))
    assert ours < 1.25 * noise


EDGES: dict[str, dict[str, Any]] = {
    "pad is eos": {"pad": "</s>"},
    "own pad": {"pad": "[PAD]"},
    "no template": {"template": None},
}


@pytest.mark.parametrize("edge", EDGES)
def test_tokenizer_settings_do_not_move_the_pooled_token(tmp_path: Path, edge: str) -> None:
    folder = write_model(tmp_path / "m", "llama", tokenizer_options=EDGES[edge])
    requests = conversation(3)
    right = reference(folder, requests, ScoringOptions())
    assert error(scored(folder, requests), right) < FLOAT32_BOUND


@pytest.mark.parametrize("change", [{"padding_side": "left"}, {"pad_token": None}])
def test_padding_side_and_pad_token_change_no_bit(copied: Path, family: Family, change: dict[str, Any]) -> None:
    import json

    path = copied / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert scored(copied, conversation(3)) == scored(family("llama"), conversation(3))


@pytest.mark.parametrize("side", ["left", "right"])
def test_cut_sequences_are_scored_as_cut_and_marked(family: Family, side: str) -> None:
    requests = conversation()
    options = ScoringOptions(max_length=30, truncation_side=side)
    right = reference(family("llama"), requests, options)
    assert error(scored(family("llama"), requests, max_length=30, truncation_side=side), right) < FLOAT32_BOUND
    backend = hf.open_backend(candidate(family("llama")), options)
    records = [r for batch in backend.score(requests, ()) for r in batch]
    assert {r.tokens for r in records if r.cut} == {30}
    assert 0 < sum(r.cut for r in records) < len(records)


@pytest.mark.parametrize("attn", ["cascade", "padded"])
@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rewards_are_bitwise_independent_of_order_budget_and_siblings(
    family: Family, kind: str, attn: str, dtype: str
) -> None:
    requests = conversation()
    right = scored(family(kind), requests, attn=attn, dtype=dtype)
    made = random.Random(0)
    for budget in (1, 40, 97, 256, 5000):
        some = made.sample(requests, k=len(requests) if budget in (1, 256) else len(requests) // 2)
        found = scored(family(kind), some, attn=attn, dtype=dtype, batch_tokens=budget)
        assert found == {key: right[key] for key in found}
    assert all(scored(family(kind), [r], attn=attn, dtype=dtype) == {k: right[k] for k in [(r.example_key, r.response)]}
               for r in requests[:4])  # fmt: skip


def test_identical_responses_get_identical_rewards(family: Family) -> None:
    same = [request("k", i, "what is a", "it is") for i in range(4)] + [request("l", 0, "what is a", "it is")]
    assert len(set(scored(family("llama"), same).values())) == 1


def test_a_resumed_run_ends_with_the_same_bits(family: Family) -> None:
    requests = conversation()
    options = ScoringOptions(batch_tokens=100)
    backend = hf.open_backend(candidate(family("llama")), options)
    batches = list(backend.score(requests, ()))
    whole = {(r.example_key, r.response): r for batch in batches for r in batch}
    kept = {(r.example_key, r.response) for batch in batches[:3] for r in batch}
    resumed = hf.open_backend(candidate(family("llama")), options)
    rest = {(r.example_key, r.response): r for batch in resumed.score(requests, kept) for r in batch}
    assert not kept & set(rest)
    assert rest == {key: whole[key] for key in whole if key not in kept}


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "gemma2"])
def test_long_responses_beside_short_ones(name: str, tmp_path: Path) -> None:
    import json

    folder = write_model(tmp_path / "m", name)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_position_embeddings": 8192}))
    requests = [request("k", 0, "what is a", "a b " * 2000), request("k", 1, "what is a", "a")]
    kernel = "eager" if name == "gemma2" else "sdpa"  # which leaves out the soft-cap
    exact, single = (reference(folder, requests, ScoringOptions(), d, kernel) for d in (torch.float64, torch.float32))
    # at position 4,000 float32 angles are coarse: transformers' own float32 is not within the bound of float64 either
    assert error(scored(folder, requests), exact) <= max(FLOAT32_BOUND, 1.25 * error(single, exact))


def test_reports_add_up(family: Family) -> None:
    seen: list[BatchReport] = []
    requests = conversation()
    found = scored(family("llama"), requests, on_batch=seen.append, batch_tokens=200)
    assert sum(r.responses for r in seen) == len(found)
    assert seen[-1].left == 0
    assert sum(r.computed for r in seen) < sum(r.tokens for r in seen)  # prompts and duplicates are shared
    assert all(r.budget == 200 and r.seconds > 0 and r.memory > 0 for r in seen)


def test_packed_scoring_that_disagrees_with_the_model_is_refused(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.errors import ScoringError
    from harness.scoring import _attention

    def wrong(query: Any, *_: Any) -> Any:
        return torch.zeros_like(query.transpose(1, 2))

    monkeypatch.setattr(_attention, "cascade", wrong)
    with pytest.raises(ScoringError, match="use --attn padded"):
        scored(family("llama"), conversation(1))


def test_without_torchs_internal_kernel_the_cascade_is_still_right(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.scoring import _attention

    monkeypatch.setattr(_attention, "_FLASH_WORKS", [False])
    requests = conversation(4)
    assert error(scored(family("llama"), requests), reference(family("llama"), requests, ScoringOptions())) < 2e-5


def test_a_request_changes_nothing_when_it_is_repeated_under_another_key(family: Family) -> None:
    first = request("k", 0, "what is a", "it is")
    found = scored(family("llama"), [first, replace(first, example_key="other")])
    assert len(found) == 2
    assert len(set(found.values())) == 1
