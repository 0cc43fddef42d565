"""`harness leaderboard build`: the path on stdout, one sentence and exit code 2 for mistakes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.cli.main import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["leaderboard", "build", *map(str, arguments)])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def db(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "h.duckdb"
    people = synthetic.sweep(3, controls=False)
    made: Path = synthetic.write_database(path, synthetic.Spec(people, tasks=["autoj", "mbpp_bon"], scale=0.03))
    return made


def test_the_path_of_the_page_is_printed(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", tmp_path / "site", "--db", db, "--baseline", "tiny RM", "--tasks", "autoj, mbpp_bon") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'site' / 'index.html'}\n"


def test_a_command_that_opened_a_database_ends_without_a_word_more(db: Path, harness: Any) -> None:
    done = harness("leaderboard", "build", "-o", "site", "--db", db, "--tasks", "autoj")
    told = ["autoj: intervals and comparisons", "autoj: writing examples", "tiny RM: choosing λ honestly"]
    assert done.stderr.splitlines() == [*told, "writing pages"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--baseline", "tiny R"], "did you mean 'tiny RM'?"),
        (["--tasks", "autoJ"], "did you mean 'autoj'?"),
        (["--db", "nowhere.duckdb"], "there is no such database"),
    ],
)
def test_mistakes_are_one_sentence(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    given = ["--db", db, *arguments] if "--db" not in arguments else arguments
    assert run("-o", tmp_path / "site", *given) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not (tmp_path / "site").exists()


def test_a_folder_that_cannot_be_written(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "/proc/site", "--db", db) == 2
    assert "cannot be written" in capsys.readouterr().err
