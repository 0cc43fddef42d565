"""RewardBench: the published section scores come out of the metric tree; bad rows are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks._humanevalpack import function_name, problem_clusters
from tasks._types import LoadRequest, TaskError
from tasks.rewardbench import COUNTS, HEP, PRIORS, SECTIONS, TASK, section_metrics


def row(number: int, subset: str = "donotanswer", **changes: object) -> dict[str, object]:
    base = {
        "prompt": f"question {number}",
        "chosen": "good",
        "chosen_model": "a",
        "rejected": "bad",
        "rejected_model": "b",
        "subset": subset,
        "id": number,
    }
    return base | changes


def test_published_counts() -> None:
    sums = {section: sum(subsets.values()) for section, subsets in SECTIONS.items()}
    assert sums == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1431}
    assert sum(COUNTS.values()) == 2985
    assert len(COUNTS) == 23


def test_maths_weighs_as_much_as_all_code(evaluate) -> None:
    values = evaluate(section_metrics("current", priors=False), dict.fromkeys(HEP, 0.0) | {"math-prm": 1.0}, COUNTS)
    assert values == {"section/Reasoning": 0.5, "category/Code": 0.0, "category/Math": 1.0, "score": 0.5}


def test_weighting_versions_differ_in_xstest_only(evaluate) -> None:
    accuracy = {"xstest-should-refuse": 1.0, "xstest-should-respond": 0.0}
    current = evaluate(section_metrics("current", priors=False), accuracy, COUNTS)
    old = evaluate(section_metrics("pre-2024-09-10", priors=False), accuracy, COUNTS)
    assert current["section/Safety"] == pytest.approx(154 / 404)
    assert old["section/Safety"] == pytest.approx(250 / 404)


def test_priors_weigh_one_ninth(evaluate) -> None:
    accuracy = dict.fromkeys(COUNTS, 0.9) | dict(zip(PRIORS, (0.1, 0.2, 0.3, 0.4), strict=True))
    counts = COUNTS | dict.fromkeys(PRIORS, 7)
    values = evaluate(section_metrics("current", priors=True), accuracy, counts)
    assert values["section/Prior Sets"] == pytest.approx(0.25)
    assert values["score"] == pytest.approx(0.9)
    assert values["score_with_priors"] == pytest.approx((8 * 0.9 + 0.25) / 9)


@pytest.mark.data
def test_section_scores_of_a_published_model(data_dir: Path, evaluate) -> None:
    folder = data_dir / "rewardbench_scores"
    name = "RM-R1-Qwen2.5-Instruct-32B"
    subsets = json.loads((folder / f"{name}.each_small_section_score.json").read_text())
    published = json.loads((folder / f"{name}.main_score.json").read_text())
    accuracy = {subset: subsets[subset] for subset in COUNTS}
    values = evaluate(section_metrics("current", priors=False), accuracy, COUNTS)
    for section in SECTIONS:
        assert values[f"section/{section}"] == pytest.approx(published[section], abs=1e-12)
    assert values["score"] == pytest.approx(published["avg_Result_each_section"], abs=1e-12)


@pytest.mark.data
def test_first_paper_tables_use_the_old_weights(data_dir: Path, evaluate) -> None:
    """RewardBench's first draft, tables 8-12: subsets and sections are printed with one decimal."""
    table = json.loads((data_dir / "rewardbench_scores" / "paper_tables_half.json").read_text())["models"]
    off, worst_now = [], 0.0
    for model, entry in table.items():
        accuracy = {subset: value for subset, value in entry["subsets"].items() if subset in COUNTS}
        if len(accuracy) != len(COUNTS):
            continue
        old = evaluate(section_metrics("pre-2024-09-10", priors=False), accuracy, COUNTS)
        now = evaluate(section_metrics("current", priors=False), accuracy, COUNTS)
        for section in SECTIONS:
            if abs(old[f"section/{section}"] - entry["published_section_avg"][section]) > 0.1 + 1e-9:
                off.append((model, section, old[f"section/{section}"]))
        worst_now = max(worst_now, abs(now["section/Safety"] - entry["published_section_avg"]["Safety"]))
    assert off == []
    assert worst_now > 1  # with today's weights Safety is off by points: the tables do use the old ones


@pytest.mark.data
def test_partial_file(data_dir: Path) -> None:
    path = data_dir / "rewardbench_partial" / "rewardbench_partial.jsonl"
    data = TASK.load(LoadRequest(file=path))
    assert len(data.examples) == 1850
    assert len(data.missing) == 11
    assert {"alpacaeval-easy", "mt-bench-hard", "donotanswer"} <= set(data.missing)
    assert [source.pinned for source in data.sources] == [False]
    assert any("is not the RewardBench filtered split" in note for note in data.notes)
    clusters = [example.cluster for example in data.examples if example.subset in HEP]
    assert len(clusters) == 984
    assert len(set(clusters)) == 164
    assert all(example.cluster is None for example in data.examples if example.subset not in HEP)


