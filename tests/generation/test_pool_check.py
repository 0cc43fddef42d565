"""`harness pool check`: pass@n by hand, repeated texts, statuses; and its mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.generation._check import check_pool, pass_rates
from results.pools import PoolRecord, PoolRow, load_pool, save_pool
from results.store import open_store
from tasks._types import Pool, Response, Source


def _row(*correct: bool | None) -> tuple[Response, ...]:
    return tuple(Response(f"text {i}", c, reason="pass" if c else "fail: no") for i, c in enumerate(correct))


def _pool(**rows: tuple[Response, ...]) -> Pool:
    return Pool("gsm8k_bon", "p", rows, Source("", "", None, "", False))


def test_pass_at_n_is_unbiased() -> None:
    """c = 1 and 2 of k = 4: pass@2 = 1 - C(3,2)/C(4,2) = 1/2 and 1 - C(2,2)/C(4,2) = 5/6."""
    rates = pass_rates([_row(True, False, False, False), _row(False, True, True, False)])
    assert rates == pytest.approx({"pass/1": 3 / 8, "pass/2": 2 / 3, "pass/4": 1.0})


def test_questions_with_fewer_responses_bound_n_and_count_as_much() -> None:
    """k = 3, c = 1: pass@1 = 1/3, pass@2 = 2/3; k = 4, c = 0: nothing."""
    rates = pass_rates([_row(True, False, False), _row(False, False, False, False)])
    assert rates == pytest.approx({"pass/1": 1 / 6, "pass/2": 1 / 3})


def test_unknown_is_never_wrong() -> None:
    found = check_pool(_pool(a=_row(True, None), b=_row(True, False)))
    assert found["status"] == {"correct": 2, "unknown": 1, "wrong": 1}
    assert found["left_out"] == 1
    assert found["pass"] == {"pass/1": 0.5, "pass/2": 1.0}
    assert check_pool(_pool(a=_row(None)))["pass"] == {}


def test_repeats_are_counted_within_a_question() -> None:
    same = Response("same", False)
    found = check_pool(_pool(a=(same, same, same), b=(same, Response("other", True), same)))
    assert (found["responses"], found["duplicates"]) == (6, 3)


def test_reasons_are_told_by_their_first_words() -> None:
    row = (
        Response("a", True, reason="pass (first block; sandbox A)"),
        Response("b", False, reason="timeout: 10 s of CPU (no fence; sandbox A)"),
        Response("c", False, reason="timeout: 9 s of CPU (no fence; sandbox A)"),
    )
    assert check_pool(_pool(a=row))["reasons"] == {"wrong: timeout": 2, "correct: pass": 1}


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["pool", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "h.duckdb"
    with open_store(path) as store:
        rows = [PoolRow(str(i // 2), i % 2, f"The answer is {i}", "m", None, None, "") for i in range(4)]
        save_pool(store, PoolRecord("gsm8k_bon", "p", rows, {"name": "", "location": "", "revision": None,
                                                             "sha256": "", "pinned": False}))  # fmt: skip
    return path


def test_what_has_no_label_is_labelled_and_kept(db: Path, questions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Gold answers of the first two questions are 0 and 2: responses 0 and 2 are right."""
    code, out, _ = _run(capsys, "check", "gsm8k_bon", "--db", db, "--data-dir", questions, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["status"] == {"correct": 2, "wrong": 2}
    assert found["pass"] == {"pass/1": 0.5, "pass/2": 1.0}
    with open_store(db, read_only=True) as store:
        kept = load_pool(store, "gsm8k_bon", "p")
    assert kept is not None
    assert [row.correct for row in kept.rows] == [True, False, True, False]
    code, out, _ = _run(capsys, "check", "gsm8k_bon", "--pool", "p", "--db", db, "--data-dir", db.parent)
    assert code == 0
    assert "4 responses to 2 questions" in out
    assert "pass@2    100.0 %" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gsm8k_bon", "--pool", "q"], "no such pool of gsm8k_bon"),
        (["mbpp_bon"], "has no pool of mbpp_bon"),
        (["autoj"], "not a Best-of-N task"),
        (["gsm8k_bom"], "did you mean 'gsm8k_bon'"),
        (["gsm8k_bon", "--data", "gsm8k_bon=nowhere"], "there is no such file"),
    ],
)
def test_mistakes_are_one_sentence(
    db: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    code, out, err = _run(capsys, "check", *arguments, "--db", db)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_no_database_is_made_by_looking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "check", "gsm8k_bon", "--db", tmp_path / "none.duckdb")
    assert code == 2
    assert "there is no such database" in err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_pool_says_how_it_goes_on(db: Path, questions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(db) as store:
        store.sql.execute("UPDATE pools SET complete = false")
    code, _, err = _run(capsys, "check", "gsm8k_bon", "--pool", "p", "--db", db, "--data-dir", questions)
    assert code == 2
    assert "the command that began it finishes it" in err
