"""Many checks with hostile ones among them: every verdict right, steady memory, nothing left over."""

from __future__ import annotations

import json
import os
import random
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.sandbox import Check, Limits, check

HOSTILE = Path(__file__).parent / "hostile"
SLOW = re.compile(r"c(05|09|12|26|38)_")  # they wait for a limit: seconds each, of which a few are enough
LIMITS = Limits(cpu_s=1, wall_s=3, memory_mb=256)
KNOWN = ("assert f(1) == 2", "assert f(41) == 42", "assert f(7) == 8")


def _hostile() -> list[tuple[str, str, tuple[str, ...]]]:
    found = []
    for path in sorted(HOSTILE.glob("c*.py")):
        source = path.read_text()
        own = re.search(r"^# tests: (.*)$", source, re.MULTILINE)
        secret = tuple(test.replace("== ", "== 9000") for test in KNOWN)
        tests = tuple(json.loads(own[1])) if own else KNOWN if "# task: known" in source else secret
        found.append((path.name, source, tests))
    return found


def _mixed(count: int, expected: list[bool]) -> Iterator[Check]:
    draw, hostile = random.Random(5), _hostile()
    quick = [entry for entry in hostile if not SLOW.match(entry[0])]
    for i in range(count):
        if draw.random() < 0.05:
            _, source, tests = draw.choice(hostile if draw.random() < 0.2 else quick)
            expected.append(False)
            yield Check(f"{source}\n# {i}", tests)
        else:
            expected.append(draw.random() < 0.6)
            yield Check(f"def f(x):\n    y = {i}\n    return x + {1 if expected[-1] else 2}\n", KNOWN)


def _run(count: int) -> None:
    expected: list[bool] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong = [
        (i, verdict)
        for i, verdict in enumerate(check(_mixed(count, expected), limits=LIMITS))
        if (verdict.status == "pass") != expected[i] or verdict.status == "sandbox-error"
    ]
    assert wrong == []
    assert len(expected) == count
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < 20 + count // 500  # MB
    assert [str(p) for p in Path("/sys/fs/cgroup").glob(f"**/harness-sandbox-{os.getpid()}-*")] == []


def test_a_few_hundred_checks_with_hostile_ones_among_them() -> None:
    _run(300)


@pytest.mark.slow
def test_twenty_thousand_checks_with_hostile_ones_among_them() -> None:
    _run(20_000)
