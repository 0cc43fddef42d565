"""GSM8K Best-of-N: questions, labels, the default pool and the pool formats."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks._numbers import extract, parse_number
from tasks._types import LoadRequest, PoolNeededError, PoolTask, TaskError
from tasks.gsm8k_bon import PREFILL, SOLVERS, TASK, gold_answer

QUESTIONS = [("How many eggs?", "16 - 3 = 13\n#### 13"), ("What’s the  price?", "#### 1,250"), ("Loss?", "#### -4")]


@pytest.fixture
def request_(write_rows) -> LoadRequest:
    file = write_rows("gsm8k/test.jsonl", [{"question": q, "answer": a} for q, a in QUESTIONS])
    return LoadRequest(data_dir=file.parent.parent)


def own(*texts: str) -> list[dict[str, str]]:
    return [{"text": text, "source": "policy"} for text in texts]


def test_it_is_a_pool_task() -> None:
    assert isinstance(TASK, PoolTask)
    assert (TASK.sampling.n, TASK.sampling.temperature, TASK.sampling.top_p, TASK.sampling.max_tokens) == (
        16, 1.0, 1.0, 512,
    )  # fmt: skip


@pytest.mark.data
def test_published_questions(data_dir: Path) -> None:
    lines = (data_dir / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    assert len(TASK.problems(LoadRequest(data_dir=data_dir))) == len(answers) == 1319
    assert sum("," in answer.split("####")[1] for answer in answers) == 14
    golds = [gold_answer(answer) for answer in answers]
    assert None not in golds
    assert sum(gold is not None and gold.startswith("-") for gold in golds) == 2


@pytest.mark.data
def test_default_pool_agrees_with_the_published_labels(data_dir: Path) -> None:
    data = TASK.load(LoadRequest(data_dir=data_dir))
    assert data.outcome == "best_of_n"
    assert data.missing == ()
    assert [source.pinned for source in data.sources] == [True, True]
    assert any("no pool was given" in note for note in data.notes)
    rows = (data_dir / "gsm8k" / "example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    published = {row["question"]: row for row in map(json.loads, rows)}
    for example in data.examples:
        row = published[example.prompt[0].content]
        for response, solver in zip(example.responses, SOLVERS, strict=True):
            assert response.correct is row[solver]["is_correct"], (example.id, solver)
            assert response.source == f"openai/{solver}"


@pytest.mark.data
def test_extraction_against_published_labels(data_dir: Path) -> None:
    """65,312 real answers: 98.8% agreement, 94.2% on ToRA; the kinds of disagreement are in docs/tasks.md."""
    total: Counter[str] = Counter()
    kinds: Counter[tuple[str, bool, str]] = Counter()
    with gzip.open(data_dir / "gsm8k_candidates" / "gsm8k_candidates.jsonl.gz", "rt", encoding="utf-8") as lines:
        for question in map(json.loads, lines):
            for answer in question["candidates"]:
                source = answer["model"].split("/")[0]
                total[source] += 1
                found = extract(answer["text"])
                if (found is not None and found.number == parse_number(question["gold"])) != answer["correct"]:
                    kinds[source, answer["correct"], kind(answer)] += 1
    assert total == {"zeroeval": 57398, "openai-gsm": 5276, "tora": 2638}
    assert kinds == {
        ("zeroeval", True, "more text after the JSON answer"): 256,
        ("zeroeval", True, "several numbers in the answer field"): 55,
        ("zeroeval", True, "'The answer is' inside the reasoning"): 3,
        ("zeroeval", False, "several numbers in the answer field"): 141,
        ("zeroeval", False, "label read another field than the text ends on"): 98,
        ("zeroeval", False, "label found no answer field"): 71,
        ("tora", True, "more numbers after \\boxed"): 148,
        ("tora", True, "more numbers after the program's output"): 3,
        ("tora", False, "more numbers after the program's output"): 1,
    }


def kind(answer: dict[str, Any]) -> str:
    """Which kind of disagreement this is, from the label's side."""
    text, stated = answer["text"], answer["pred"]
    if answer["model"].startswith("tora"):
        boxed = answer["correct"] and "\\boxed" in text
        return "more numbers after \\boxed" if boxed else "more numbers after the program's output"
    if not answer["correct"]:
        if stated is None or extract(str(stated)) is None:
            return "label found no answer field"
        here, there = extract(text), extract(str(stated))
        same = here is not None and there is not None and here.number == there.number
        return "several numbers in the answer field" if same else "label read another field than the text ends on"
    if "The answer is" in text:
        return "'The answer is' inside the reasoning"
    return "several numbers in the answer field" if ends_in_json(text) else "more text after the JSON answer"


