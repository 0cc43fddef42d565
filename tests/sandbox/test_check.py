"""What callers rely on: statuses, order, each distinct check judged once, nothing left behind, failures survived."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks.sandbox import Check, Limits, SandboxError, Tier, Verdict, best_tier, check
from tasks.sandbox._pool import Pool
from tasks.sandbox._worker import Worker
from tasks.sandbox.box import landlock
from tasks.sandbox.box.isolate import libc

LIMITS = Limits(cpu_s=1, wall_s=20, memory_mb=256, output_kb=64)
GOOD = "def f(x): return x + 1"
TESTS = ("assert f(1) == 2", "assert f(2) == 3")


@pytest.fixture
def worker(tier: Tier) -> Iterator[Worker]:
    with contextlib.closing(Worker(tier, LIMITS)) as made:
        yield made


@pytest.mark.parametrize(
    ("program", "status", "reason"),
    [
        (GOOD, "pass", "all 2 tests hold"),
        ("def f(x):\r\n\treturn x + 1\r\n", "pass", "all 2 tests hold"),
        ("def f(x): return 2", "fail", "assertion failed: test 2"),
        ("def g(x): return x", "fail", "not defined: NameError: name 'f' is not defined"),
        ("def f(x) return x", "fail", "exception: SyntaxError: expected ':' (<candidate>, line 1)"),
        ("def f(x): return {}[x]", "fail", "exception: KeyError: 1"),
        ("import sys; sys.exit(0)", "fail", "exception: SystemExit: 0"),
        ("import os; os._exit(0)", "fail", "the program exited (code 0) before the tests were done"),
        ("f = 5", "fail", "test 1 raised TypeError: 'int' object is not callable"),
        ("x = \0", "fail", None),
        ("", "fail", None),
        ("while True: pass", "timeout", "CPU limit of 1 s"),
        ("x = bytearray(300 << 20)", "memory", "memory limit of 256 MB"),
        ("def f(x): return 'x' * 10 ** 6", "output-limit", None),
    ],
)
def test_statuses(worker: Worker, program: str, status: str, reason: str | None) -> None:
    found = worker.check(Check(program, TESTS))
    assert found.status == status, found
    assert reason in (None, found.reason)
    assert found.tier == worker.tier.name
    assert found.interpreter.startswith("CPython 3.")


def test_the_wall_limit_is_for_programs_that_only_wait(tier: Tier) -> None:
    with contextlib.closing(Worker(tier, Limits(cpu_s=0.5, wall_s=0.5))) as worker:
        found = worker.check(Check("import time; time.sleep(60)", TESTS))
        assert (found.status, found.reason) == ("timeout", "wall limit of 0.5 s")
        time.sleep(1)  # the next program's process waits already: its time has not begun
        assert worker.check(Check(GOOD, TESTS)).status == "pass"


def test_setup_code_runs_after_the_program_with_its_classes(worker: Worker) -> None:
    program = "class Node:\n    def __init__(self, d): self.data, self.left = d, None\ndef first(n): return n.data"
    setup = "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)"
    tests = ("assert first(root.left.left) == 3", "assert first(root) == 1", "assert root.left.data == 2")
    assert worker.check(Check(program, tests, setup)).status == "pass"


def test_an_object_of_the_programs_decides_nothing(worker: Worker) -> None:
    program = """
class Any:
    def __getattr__(self, name): return lambda *a: True
    def __eq__(self, o): return True
    def __bool__(self): return True
    def __len__(self): return 1
    def __iter__(self): return iter([1])
    def __lt__(self, o): return True
    def __contains__(self, o): return True
