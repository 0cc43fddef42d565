"""From what judge and candidate box report to a verdict's status and reason. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from tasks.sandbox._limits import Limits, Status

_REASON = 200
_PLAIN: dict[str, tuple[Status, str]] = {  # outcomes of the judge that decide by themselves
    "assertion": ("fail", "assertion failed: test {test}"),
    "exception": ("fail", "exception: {text}"),
    "opaque": ("fail", "test {test}: {text}"),
    "bad-reply": ("fail", "the program broke the protocol"),
    "name": ("fail", "not defined: {text}"),
    "test-raised": ("fail", "test {test} raised {text}"),
    "memory": ("memory", "memory limit of {memory} MB"),
    "output-limit": ("output-limit", "a value larger than the limit of {output} KB, or nested too deep"),
    "bad-test": ("sandbox-error", "{text}"),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """A status and its reason; `retry`: the sandbox, not the program, is to blame, and another try may help."""

    status: Status
    reason: str
    retry: bool = False


def _clean(text: str) -> str:
    """The program's text, fit for a terminal and a table."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= _REASON else shown[: _REASON - 3] + "..."


def combine(judged: dict[str, Any], ended: dict[str, Any], limits: Limits, oom_kills: int = 0) -> Ending:
    """The verdict on one check.

    judged: the judge's {"outcome", "done", "text"}, or {"outcome": "lost", "signal": n} when its process is gone.
    ended: the candidate box's {"ended", "status", "cpu_s", "rss_kb"}, or {"ended": "lost"}. oom_kills: how many
    processes the kernel killed in the candidate's control group meanwhile.
    """
    outcome = str(judged["outcome"])
    if outcome == "pass":
        return Ending("pass", f"all {judged['done']} tests hold")
    if outcome in _PLAIN:
        status, reason = _PLAIN[outcome]
        values = {"test": judged["done"] + 1, "memory": limits.memory_mb, "output": limits.output_kb}
        return Ending(status, _clean(reason.format(text=judged["text"], **values)))
    if outcome == "lost":
        if judged.get("signal") in (signal.SIGALRM, signal.SIGPROF):
            return Ending("timeout", "the judge did not finish on the program's results in time")
        return Ending("sandbox-error", "the judge's process was lost", retry=True)
    if judged["done"] < 0:
        why = _clean(str(judged["text"]))
        return Ending("sandbox-error", f"the candidate's process could not be set up: {why}", retry=True)
    return _gone(ended, limits, oom_kills)


def _how(ended: dict[str, Any]) -> str:
    return _clean(str(ended.get("text") or f"{ended['ended']}, status {ended.get('status')}"))


def _gone(ended: dict[str, Any], limits: Limits, oom_kills: int) -> Ending:
    """The candidate's process ended, or was ended, before the tests did."""
    if ended["ended"] == "timeout":
        return Ending("timeout", f"wall limit of {limits.wall_s:g} s")
    if ended["ended"] == "cpu":
        return Ending("timeout", f"CPU limit of {limits.cpu_s:g} s")
    if ended["ended"] == "hangup":  # the judge saw the channel closed, and so hung up, before the process ended
        return Ending("fail", "the program closed its channel")
    if ended["ended"] != "exit":
        return Ending("sandbox-error", f"the candidate's box was lost: {_how(ended)}", retry=True)
    status = int(ended["status"])
    if status & 0x7F == 0:
        return Ending("fail", f"the program exited (code {status >> 8}) before the tests were done")
    killer = status & 0x7F
    if killer in (signal.SIGKILL, signal.SIGXCPU) and ended["cpu_s"] >= limits.cpu_s:
        return Ending("timeout", f"CPU limit of {limits.cpu_s:g} s")
    if killer == signal.SIGKILL:
        # a candidate cannot kill itself this way: either its memory was the reason, or somebody outside did it
        if oom_kills or ended["rss_kb"] > limits.memory_mb << 9:
            return Ending("memory", "killed by the kernel for its memory")
        return Ending("sandbox-error", "the candidate's process was killed from outside", retry=True)
    return Ending("fail", f"the program crashed (signal {killer})")
