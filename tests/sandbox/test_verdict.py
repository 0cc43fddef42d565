"""How two boxes' reports become a status: every death has its own name, and only the sandbox's own is retried."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tasks.sandbox import Limits
from tasks.sandbox._verdict import combine

LIMITS = Limits(cpu_s=2, wall_s=5, memory_mb=256)
GONE = {"outcome": "gone", "done": 1, "text": "EOFError"}


def ended(how: str = "exit", status: int = 0, cpu_s: float = 0.1, rss_kb: int = 20_000) -> dict[str, Any]:
    return {"ended": how, "status": status, "cpu_s": cpu_s, "rss_kb": rss_kb}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("pass", "pass"), ("assertion", "fail"), ("exception", "fail"), ("opaque", "fail"), ("bad-reply", "fail"),
        ("name", "fail"), ("test-raised", "fail"), ("memory", "memory"), ("output-limit", "output-limit"),
        ("bad-test", "sandbox-error"),
    ],
)  # fmt: skip
def test_the_judge_decides_whatever_became_of_the_candidate(outcome: str, status: str) -> None:
    judged = {"outcome": outcome, "done": 1, "text": "why {braces}"}
    for end in (ended(), ended("hangup"), ended("timeout", 9), ended(status=9), {"ended": "lost"}):
        found = combine(judged, end, LIMITS)
        assert (found.status, found.retry) == (status, False)


@pytest.mark.parametrize(
    ("end", "status", "retry"),
    [
        (ended("timeout", 9), "timeout", False),
        (ended("cpu", 9, cpu_s=1.9), "timeout", False),
        (ended(status=signal.SIGXCPU, cpu_s=2.1), "timeout", False),
        (ended(status=0), "fail", False),
        (ended(status=99 << 8), "fail", False),
        (ended(status=signal.SIGSEGV), "fail", False),
        (ended(status=signal.SIGSYS), "fail", False),
        (ended("hangup", 9), "fail", False),
        (ended(status=9, rss_kb=200_000), "memory", False),
        (ended(status=9), "sandbox-error", True),  # somebody outside killed it
        ({"ended": "lost"}, "sandbox-error", True),
        ({"ended": "error", "text": "clone"}, "sandbox-error", True),
    ],
)
def test_every_end_of_the_candidate_has_its_status(end: dict[str, Any], status: str, retry: bool) -> None:
    found = combine(GONE, end, LIMITS)
    assert (found.status, found.retry) == (status, retry)


def test_a_kill_for_memory_is_known_by_the_control_groups_count() -> None:
    assert combine(GONE, ended(status=9), LIMITS, oom_kills=1).status == "memory"


def test_a_candidate_that_was_never_ready_is_the_sandboxs_failure() -> None:
    found = combine({"outcome": "gone", "done": -1, "text": "mount: refused"}, ended(status=99 << 8), LIMITS)
    assert (found.status, found.retry) == ("sandbox-error", True)
    assert "mount: refused" in found.reason


def test_a_judge_that_hung_on_the_programs_data_is_a_timeout_and_a_killed_one_is_not() -> None:
    for number in (signal.SIGALRM, signal.SIGPROF):
        assert combine({"outcome": "lost", "signal": number}, ended(), LIMITS).status == "timeout"
    found = combine({"outcome": "lost", "signal": signal.SIGKILL}, ended(), LIMITS)
    assert (found.status, found.retry) == ("sandbox-error", True)


def test_text_of_the_programs_is_one_short_printable_line() -> None:
    found = combine({"outcome": "exception", "done": 0, "text": "\x1b[2J\r\npassed\u202e" * 100}, ended(), LIMITS)
    assert found.reason.isprintable()
    assert len(found.reason) <= 200
