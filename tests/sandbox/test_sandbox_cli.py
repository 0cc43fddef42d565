"""`harness sandbox`: what it prints and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from harness.cli.sandbox import app
from harness.errors import UserError
from tasks.sandbox import best_tier


def _run(*argv: str) -> Result:
    return CliRunner().invoke(app, list(argv))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text("class Box:\n    v = 0\ndef f(x): return x + 1\n")
    (tmp_path / "bad.py").write_text("def f(x): return x\n")
    (tmp_path / "slow.py").write_text("while True: pass\n")
    (tmp_path / "tests.json").write_text('["assert f(1) == 2", "assert f(41) == 42"]')
    (tmp_path / "setup.py").write_text("box = Box()\nbox.v = 7\n")
    (tmp_path / "with_setup.json").write_text('["assert box.v == 7"]')
    return tmp_path


def test_a_pass_exits_0_and_says_so(files: Path) -> None:
    done = _run("check", "--program", str(files / "good.py"), "--tests", str(files / "tests.json"))
    assert (done.exit_code, done.output[:24]) == (0, "pass: all 2 tests hold (")


def test_json_is_one_object_with_status_reason_and_tier(files: Path) -> None:
    argv = ["check", "--program", str(files / "bad.py"), "--tests", str(files / "tests.json"), "--json"]
    done = _run(*argv)
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (told["status"], told["reason"], told["tier"]) == ("fail", "assertion failed: test 1", best_tier().name)


def test_setup_and_limits(files: Path) -> None:
    tests = ["--tests", str(files / "with_setup.json"), "--setup", str(files / "setup.py")]
    assert _run("check", "--program", str(files / "good.py"), *tests).exit_code == 0
    slow = _run("check", "--program", str(files / "slow.py"), "--tests", str(files / "tests.json"), "--cpu", "0.3")
    assert (slow.exit_code, slow.output[:8]) == (1, "timeout:")


def test_unsafe_is_explicit_and_shown(files: Path) -> None:
    argv = ["check", "--program", str(files / "good.py"), "--tests", str(files / "tests.json"), "--unsafe-exec"]
    done = _run(*argv)
    assert done.exit_code == 0
    assert "tier unsafe" in done.output


def test_without_a_sandbox_the_exit_code_is_3(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best_tier.cache_clear()
    monkeypatch.setenv("HARNESS_SANDBOX_TIER", "A")
    monkeypatch.setenv("PATH", "/nonexistent")
    done = _run("check", "--program", str(files / "good.py"), "--tests", str(files / "tests.json"), "--json")
    best_tier.cache_clear()
    assert done.exit_code == 3
    assert json.loads(done.stdout)["status"] == "sandbox-error"


def test_selftest_names_the_tier_and_its_canaries() -> None:
    done = _run("selftest", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["tier"] == best_tier().name
    assert {"files", "network", "processes", "privileges", "memory"} <= set(told["canaries"])
    assert _run("selftest", "--tier", "Z").exit_code == 3


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ("[1]", "list of assert strings"),
        ("[]", "list of assert strings"),
        ('["assert f(1) == 2",\n', "tests.json:2: not valid JSON"),
        ('["assert f("]', "test 1 is not valid Python"),
    ],
)
def test_bad_input_is_one_sentence(files: Path, tests: str, message: str) -> None:
    (files / "tests.json").write_text(tests)
    done = _run("check", "--program", str(files / "good.py"), "--tests", str(files / "tests.json"))
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)


def test_a_missing_program_is_named(files: Path) -> None:
    done = _run("check", "--program", str(files / "none.py"), "--tests", str(files / "tests.json"))
    assert isinstance(done.exception, UserError)
    assert "none.py: there is no such program" in str(done.exception)
