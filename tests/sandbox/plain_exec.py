"""The old way, for comparison: program, setup and tests in one namespace, one forked process each, under rlimits only.

python plain_exec.py < JSON [[program, setup, [tests]], ...] > JSON [true, false, ...]. For harmless programs only.
"""

from __future__ import annotations

import json
import os
import resource
import sys

CPU_S, MEMORY = 1, 1 << 30


def holds(program: str, setup: str, tests: list[str]) -> bool:
    pid = os.fork()
    if pid == 0:
        for which, value in ((resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0)):
            resource.setrlimit(which, (value, value))
        code = 1
        try:
            space = {"__name__": "candidate"}
            for source in (program, setup, *tests):
                exec(source, space)
            code = 0
        except BaseException:  # noqa: BLE001
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


if __name__ == "__main__":
    jobs = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDWR)
    out = os.dup(1)
    os.dup2(null, 1)
    os.dup2(null, 2)
    answers = [holds(*job) for job in jobs]
    os.write(out, json.dumps(answers).encode())