def ends_in_json(text: str) -> bool:
    """True when nothing but closing marks follows the last answer field's string."""
    field = text.rpartition('"answer"')[2]
    return field.rstrip(" \n}`").endswith('"')


def test_own_format(request_: LoadRequest, write_rows) -> None:
    rows = [
        {"example_id": "1", "responses": own("The answer is $1,250.00.", "no idea")},
        {"example_id": 0, "responses": own("so 13", "12", "13.0 eggs")},
    ]
    pool = TASK.label(TASK.read_pool(write_rows("pool.jsonl", rows), "mine", request_), request_)
    assert pool.settings["format"] == "own JSONL"
    judged = {key: [(r.correct, r.answer, r.reason) for r in responses] for key, responses in pool.rows.items()}
    assert judged == {
        "1": [(True, "1250", "first number after 'The answer is'"), (False, None, "no number in the text")],
        "0": [
            (True, "13", "last number of the text"),
            (False, "12", "last number of the text"),
            (True, "13", "last number of the text"),
        ],
    }
    data = TASK.load(LoadRequest(data_dir=request_.data_dir, pool=pool))
    assert [example.id for example in data.examples] == ["0", "1"]
    assert data.missing == ("1 of 3 problems (no responses in the pool)",)
    assert data.options == {"pool": "mine"}
    assert [example.responses[0].source for example in data.examples] == ["policy", "policy"]


def test_an_unlabelled_pool_is_labelled_on_load(request_: LoadRequest, write_rows) -> None:
    path = write_rows("pool.jsonl", [{"example_id": "2", "responses": own("it is -4", "4")}])
    pool = TASK.read_pool(path, "mine", request_)
    assert [r.correct for r in pool.rows["2"]] == [None, None]
    data = TASK.load(LoadRequest(data_dir=request_.data_dir, pool=pool))
    assert [r.correct for r in data.examples[0].responses] == [True, False]


def test_dogerm_output_gets_its_prefill_back(request_: LoadRequest, tmp_path: Path) -> None:
    """Column lists under row numbers, the prompt's quotation marks and spaces may differ, the rows may be shuffled."""
    output = {
        "0": {"prompt": ["What's the price?"] * 2, "answer": [" It is 1250.", " 3"], "ground_truth": [1250] * 2},
        "1": {"prompt": ["How many eggs?"] * 2, "answer": [f"{PREFILL} 13", "x"], "ground_truth": [13] * 2},
    }
    path = tmp_path / "gsm8k-llama2-chat.json"
    path.write_text(json.dumps(output, indent=4))
    pool = TASK.read_pool(path, "doge", request_)
    assert pool.settings["format"] == "DogeRM output"
    assert {key: [r.text for r in rows] for key, rows in pool.rows.items()} == {
        "1": [f"{PREFILL} It is 1250.", f"{PREFILL} 3"],
        "0": [f"{PREFILL} 13", f"{PREFILL}x"],
    }


def test_lm_eval_samples(request_: LoadRequest, write_rows) -> None:
    """Several filters repeat each document; the question, not doc_id, decides which example it is."""
    rows = [
        {
            "doc_id": doc_id,
            "doc": {"question": QUESTIONS[i][0], "answer": QUESTIONS[i][1]},
            "target": QUESTIONS[i][1],
            "resps": [[f"so {i}", f"The answer is {i}"]],
            "filtered_resps": [str(i)],
            "filter": name,
        }
        for name in ("strict-match", "flexible-extract")
        for doc_id, i in ((0, 2), (1, 0))
    ]
    pool = TASK.read_pool(write_rows("samples_gsm8k.jsonl", rows), "lm", request_)
    assert pool.settings["format"] == "lm-eval samples"
    assert {key: [r.text for r in responses] for key, responses in pool.rows.items()} == {
        "2": ["so 2", "The answer is 2"],
        "0": ["so 0", "The answer is 0"],
    }


def test_lm_eval_without_the_document(request_: LoadRequest, write_rows) -> None:
    rows = [{"doc_id": 1, "target": "1250", "resps": [["a"]]}]
    assert set(TASK.read_pool(write_rows("s.jsonl", rows), "lm", request_).rows) == {"1"}
    rows[0]["target"] = "13"
    with pytest.raises(TaskError, match="'target' should be the gold answer 1250"):
        TASK.read_pool(write_rows("s.jsonl", rows), "lm", request_)