def f(x): return Any()
"""
    for test in ("f(1) == 1", "f(1)", "not f(1)", "f(1) != 2", "len(f(1)) == 1", "1 in f(1)", "f(1) < 3", "f(1) + 1"):
        found = worker.check(Check(program, (f"assert {test}",)))
        assert (found.status, found.reason[:8]) == ("fail", "test 1: "), (test, found)


def test_builtins_in_tests_are_genuine_unless_they_are_what_is_tested(worker: Worker) -> None:
    lies = "def f(x): return 5\ndef abs(x): return 0\nsum = abs"
    assert worker.check(Check(lies, ("assert abs(f(1) - 6) < 0.5",))).status == "fail"
    assert worker.check(Check("def sum(a, b): return a * b", ("assert sum(2, 3) == 6",))).status == "pass"


def test_nothing_is_left_for_the_next_check(worker: Worker) -> None:
    leave = "import math, builtins, os\nmath.x = builtins.x = 1\nos.environ['x'] = '1'\ndef f(x): return x + 1"
    find = "import math, os\ndef f(x): return hasattr(math, 'x') + ('x' in os.environ) + ('x' in dir(__builtins__))"
    assert worker.check(Check(leave, TESTS)).status == "pass"
    assert worker.check(Check(find, ("assert f(0) == 0",))).status == "pass"


def test_tests_that_cannot_work_are_not_the_programs_fail(worker: Worker) -> None:
    for tests in (("assert f(lambda: 1) == 2",), ("assert f(",)):
        assert worker.check(Check(GOOD, tests)).status == "sandbox-error"


def test_results_come_in_order_and_equal_checks_are_judged_once(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    real = Worker.check

    def counting(self: Worker, item: Check) -> Verdict:
        judged.append(item.program)
        return real(self, item)

    monkeypatch.setattr(Worker, "check", counting)
    programs = [f"def f(x): return x + {i % 3}" for i in range(30)]
    with Pool(tier, LIMITS, 2) as pool:
        found = [verdict.status for verdict in pool.run(Check(p, TESTS) for p in programs)]
    assert found == ["fail", "pass", "fail"] * 10
    assert sorted(judged) == sorted(programs[:3])


def test_a_checks_key_changes_with_all_that_its_verdict_depends_on() -> None:
    item = Check(GOOD, TESTS)
    keys = [item.key(LIMITS, "CPython 3.11.7"), Check(GOOD, TESTS[:1]).key(LIMITS, "CPython 3.11.7")]
    keys += [item.key(Limits(cpu_s=2), "CPython 3.11.7"), item.key(LIMITS, "CPython 3.12.0")]
    keys += [Check(GOOD, TESTS, "x = 1").key(LIMITS, "CPython 3.11.7"), Check("", TESTS).key(LIMITS, "CPython 3.11.7")]
    assert len(set(keys)) == 6
    assert Check(GOOD, TESTS).key(LIMITS, "CPython 3.11.7") == keys[0]


def test_unsafe_is_said_with_every_verdict() -> None:
    found = list(check([Check(GOOD, TESTS), Check("f = 1", TESTS)], limits=LIMITS, workers=1, unsafe=True))
    assert [(verdict.status, verdict.tier) for verdict in found] == [("pass", "unsafe"), ("fail", "unsafe")]


def test_a_tier_holds_here() -> None:
    """Without this, a sandbox that is broken altogether would skip all of its tests."""
    if shutil.which("bwrap") is None and landlock.abi(libc) < landlock.LEAST_ABI:
        pytest.skip("neither bubblewrap nor Landlock on this machine")
    assert best_tier().name in ("A", "B", "C")


def test_no_tier_is_refused_naming_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    best_tier.cache_clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("tasks.sandbox._tiers.landlock.abi", lambda _: 0)
    with pytest.raises(SandboxError, match=r"bubblewrap.*Landlock.*--unsafe-exec"):
        next(iter(check([Check(GOOD, TESTS)])))
    best_tier.cache_clear()


def test_a_tier_can_be_asked_for_by_the_environment(monkeypatch: pytest.MonkeyPatch, tier: Tier) -> None:
    best_tier.cache_clear()
    monkeypatch.setenv("HARNESS_SANDBOX_TIER", tier.name)
    assert best_tier().name == tier.name
    best_tier.cache_clear()
    monkeypatch.setenv("HARNESS_SANDBOX_TIER", "D")
    with pytest.raises(SandboxError, match="known: A, B, C"):
        best_tier()


@pytest.mark.parametrize("change", [{"cpu_s": 0}, {"wall_s": 1.0, "cpu_s": 5}, {"memory_mb": 20}, {"threads": -1}])
def test_limits_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sandbox limit"):
        Limits(**change)


def test_a_rootless_container_gets_a_sandbox_too(run_python: Callable[..., Any]) -> None:
    """Root of a user namespace with one user, and parts of /proc hidden, which forbids a fresh one (docker, podman)."""
    program = "from tasks.sandbox import *; print(best_tier('B').proc, *[v.status for v in check([Check('', ('1',))])])"
    inside = f'mount -t tmpfs none /proc/driver && exec "$0" -c "{program}"'
    container = """
import subprocess, sys
argv = ["unshare", "-Urpf", "--mount-proc", "sh", "-c", sys.argv[1], sys.executable]
done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
sys.exit(done.stderr) if done.returncode else print(done.stdout, end="")
"""
    done = run_python("ordinary", ["-c", container, inside])
    if "unshare: " in done.stderr:
        pytest.skip(f"containers cannot be made here: {done.stderr.strip()}")
    assert (done.stdout, done.stderr) == ("bind pass\n", "")


def test_an_ordinary_user_gets_a_sandbox_too(run_python: Callable[..., Any]) -> None:
    program = """
from tasks.sandbox import Check, check
print(*[verdict.status for verdict in check([Check("def f(x): return x", ("assert f(1) == 1",))])])
"""
    done = run_python("ordinary", ["-c", program])
    assert (done.returncode, done.stdout) == (0, "pass\n"), done.stderr
