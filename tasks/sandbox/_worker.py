"""One worker: a candidate box and a judge box, joined for each check by a fresh socket pair of the former's."""

from __future__ import annotations

import contextlib
import select
import time
from typing import Any

from tasks.sandbox._box import Box
from tasks.sandbox._cgroup import Janitor
from tasks.sandbox._limits import Check, Limits, SandboxError, Tier, Verdict
from tasks.sandbox._verdict import Ending, combine

RETRIES = 2  # each on new boxes
_GRACE_S = 8.0  # beyond the wall limit, before a silent box counts as lost


class Worker:
    """Checks one program at a time. Not thread-safe; the thread that makes it must outlive it (bwrap watches it)."""

    def __init__(self, tier: Tier, limits: Limits, janitor: Janitor | None = None) -> None:
        """Boxes start with the first check."""
        self.tier, self.limits, self._janitor = tier, limits, janitor
        self._number = 0
        self.candidate: Box | None = None
        self.judge: Box | None = None
        self._stopping = False

    def _fill(self) -> tuple[Box, Box]:
        self.candidate = self.candidate or Box("candidate", self.tier, self.limits, self._janitor)
        self.judge = self.judge or Box("judge", self.tier, self.limits, self._janitor)
        return self.candidate, self.judge

    def check(self, check: Check) -> Verdict:
        """The verdict, after up to two more tries on new boxes when the sandbox itself failed."""
        for attempt in range(RETRIES + 1):
            started = time.monotonic()
            try:
                ending, judged, ended = self._once(check)
            except SandboxError as error:
                ending, judged, ended = Ending("sandbox-error", str(error), retry=True), {}, {}
            if not ending.retry or attempt == RETRIES or self._stopping:
                break
            self.close()
        return Verdict(
            ending.status,
            ending.reason,
            self.tier.name,
            passed=max(0, judged.get("done", 0)),
            cpu_s=ended.get("cpu_s", 0.0),
            wall_s=round(time.monotonic() - started, 4),
            interpreter=self.tier.interpreter,
        )

    def _once(self, check: Check) -> tuple[Ending, dict[str, Any], dict[str, Any]]:
        candidate, judge = self._fill()
        self._number += 1
        kills = candidate.group.oom_kills() if candidate.group else 0
        try:
            self._hand_out(candidate, judge, check)
            reports = self._collect(candidate, judge)
        except OSError as error:
            return Ending("sandbox-error", f"a box does not answer: {error}", retry=True), {}, {}
        judged, ended = reports.get(judge), reports.get(candidate)
        if judged is None:
            judged = {"outcome": "lost", "signal": judge.end_signal()}
            judge.close()
            self.judge = None
        if ended is None:
            ended = {"ended": "lost"}
        if not candidate.ready:
            candidate.close()
            self.candidate = None
        elif candidate.group and judged["outcome"] == "gone":
            kills = candidate.group.oom_kills() - kills
        return combine(judged, ended, self.limits, kills), judged, ended

    def _hand_out(self, candidate: Box, judge: Box, check: Check) -> None:
        job = {
            "id": self._number,
            "program": check.program,
            "tests": list(check.tests),
            "setup": check.setup,
            "cpu_s": self.limits.cpu_s,
            "wall_s": self.limits.wall_s,
            "output_bytes": self.limits.output_kb << 10,
        }
        with candidate.channel() as channel:
            candidate.send({"id": self._number})
            judge.send(job, channel)

    def _collect(self, candidate: Box, judge: Box) -> dict[Box, dict[str, Any]]:
        """Both reports of this check; a box that dies or stays silent is missing."""
        waiting = {box.control.fileno(): box for box in (candidate, judge)}
        poll = select.poll()  # not select.select, which ends at descriptor 1,024
        for control in waiting:
            poll.register(control, select.POLLIN)
        reports: dict[Box, dict[str, Any]] = {}
        deadline = time.monotonic() + self.limits.wall_s + _GRACE_S
        while waiting and (left := deadline - time.monotonic()) > 0:
            for control, _ in poll.poll(left * 1000):
                box = waiting[control]
                with contextlib.suppress(EOFError, OSError):
                    report = box.receive()
                    if report.get("id") != self._number:
                        continue  # of an earlier check that was given up
                    reports[box] = report
                poll.unregister(control)
                del waiting[control]
        return reports

    def stop(self) -> None:
        """From another thread: make the check in progress return at once, as a sandbox error."""
        self._stopping = True
        for box in (self.candidate, self.judge):
            if box is not None:
                box.hang_up()

    def close(self) -> None:
        """End both boxes."""
        for box in (self.candidate, self.judge):
            if box is not None:
                box.close()
        self.candidate = self.judge = None