BAD_POOLS: list[tuple[object, list[str]]] = [
    ({"example_id": "9", "responses": own("1")}, ["p.jsonl:1", "no example '9'", "0 to 2"]),
    ({"example_id": "0", "responses": []}, ["p.jsonl:1", "no responses"]),
    ({"example_id": "0", "responses": ["text"]}, ["p.jsonl:1", "'responses'", '{"text", "source"}']),
    ({"example_id": "0", "responses": [{"source": "x"}]}, ["p.jsonl:1: responses[0]", "'text'", "missing"]),
    ({"example_id": "0", "responses": [{"text": 5}]}, ["responses[0]", "'text'", "5"]),
    ({"id": "0", "answers": []}, ["not a pool that gsm8k_bon can read", "id, answers", "own JSONL", "lm-eval samples"]),
    ({"doc_id": 0, "resps": [[5]]}, ["'resps'", "lists of texts"]),
    ({"doc_id": 0, "resps": [["x"]], "doc": {"question": "Which way?"}}, ["question is not among", "Which way?"]),
]


@pytest.mark.parametrize(("row", "words"), BAD_POOLS)
def test_bad_pools_are_named(request_: LoadRequest, write_rows, row: object, words: list[str]) -> None:
    with pytest.raises(TaskError) as caught:
        TASK.read_pool(write_rows("p.jsonl", [row]), "p", request_)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_example_twice(request_: LoadRequest, write_rows) -> None:
    row = {"example_id": "0", "responses": own("1")}
    with pytest.raises(TaskError, match=r"p\.jsonl:2: example '0' comes twice"):
        TASK.read_pool(write_rows("p.jsonl", [row, row]), "p", request_)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"0": {"prompt": ["How many eggs?"], "answer": ["13"], "ground_truth": [12]}}, ["'ground_truth'", "13"]),
        ({"0": {"prompt": ["Who?"], "answer": ["13"], "ground_truth": [13]}}, ["key '0'", "not among"]),
        ({"0": {"prompt": [], "answer": [], "ground_truth": []}}, ["key '0'", "'prompt'"]),
        ({"0": ["x"]}, ["key '0'", "columns"]),
    ],
)
def test_bad_dogerm_output(request_: LoadRequest, tmp_path: Path, output: object, words: list[str]) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(output))
    with pytest.raises(TaskError) as caught:
        TASK.read_pool(path, "p", request_)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "q", "answer": "no mark"}, ["'answer'", "#### NUMBER"]),
        ({"question": "q", "answer": "#### many"}, ["'answer'", "#### NUMBER"]),
        ({"question": " ", "answer": "#### 1"}, ["'question'", "empty"]),
        ({"query": "q", "response": "#### 1"}, ["'question'", "missing", "has: query, response"]),
    ],
)
def test_bad_questions_are_named(write_rows, row: dict[str, str], words: list[str]) -> None:
    file = write_rows("test.jsonl", [{"question": "q", "answer": "#### 1"}, row])
    with pytest.raises(TaskError) as caught:
        TASK.problems(LoadRequest(file=file))
    assert all(word in str(caught.value) for word in ["test.jsonl:2", *words]), str(caught.value)


def test_default_pool_is_joined_by_question_text(request_: LoadRequest, write_rows) -> None:
    rows = [
        {"question": q, "ground_truth": a, **{s: {"is_correct": True, "solution": f"{s} {i}"} for s in SOLVERS}}
        for i, (q, a) in reversed(list(enumerate(QUESTIONS)))
    ]
    write_rows("gsm8k/example_model_solutions.jsonl", [*rows, rows[0] | {"question": "another one"}])
    pool = TASK.default_pool(request_)
    assert {key: responses[0].text for key, responses in pool.rows.items()} == {
        str(i): f"6b_finetuning {i}" for i in range(3)
    }


def test_default_pool_that_does_not_fit(request_: LoadRequest, write_rows) -> None:
    row = {"question": "another one", **{s: {"solution": "1"} for s in SOLVERS}}
    write_rows("gsm8k/example_model_solutions.jsonl", [row])
    with pytest.raises(TaskError, match="none of its questions is among the task's"):
        TASK.load(request_)
    write_rows("gsm8k/example_model_solutions.jsonl", [row | {"question": "Loss?", "6b_finetuning": "text"}])
    with pytest.raises(TaskError, match="'6b_finetuning' should be an object"):
        TASK.load(request_)


def test_without_any_pool_the_three_ways_are_named(request_: LoadRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(PoolNeededError) as caught:
        TASK.load(request_)
    for words in ("pool import gsm8k_bon", "pool generate gsm8k_bon", "--policy", "--data solutions=FILE"):
        assert words in str(caught.value)


def test_a_pool_of_other_questions(request_: LoadRequest, write_rows) -> None:
    pool = TASK.read_pool(write_rows("p.jsonl", [{"example_id": "2", "responses": own("1")}]), "p", request_)
    fewer = write_rows("fewer.jsonl", [{"question": q, "answer": a} for q, a in QUESTIONS[:2]])
    with pytest.raises(TaskError, match="pool 'p' answers example '2', which gsm8k_bon does not have"):
        TASK.load(LoadRequest(file=fewer, pool=pool))
