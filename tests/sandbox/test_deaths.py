"""What happens when a part dies: a box, a waiting process, the harness itself. Nothing stays, no verdict is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.sandbox import Check, Limits, SandboxError, Tier
from tasks.sandbox._pool import Pool
from tasks.sandbox._worker import Worker

LIMITS = Limits(cpu_s=1, wall_s=20, memory_mb=256, output_kb=64)
GOOD = "def f(x): return x + 1"
TESTS = ("assert f(1) == 2", "assert f(2) == 3")


def _boxes(tier: Tier) -> tuple[Worker, int, int]:
    worker = Worker(tier, LIMITS)
    assert worker.check(Check(GOOD, TESTS)).status == "pass"
    assert worker.candidate is not None
    assert worker.judge is not None
    return worker, worker.candidate.pid, worker.judge.pid


def _gone(pids: list[int], patience_s: float = 5) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        states = [_state(pid) for pid in pids]
        if all(state in ("", "Z") for state in states):
            return True
        time.sleep(0.02)
    return False


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize("victim", [0, 1])
def test_a_box_that_is_killed_is_replaced_and_the_check_repeated(tier: Tier, victim: int) -> None:
    worker, *pids = _boxes(tier)
    with contextlib.closing(worker):
        os.killpg(pids[victim], signal.SIGKILL)
        while True:  # a box whose end is seen only after the verdict is replaced by the next check
            assert worker.check(Check(GOOD, TESTS)).status == "pass"
            if worker.candidate is not None and worker.judge is not None:
                break
        slow = Check("import time; time.sleep(1.5)\n" + GOOD, TESTS)
        target = (worker.candidate, worker.judge)[victim].pid
        threading.Timer(0.5, os.killpg, (target, signal.SIGKILL)).start()
        assert worker.check(slow).status == "pass"


def test_the_process_that_waits_for_the_next_program_may_die(tier: Tier) -> None:
    worker, box, _ = _boxes(tier)
    with contextlib.closing(worker):
        (waiting,) = (pid for pid in _descendants(box) if not _descendants(pid))  # the end of the chain
        os.kill(waiting, signal.SIGKILL)
        found = worker.check(Check(GOOD, TESTS))
        assert found.status == "pass", found
        assert worker.candidate is not None
        assert worker.candidate.pid != box, "judged in a process that was dead"


def test_a_sandbox_that_keeps_failing_is_reported_not_counted_as_a_fail(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def broken(*_: Any) -> None:
        tries.append(1)
        raise SandboxError("the candidate box did not start: no room")

    monkeypatch.setattr("tasks.sandbox._worker.Box", broken)
    found = Worker(tier, LIMITS).check(Check(GOOD, TESTS))
    assert (found.status, found.reason) == ("sandbox-error", "the candidate box did not start: no room")
    assert len(tries) == 3


def test_leaving_early_leaves_no_process_behind(tier: Tier) -> None:
    started = time.monotonic()
    with Pool(tier, LIMITS, 2) as pool:
        endless = Check("import time; time.sleep(60)", TESTS)
        results = pool.run([Check(GOOD, TESTS), endless, Check("while True: pass", TESTS)])
        assert next(results).status == "pass"
        pids = [box.pid for w in pool._workers for box in (w.candidate, w.judge) if box is not None]
    assert _gone(pids)
    assert time.monotonic() - started < LIMITS.wall_s


_DRIVER = """
import sys
from tasks.sandbox import Check, Limits, best_tier
from tasks.sandbox._pool import Pool
tests = ("assert f(1) == 2",)
stuck = [Check(f"import time\\nwhile True: time.sleep({i})", tests) for i in (1, 2)]
with Pool(best_tier(sys.argv[1]), Limits(), 2) as pool:
    results = pool.run([Check("def f(x): return x + 1", tests), *stuck])
    next(results)
    boxes = [box for w in pool._workers for box in (w.candidate, w.judge) if box is not None]
    groups = [str(f) for box in boxes if box.group for f in box.group.folders]
    print(" ".join([*(str(box.pid) for box in boxes), *groups]), flush=True)
    next(results)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_harness_leaves_no_process_and_no_control_group(tier: Tier, how: signal.Signals) -> None:
    argv = [sys.executable, "-c", _DRIVER, tier.name]
    driver = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert driver.stdout is not None
    told = driver.stdout.readline().decode().split()
    time.sleep(0.3)
    boxes = [int(word) for word in told if word.isdigit()]
    family = _descendants(driver.pid)
    assert set(boxes) <= family
    driver.send_signal(how)
    driver.wait(20)
    driver.stdout.close()
    assert _gone(list(family), 10)
    groups = [Path(word) for word in told if word.startswith("/")]
    assert bool(groups) == (tier.name == "A")
    assert [str(group) for group in groups if group.exists()] == []


def _descendants(root: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found, size = {root}, 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found - {root}
