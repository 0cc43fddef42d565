"""Each import format: what it joins by, and that it refuses what it cannot join. Rows are shuffled on purpose."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stored import dataset, example

from harness.errors import UserError
from harness.importing._document import ImportOptions
from harness.importing._read import read_scores
from results.records import DatasetRecord
from tasks._types import TaskError

Write = Callable[[Any], Path]
DATA = dataset(3)  # pairs "right i" / "wrong i"; questions "question i"
FLIPPED = dataset(examples=[example(0, responses=["wrong 0", "right 0"], labels=[False, True])])


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(value: Any) -> Path:
        path = tmp_path / "scores.json"
        if isinstance(value, list) and value and value[0] == "lines":
            value = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in value[1:])
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    return to_file


def _read(path: Path, data: DatasetRecord = DATA, scorer: str | None = None) -> dict[str, list[float]]:
    return read_scores(path, data, ImportOptions(scorer=scorer))[1]


def _refusal(path: Path, data: DatasetRecord = DATA, scorer: str | None = None) -> str:
    with pytest.raises((UserError, TaskError)) as caught:
        _read(path, data, scorer)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


# --- our own rows ---------------------------------------------------------------------------------------------


def _own(i: int, **changes: Any) -> dict[str, Any]:
    return {"task": "pairs", "example_id": str(i), "rewards": [1.5, -i], **changes}


def test_own_rows(write: Write) -> None:
    path = write(["lines", _own(2), _own(0), _own(1, task="other")])
    assert _read(path) == {"2": [1.5, -2.0], "0": [1.5, 0.0]}
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert set(_read(path)) == {"0", "2"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (_own(1, rewards=[1.0]), "scores.json:2: 1 scores for pairs example '1', which has 2 responses"),
        (_own(1, rewards=[1.0, None]), "scores.json:2: rewards[1] should be a finite number, not null"),
        (_own(1, rewards=[1.0, True]), "finite number, not true"),
        (_own(1, rewards="x"), "scores.json:2: field 'rewards' must be a list, it is str"),
        ({"task": "pairs", "rewards": []}, "scores.json:2: field 'example_id' must be a str, it is missing"),
        (_own(0), "scores.json:2: pairs example '0' appears twice"),
        (_own(7), "1 of 2 rows belong to no example of pairs"),
        ('{"task": ', "scores.json:2: not valid JSON"),
        ('{"task": "pairs", "example_id": "1", "rewards": [NaN, 1]}', "scores.json:2: rewards[0] should be a finite"),
        ("[1]", "scores.json:2: field 'task'"),
    ],
)
def test_a_broken_row_is_named_by_its_line(write: Write, row: Any, says: str) -> None:
    assert says in _refusal(write(["lines", _own(0), row]))


def test_rows_of_other_tasks_only(write: Write) -> None:
    assert "the file has: other" in _refusal(write(["lines", _own(0, task="other")]))


@pytest.mark.parametrize("text", ["", "hello", "[]", '{"a": 1}', "[1, 2]", '"text"', "null"])
def test_what_is_no_format_is_refused(write: Write, text: str) -> None:
    assert _refusal(write(text))


# --- reward-bench ---------------------------------------------------------------------------------------------


def _rewardbench(**changes: Any) -> dict[str, Any]:
    return {
        "model": "org/m", "model_type": "Seq. Classifier", "id": [2, 0], "subset": ["s", "s"], "results": [1, 0],
        "scores_chosen": [3.0, [1.0]], "scores_rejected": [2.0, [4.0]],
        "text_chosen": ["<s>question 2\n\nright  2</s>", "question 0 right 0"], **changes,
    }  # fmt: skip


def test_rewardbench_rows_are_joined_by_id_and_subset(write: Write) -> None:
    assert _read(write(_rewardbench())) == {"2": [3.0, 2.0], "0": [1.0, 4.0]}
    one = _rewardbench(id=[0], subset=["s"], scores_chosen=[1.0], scores_rejected=[4.0], text_chosen=["right 0"])
    assert _read(write(one), FLIPPED) == {"0": [4.0, 1.0]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": [2, 9]}, "1 of 2 rows belong to no example"),
        ({"subset": ["s", "other"]}, "in subset"),
        ({"id": None}, "column 'id' is missing"),
        ({"scores_chosen": None}, "a file with results alone holds no rewards"),
        ({"scores_chosen": [1.0]}, "different lengths"),
        ({"scores_chosen": [1.0, "x"]}, "row 2: scores_chosen should be a number"),
        ({"text_chosen": ["something else", "right 0"]}, "row 1: text_chosen is not the text of example '2'"),
        ({"text_rejected": ["right 2", "wrong 0"]}, "text_rejected is not the text"),
        ({"id": [2, 2], "text_chosen": None}, "appears twice"),
    ],
)
def test_rewardbench_files_that_do_not_fit(write: Write, changes: dict[str, Any], says: str) -> None:
    assert says in _refusal(write(_rewardbench(**changes)))


# --- RewardMATH -----------------------------------------------------------------------------------------------


def _problem(i: int, *scores: float, names: Any = ("chosen", "rejected"), text: str = "") -> dict[str, Any]:
    return {"problem": text or f" question  {i}\n", "solution_reference": list(names), "score": list(scores)}


def test_rewardmath_rows_are_joined_by_the_problems_text(write: Write) -> None:
    assert _read(write([_problem(2, 5, 4), _problem(0, 1, 2)])) == {"2": [5.0, 4.0], "0": [1.0, 2.0]}


def test_the_first_score_of_a_pair_goes_to_the_correct_response(write: Write) -> None:
    assert _read(write([_problem(0, 9, 1)]), FLIPPED) == {"0": [1.0, 9.0]}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([_problem(0, 1, 2), _problem(7, 1, 2)], "1 of 2 rows belong to no example of pairs"),
        ([_problem(0, 1, 2), _problem(0, 1, 2)], "the problem appears twice"),
        ([_problem(0, 1, 2, 3)], "3 scores for pairs example '0'"),
        ([_problem(0, 1, float("nan"))], "row 1: score[1] should be a finite number"),
        ([{"problem": 3, "score": [1, 2]}], "row 1: expected an object"),
    ],
)
def test_rewardmath_files_that_do_not_fit(write: Write, rows: list[Any], says: str) -> None:
    assert says in _refusal(write(rows))


def test_a_question_asked_twice_cannot_be_joined(write: Write) -> None:
    twice = dataset(examples=[example(0), example(1, prompt=[("user", "question 0")])])
    assert "2 examples of pairs ask this" in _refusal(write([_problem(0, 1, 2)]), twice)


def _ten(right: int = 0, sources: Any = ("a", "b", "c")) -> DatasetRecord:
    labels = [i == right for i in range(3)]
    return dataset(examples=[example(0, responses=["x", "y", "z"], labels=labels, answers=[None] * 3,
                                     sources=list(sources), reasons=[""] * 3)])  # fmt: skip


def test_more_than_two_solutions_are_joined_by_position_only_where_that_is_safe(write: Write) -> None:
    path = write([_problem(0, 1, 2, 3, names=("a", "b", "c"))])
    assert _read(path, _ten()) == {"0": [1.0, 2.0, 3.0]}
    assert _read(path, _ten(sources=("", "", ""))) == {"0": [1.0, 2.0, 3.0]}
    assert "cannot be told apart" in _refusal(path, _ten(right=1))
    assert "other generators" in _refusal(path, _ten(sources=("a", "c", "b")))


# --- lm-eval --------------------------------------------------------------------------------------------------


def _sample(i: int, *choices: tuple[str, Any], **changes: Any) -> dict[str, Any]:
    chosen = choices or ((f"wrong {i}", -2.0 - i), (f"right {i}", -1.0))
    return {
        "doc_id": 5 - i, "doc": {}, "target": "0", "arguments": [[f"Q: question {i}\nA:", f" {c}"] for c, _ in chosen],
        "resps": [[[v, False]] for _, v in chosen], "filtered_resps": [[v, False] for _, v in chosen], **changes,
    }  # fmt: skip


def test_lm_eval_choices_are_joined_by_their_texts(write: Write) -> None:
    expected = {"2": [-1.0, -4.0], "0": [-1.0, -2.0]}
    assert _read(write(["lines", _sample(2), _sample(0)])) == expected
    assert _read(write({"results": {}, "samples": {"pairs": [_sample(0), _sample(2)]}})) == expected


def test_lm_eval_writes_numbers_as_text_and_arguments_as_objects(write: Write) -> None:
    arguments = {f"gen_args_{i}": {"arg_0": "question 1", "arg_1": c} for i, c in enumerate(("right 1", "wrong 1"))}
    row = _sample(1, arguments=arguments, filtered_resps=[["-0.5", "False"], ["-3.25", "False"]])
    assert _read(write(["lines", row])) == {"1": [-0.5, -3.25]}


def test_repeated_choices_are_told_apart_by_the_question(write: Write) -> None:
    data = dataset(examples=[example(i, responses=["yes", "no"]) for i in range(2)])
    rows = [_sample(i, ("yes", -1.0 - i), ("no", -5.0)) for i in (1, 0)]
    assert _read(write(["lines", *rows]), data) == {"1": [-2.0, -5.0], "0": [-1.0, -5.0]}
    hidden = [{**row, "arguments": [["no question", "yes"], ["no question", "no"]]} for row in rows]
    assert "2 of 2 rows belong to no example" in _refusal(write(["lines", *hidden]), data)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (_sample(0, ("right 0", -1.0), ("another", -2.0)), "belong to no example"),
        (_sample(0, filtered_resps=["The answer is 4"]), "harness pool import"),
        (_sample(0, filtered_resps=[[-1.0, False]]), "2 arguments for 1 scores"),
        (_sample(0, filtered_resps=[["-inf", False], [-1.0, False]]), "finite number"),
        (_sample(0, arguments=None), "'arguments' is missing"),
    ],
)
def test_lm_eval_samples_that_do_not_fit(write: Write, row: Any, says: str) -> None:
    assert says in _refusal(write(["lines", row]))


# --- Inspect --------------------------------------------------------------------------------------------------


def _answer(i: int, text: str, value: Any, **changes: Any) -> dict[str, Any]:
    return {"id": str(i), "epoch": 1, "input": "?", "output": {"completion": text}, "scores": {"rm": {"value": value}},
            **changes}  # fmt: skip


def _log(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"version": 2, "eval": {"task": "pairs"}, "samples": list(samples)}


def test_inspect_samples_are_joined_by_id_and_completion(write: Write) -> None:
    asked = [{"role": "system", "content": "x"}, {"role": "user", "content": "question 2"}]
    spelled = {"choices": [{"message": {"content": [{"type": "text", "text": "right 2"}]}}]}
    log = _log(_answer(0, "wrong 0", 0.25), _answer(0, " right 0", 3), _answer(7, "wrong 2", -1.0, id="x", input=asked),
               _answer(7, "", 2.5, id="y", input="question 2", output=spelled))  # fmt: skip
    assert _read(write(log)) == {"0": [3.0, 0.25], "2": [2.5, -1.0]}


def test_an_inspect_archive_is_read_like_its_json(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", "{}")
        for i, text in enumerate(("right 1", "wrong 1")):
            archive.writestr(f"samples/{i}_epoch_1.json", json.dumps(_answer(1, text, i)))
    assert _read(path) == {"1": [0.0, 1.0]}
    path.write_bytes(path.read_bytes()[:90])
    assert "archive is damaged" in _refusal(path)


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (_answer(0, "a new answer", 1), "harness pool import"),
        (_answer(9, "right 0", 1), "there is no example '9'"),
        (_answer(0, "right 0", "C"), "score 'rm' should be a number"),
        (_answer(0, "right 0", 1, scores={}), "no scores"),
        (_answer(0, "right 0", 1), "1 scores for pairs example '0'"),
    ],
)
def test_inspect_logs_that_do_not_fit(write: Write, sample: Any, says: str) -> None:
    assert says in _refusal(write(_log(sample)))


def test_one_of_several_inspect_scores_is_chosen_by_name(write: Write) -> None:
    both = {"rm": {"value": 1}, "judge": {"value": 9}}
    path = write(_log(_answer(0, "right 0", 0, scores=both), _answer(0, "wrong 0", 0, scores=both)))
    assert "--scorer" in _refusal(path)
    assert "did you mean 'judge'" in _refusal(path, scorer="jugde")
    assert _read(path, scorer="judge") == {"0": [9.0, 9.0]}
