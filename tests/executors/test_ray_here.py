"""A cluster of our own on this machine: interrupted, killed, resumed; mistakes on the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from executors_support import command, digest_of, logged


def descendants(pid: int) -> set[int]:
    """Processes that a process has started, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    left = [pid]
    while left:
        new = children.get(left.pop(), [])
        found.update(new)
        left += new
    return found


def running(pids: set[int]) -> list[str]:
    """Command lines of those that still run: no zombies, and not Ray's two agents, which leave after a minute."""
    lines = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if state != "Z" and not line.startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent")):
            lines.append(line)
    return lines


def until(happened: Callable[[], bool], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happened()


def test_a_stopped_driver_leaves_no_process_and_resumes(tiny: Path, task: Path, tmp_path: Path, plugin: str) -> None:
    """Ctrl-C, then SIGKILL, then to the end: the content of a run that was never stopped."""
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    log = tmp_path / "log"
    recipe = {"rm": str(tiny / "rm"), "experts": [{"model": str(tiny / "sft")}], "sweep": [0.2, 0.5, 0.8]}
    (tmp_path / "sweep.yaml").write_text(json.dumps(recipe))
    words = ["sweep", "sweep.yaml", "--task-file", f"mine={task}", "--backend", "unruly"]
    env = {**os.environ, "PYTHONPATH": plugin, "OMP_NUM_THREADS": "1"}
    there = [*words, "--db", "h.duckdb", "--executor", "ray", "--workers", "2"]
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        before = len(logged(log))
        process = subprocess.Popen(command(there, {"log": log, "sleep": 0.3}), cwd=tmp_path, env=env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        assert until(lambda since=before: sum(line[1] == "end" for line in logged(log)[since:]) >= 5)  # type: ignore[misc]
        assert process.poll() is None, "the run was over before it could be stopped"
        started = descendants(process.pid)
        assert any("raylet" in line for line in running(started))
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        if number == signal.SIGINT:
            assert err == "harness: interrupted: what was finished is kept, the same command resumes\n"
        assert until(lambda those=started: not running(those)), running(started)  # type: ignore[misc]
    before = len(logged(log))
    done = subprocess.run(command(there, {"log": log}), cwd=tmp_path, env=env, timeout=300, check=False)
    assert done.returncode == 0
    again = sum(int(line[2]) for line in logged(log)[before:] if line[1] == "begin")
    assert again < 3 * 360, "nothing was kept"
    local = subprocess.run(command([*words, "--db", "l.duckdb"], {}), cwd=tmp_path, env=env, timeout=300, check=False)
    assert local.returncode == 0
    assert digest_of(tmp_path / "h.duckdb") == digest_of(tmp_path / "l.duckdb")


EVAL = ("eval", "--model", "a", "--backend", "fake", "--db", "h.duckdb")


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--executor", "rya"], "unknown executor 'rya': did you mean 'ray'? known: local, ray"),
        (["--workers", "2"], "--address and --workers are for --executor ray"),
        (["--executor", "ray", "--address", "nowhere"], "expected HOST:PORT"),
        (["--executor", "ray", "--address", "ray://a:1"], "expected HOST:PORT"),
        (["--executor", "ray", "--address", "127.0.0.1:{closed}"], "nobody answers there (Connection refused)"),
        (["--executor", "ray", "--address", "127.0.0.1:{other}"], "is not the head of a Ray cluster"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    harness: Any, task: Path, tmp_path: Path, more: list[str], complaint: str
) -> None:
    if "ray" in more:
        pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    with socket.socket() as other, socket.socket() as closed:
        other.bind(("127.0.0.1", 0))
        other.listen()
        closed.bind(("127.0.0.1", 0))
        ports = {"other": other.getsockname()[1], "closed": closed.getsockname()[1]}
        done = harness(*EVAL, "--task-file", f"mine={task}", *(word.format(**ports) for word in more))
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "h.duckdb").exists()


def test_a_cluster_that_was_started_by_hand_wants_its_token(task: Path, tmp_path: Path, plugin: str) -> None:
    """`ray start --head` asks for the token of whoever started it; at an explicit address Ray does not offer it."""
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    (tmp_path / "owner" / ".ray").mkdir(parents=True)
    (tmp_path / "owner" / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": plugin, "HOME": str(tmp_path / "owner"), "RAY_USAGE_STATS_ENABLED": "0"}
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--num-cpus=1",
             "--include-dashboard=false", "--object-store-memory=80000000", "--block"]  # fmt: skip
    head = subprocess.Popen(start, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert head.stdout is not None
        assert any("Ray runtime started" in line for line in head.stdout)
        words = command(
            [*EVAL, "--task-file", f"mine={task}", "--executor", "ray", "--address", f"127.0.0.1:{port}"], {}
        )
        known = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert known.returncode == 0, known.stderr
        (tmp_path / "stranger").mkdir()
        other = {**env, "HOME": str(tmp_path / "stranger")}
        unknown = subprocess.run(
            words, env=other, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        if "oken" in (known.stderr + unknown.stderr) or unknown.returncode:  # older Rays ask nobody
            assert unknown.returncode == 2
            assert "the cluster wants its token" in unknown.stderr
            assert unknown.stderr.count("\n") == 1
    finally:
        head.terminate()
        head.communicate(timeout=60)


def test_without_ray_it_says_what_to_install(task: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from harness.cli.main import main; main()"
    words = [*EVAL, "--task-file", f"mine={task}", "--executor", "ray"]
    root = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "harness: --executor ray needs the package ray, which is not installed: pip install '.[ray]'\n"
    )