@pytest.mark.data
def test_published_problems_line_up_and_shuffled_ones_do_not(data_dir: Path) -> None:
    lines = (data_dir / "rewardbench_partial" / "rewardbench_partial.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    prompts = {s: [r["prompt"] for r in rows if r["subset"] == s] for s in HEP}
    assert problem_clusters(prompts) is not None
    swapped = list(prompts["hep-go"])
    swapped[3], swapped[90] = swapped[90], swapped[3]
    assert problem_clusters(prompts | {"hep-go": swapped}) is None
    assert problem_clusters(prompts | {"hep-go": prompts["hep-go"][1:] + prompts["hep-go"][:1]}) is None
    assert problem_clusters(prompts | {"hep-go": prompts["hep-go"][1:]}) is None


def test_a_pair_is_chosen_then_rejected(write_rows) -> None:
    data = TASK.load(LoadRequest(file=write_rows("rb.jsonl", [row(7, "math-prm")])))
    (pair,) = data.examples
    assert (pair.id, pair.subset, pair.stratum) == ("7", "math-prm", "Reasoning")
    assert [(r.text, r.correct, r.source) for r in pair.responses] == [("good", True, "a"), ("bad", False, "b")]
    assert data.outcome == "accuracy"
    assert len(data.missing) == 22


def test_prompt_may_be_messages(write_rows) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    data = TASK.load(LoadRequest(file=write_rows("rb.jsonl", [row(1, prompt=turns)])))
    assert [(m.role, m.content) for m in data.examples[0].prompt] == [("user", "a"), ("assistant", "b"), ("user", "c")]


def test_same_problems_in_two_languages_share_a_cluster(write_rows) -> None:
    asks = ["Write a Python function `add_two(a, b)` to", "Write a Python function `mul(a)` to"]
    other = ["Write a Go function `func AddTwo(a int) int` to", "Write a Go function `func Mul(a int) int` to"]
    rows = [row(i, "hep-python", prompt=ask) for i, ask in enumerate(asks)]
    rows += [row(i + 2, "hep-go", prompt=ask) for i, ask in enumerate(other)]
    data = TASK.load(LoadRequest(file=write_rows("rb.jsonl", rows)))
    assert [example.cluster for example in data.examples] == ["hep-0", "hep-1", "hep-0", "hep-1"]
    rows[2]["prompt"], rows[3]["prompt"] = rows[3]["prompt"], rows[2]["prompt"]
    data = TASK.load(LoadRequest(file=write_rows("rb.jsonl", rows)))
    assert [example.cluster for example in data.examples] == [None] * 4
    assert any("do not line up" in note for note in data.notes)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Write a Rust function `fn has_close(n: Vec<f32>) -> bool` to", "hasclose"),
        ("Write a JavaScript function `const hasClose = (n)` to", "hasclose"),
        ("Write a Go function `func Map[T](a int)` to", None),
        ("no signature here", None),
        ("a `word` without parentheses", None),
    ],
)
def test_function_name(prompt: str, name: str | None) -> None:
    assert function_name(prompt) == name


def test_prior_sets(write_rows) -> None:
    core = write_rows("rb.jsonl", [row(0)])
    priors = write_rows("priors.jsonl", [row(0, "shp"), row(0, "summarize"), row(1, "mtbench_gpt4")])
    data = TASK.load(LoadRequest(file=core, extras={"priors": priors}))
    assert [example.id for example in data.examples] == ["0", "shp/0", "summarize/0"]
    assert {"anthropic_helpful", "anthropic_hhh"} <= set(data.missing)
    assert any("mtbench_gpt4" in note for note in data.notes)
    assert "score_with_priors" in {metric.key for metric in data.metrics}
    assert len(data.sources) == 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(1), row(1)], ["rb.jsonl:2", "id '1'", "rb.jsonl:1"]),
        ([row(1, "nonsense")], ["rb.jsonl:1", "'subset'", "nonsense"]),
        ([row(1, chosen=3)], ["rb.jsonl:1", "'chosen'", "text", "3"]),
        ([{"prompt": "x"}], ["rb.jsonl:1", "'subset'", "missing", "has: prompt"]),
        ([row(1, prompt=[])], ["'prompt'", "messages"]),
        ([row(1, prompt=[{"role": "robot", "content": "x"}])], ["'prompt'", '"role"']),
        ([row(1, id=1.5)], ["'id'", "1.5"]),
    ],
)
def test_bad_rows_are_named(write_rows, rows: list[dict[str, object]], words: list[str]) -> None:
    with pytest.raises(TaskError) as caught:
        TASK.load(LoadRequest(file=write_rows("rb.jsonl", rows)))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_weights(write_rows) -> None:
    request = LoadRequest(file=write_rows("rb.jsonl", [row(1)]), options={"weights": "curent"})
    with pytest.raises(TaskError, match="did you mean 'current'"):
        TASK.load(request)
    with pytest.raises(TaskError, match="unknown option 'wieghts': did you mean 'weights'"):
        TASK.load(LoadRequest(file=request.file, options={"wieghts": "current"}))


def test_a_priors_file_without_prior_sets(write_rows) -> None:
    core, wrong = write_rows("rb.jsonl", [row(0)]), write_rows("p.jsonl", [row(0, "mtbench_human")])
    with pytest.raises(TaskError, match="no row belongs to a prior set"):
        TASK.load(LoadRequest(file=core, extras={"priors": wrong}))
