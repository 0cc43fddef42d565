"""Pools from a policy: what is stored when, what a restart repeats (nothing), and what makes another pool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import plugins
from harness.errors import CandidateError, ConfigError, ScoringError, UserError
from harness.generation._pool import ensure_pool
from harness.generation._types import SampledTask, SampleRequest
from results.pools import PoolRecord, PoolRow, load_pool, pool_names, save_pool
from results.store import Store
from tasks._types import LoadRequest, Pool

TASK = "gsm8k_bon"


@pytest.fixture
def request_(tiny: Path) -> SampleRequest:
    return SampleRequest(str(tiny / "sft"), n=2, max_tokens=4, backend="hf", device="cpu")


def _texts(pool: Pool) -> dict[str, list[str]]:
    return {key: [r.text for r in row] for key, row in pool.rows.items()}


def test_a_pool_has_all_samples_labelled_with_the_prefill_in_front(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any
) -> None:
    pool = ensure_pool(store, TASK, request_, load)
    assert [len(row) for row in pool.rows.values()] == [2] * 8
    assert all(r.correct is not None and r.source == "sft" for row in pool.rows.values() for r in row)
    assert all(r.text.startswith("Let's think step by step. ") for row in pool.rows.values() for r in row)
    assert pool_names(store, TASK) == [pool.name]
    assert script.closed == 1


def test_what_decides_the_texts_is_recorded(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any
) -> None:
    from harness._hashing import folder_identity
    from results.records import content_key

    settings = ensure_pool(store, TASK, replace(request_, seed=5), load).settings
    expected = {
        "policy": "sft", "n": "2", "temperature": "1.0", "top_p": "1.0", "max_tokens": "4", "seed": "5",
        "few_shot": "0", "prefill": "Let's think step by step.", "backend": "hf", "device": "cpu", "dtype": "float32",
        "versions": "scripted 1",
    }  # fmt: skip
    assert {key: settings[key] for key in expected} == expected
    assert settings["policy_id"] == content_key({"checkpoint": folder_identity(Path(request_.policy))})
    assert "add_generation_prompt" in settings["prompt_template"]
    assert settings["first_prompt"].endswith("what is 0 and 0 ? </s>[assistant] Let's think step by step.")
    assert script.options[0].stop == (2,)


def test_an_interrupted_pool_is_finished_and_equal_to_one_made_in_one_go(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any
) -> None:
    script.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        ensure_pool(store, TASK, replace(request_, name="p"), load)
    assert script.closed == 1
    assert pool_names(store, TASK) == []
    half = load_pool(store, TASK, "p", complete=False)
    assert half is not None
    assert {row.example_id for row in half.rows} == {"0", "1", "2"}
    script.stop_after = None
    pool = ensure_pool(store, TASK, replace(request_, name="p"), load)
    assert [job.example_id for job in script.asked[1]] == ["3", "4", "5", "6", "7"]
    other = ensure_pool(store, TASK, replace(request_, name="q"), load)
    assert replace(other, name="p", source=pool.source) == pool
    assert script.asked[1] == script.asked[2][3:]


def test_labels_are_made_once_and_a_finished_pool_opens_no_engine(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = plugins.load_task(TASK)
    calls: list[int] = []
    whole = type(task).label  # type: ignore[attr-defined]

    def label(self: Any, pool: Pool, request: LoadRequest) -> Pool:
        calls.append(len(pool.rows))
        if len(calls) == 1:
            raise KeyboardInterrupt
        return whole(self, pool, request)  # type: ignore[no-any-return]

    monkeypatch.setattr(type(task), "label", label)
    with pytest.raises(KeyboardInterrupt):
        ensure_pool(store, TASK, request_, load)
    assert pool_names(store, TASK) == []
    first = ensure_pool(store, TASK, request_, load)
    assert ensure_pool(store, TASK, request_, load) == first
    assert calls == [8, 8]
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.5}, {"seed": 1}, {"n": 3}, {"top_p": 0.5}, {"max_tokens": 3}, {"system_prompt": ""},
     {"few_shot": 1}],
)  # fmt: skip
def test_other_settings_make_another_pool_and_never_overwrite_one(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any, change: dict[str, Any]
) -> None:
    one = ensure_pool(store, TASK, request_, load)
    other = ensure_pool(store, TASK, replace(request_, **change), load)
    assert pool_names(store, TASK) == [one.name, other.name]
    with pytest.raises(ConfigError, match=r"sampled with another .*: choose another --name"):
        ensure_pool(store, TASK, replace(request_, name=one.name, **change), load)
    assert len(script.asked) == 2


def test_seeds_differ_by_question_and_not_by_what_is_sampled_beside_it(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any
) -> None:
    ensure_pool(store, TASK, request_, load)
    ensure_pool(store, TASK, replace(request_, limit=3), load)
    ensure_pool(store, TASK, replace(request_, n=1, limit=3), load)
    ensure_pool(store, TASK, replace(request_, seed=1), load)
    all_, few, other = script.asked
    assert len({job.seed for job in all_}) == 8
    seeds = {job.example_id: job.seed for job in all_}
    assert len(few) == 3
    assert {job.example_id: job.seed for job in few}.items() <= seeds.items()
    assert not {job.seed for job in other} & set(seeds.values())


def test_a_limit_takes_the_questions_that_eval_would(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any
) -> None:
    from tasks._limit import limit_examples

    few = ensure_pool(store, TASK, replace(request_, limit=3), load)
    assert few.name.endswith("-limit3")
    full = ensure_pool(store, TASK, request_, load)
    chosen = limit_examples(plugins.load_task(TASK).load(replace(load, pool=full)), 3, 0)
    assert list(few.rows) == [example.id for example in chosen.examples]
    assert _texts(few).items() <= _texts(full).items()
    assert ensure_pool(store, TASK, replace(request_, limit=5), load).name == full.name
    assert len(script.asked) == 2


def test_a_stored_pool_serves_whatever_engine_is_here_unless_one_is_asked_for(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any
) -> None:
    pool = ensure_pool(store, TASK, request_, load)
    assert ensure_pool(store, TASK, replace(request_, backend=None, device=None), load) == pool
    for wanted in ({"backend": "vllm"}, {"dtype": "bfloat16"}):
        with pytest.raises(ConfigError, match="choose another --name"):
            ensure_pool(store, TASK, replace(request_, **wanted), load)
    assert len(script.asked) == 1


def test_a_pool_finished_by_another_release_names_both(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for script.stop_after, script.version in ((2, "1"), (2, "2"), (2, "2"), (None, "1")):
        try:
            pool = ensure_pool(store, TASK, replace(request_, backend=None), load)
        except KeyboardInterrupt:
            continue
    assert pool.settings["versions"] == "scripted 1; then scripted 2"
    assert "sampled with scripted 1" in capsys.readouterr().err


def test_an_imported_pool_keeps_its_name(store: Store, request_: SampleRequest, load: LoadRequest, script: Any) -> None:
    rows = [PoolRow("0", 0, "text", "", True, "1", "")]
    save_pool(store, PoolRecord(TASK, "mine", rows, {}, {"format": "own JSONL"}))
    with pytest.raises(ConfigError, match="imported pool named 'mine'"):
        ensure_pool(store, TASK, replace(request_, name="mine"), load)
    assert script.asked == []


def test_worked_examples_come_from_outside_the_test_set(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any
) -> None:
    prompt = ensure_pool(store, TASK, replace(request_, few_shot=2), load).settings["first_prompt"]
    assert len(script.asked) == 1
    assert (
        "[user] what is 3 ? </s>[assistant] Let's think step by step. it is 3\nThe answer is 3,000. </s>"
        "[user] what is 4 ? </s>[assistant] Let's think step by step. it is 4\nThe answer is 4,000. </s>"
        "[user] what is 0 and 0 ? </s>" in prompt
    )


def test_mbpp_asks_for_code_at_its_own_temperature(request_: SampleRequest, load: LoadRequest) -> None:
    from harness.generation._plan import make_plan

    plan = make_plan("mbpp_bon", replace(request_, n=None, few_shot=1), load)
    assert (plan.sampling.n, plan.sampling.temperature, plan.sampling.top_p) == (16, 0.2, 0.95)
    system, asked, worked, question = plan.conversations["11"]
    assert "Python" in system.content
    assert asked.content == '"""\nAdd 2 to it .\nassert f(1) == 3\n"""'
    assert worked.content == "```python\ndef f(x):\n  return x + 2\n```"
    assert question.content == '"""\nAdd 11 to it .\nassert f(1) == 12\n"""'


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n": 0}, "-n 0"),
        ({"temperature": -1.0}, "--temperature -1"),
        ({"temperature": float("nan")}, "--temperature nan"),
        ({"temperature": 0.0}, "give -n 1"),
        ({"top_p": 0.0}, "--top-p 0"),
        ({"top_p": 1.5}, "--top-p 1.5"),
        ({"max_tokens": 0}, "--max-tokens 0"),
        ({"few_shot": -1}, "--few-shot -1"),
        ({"limit": 0}, "--limit 0"),
        ({"backend": "vlm"}, "did you mean 'vllm'"),
        ({"device": "gpu"}, "--device gpu"),
        ({"dtype": "int8"}, "--dtype int8"),
    ],
)
def test_mistakes_are_one_sentence_and_store_nothing(
    store: Store, request_: SampleRequest, load: LoadRequest, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        ensure_pool(store, TASK, replace(request_, **change), load)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert load_pool(store, TASK, "p", complete=False) is None
    assert store.sql.execute("SELECT count(*) FROM pools").fetchone() == (0,)


def test_a_reward_model_is_no_policy(store: Store, request_: SampleRequest, load: LoadRequest, tiny: Path) -> None:
    with pytest.raises(CandidateError, match=r"not a policy .*LlamaForSequenceClassification"):
        ensure_pool(store, TASK, replace(request_, policy=str(tiny / "rm")), load)
    with pytest.raises(CandidateError, match="no such folder"):
        ensure_pool(store, TASK, replace(request_, policy="nowhere/at/all"), load)
    with pytest.raises(ConfigError, match="not a Best-of-N task"):
        ensure_pool(store, "autoj", request_, load)


def test_prompts_must_fit_the_policy(
    store: Store, request_: SampleRequest, load: LoadRequest, script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_pool(store, TASK, replace(request_, max_tokens=510), load)  # the policy has 512 positions
    assert "leave less than 510" in capsys.readouterr().err
    assert all(len(job.prompt) + job.max_tokens == 512 for job in script.asked[0])
    with pytest.raises(ScoringError, match="512 positions"):
        ensure_pool(store, TASK, replace(request_, system_prompt="the " * 600), load)


@pytest.mark.parametrize("name", sorted(n for n in plugins.known(plugins.TASKS) if n.endswith("_bon")))
def test_every_best_of_n_task_can_be_sampled(name: str) -> None:
    assert isinstance(plugins.load_task(name), SampledTask)


@pytest.mark.parametrize("name", sorted(plugins.known(plugins.ENGINES)))
def test_every_engine_explains_itself(name: str) -> None:
    assert 10 < len(plugins.summary(plugins.ENGINES, name)) < 400
