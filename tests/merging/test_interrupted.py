"""A merge that is stopped at any moment leaves a complete folder or none, and leftovers do not stay for ever."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from merging_models import save_model

from harness._hashing import weights_hash
from harness.merging._folder import whole_folder
from harness.merging._provenance import read_merge_folder

# Imports once, then forks a fresh `harness merge` for each line it reads, and tells its pid and its end.
SERVER = """
import os, sys
import harness.merging._writer, harness.merging.linear
from harness.cli import main as cli
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        cli.main(["merge", "--rm", sys.argv[1], "--sft", sys.argv[2], "--lambda", "0.35", "-o", line.strip()])
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Merges:
    """Runs merges of one pair, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", SERVER, str(folder / "rm"), str(folder / "sft")]
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def run(self, out: Path, stop: signal.Signals | None = None, after: float = 0) -> int:
        """Merge into `out`, send `stop` after so many seconds; the exit code (negative: the signal)."""
        assert self.server.stdin is not None
        print(out, file=self.server.stdin, flush=True)
        pid = self._line()
        if stop is not None:
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, stop)
        return self._end()

    def _line(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())

    def _end(self) -> int:
        assert self.server.stdout is not None
        while True:  # the merge prints its own line on success
            line = self.server.stdout.readline().strip()
            if line.lstrip("-").isdigit():
                return int(line)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of about 12 MB each: large enough that a kill meets the writing."""
    folder = tmp_path_factory.mktemp("large")
    for i, name in enumerate(("rm", "sft")):
        save_model(folder / name, seed=i, reward=name == "rm", rows=12000, hidden_size=256, intermediate_size=32)
    return folder


@pytest.fixture(scope="module")
def merges(large: Path) -> Iterator[Merges]:
    server = Merges(large)
    yield server
    server.server.communicate()


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_merge_is_absent_or_complete(merges: Merges, tmp_path: Path, stop: signal.Signals) -> None:
    assert merges.run(tmp_path / "warm") == 0
    began = time.perf_counter()
    assert merges.run(tmp_path / "whole") == 0
    took = time.perf_counter() - began
    chance, complete = random.Random(int(stop)), 0
    for i in range(6):
        out = tmp_path / f"out{i}"
        code = merges.run(out, stop, chance.uniform(0, took))
        if out.exists():
            complete += 1
            assert weights_hash(out) == weights_hash(tmp_path / "whole")
            assert read_merge_folder(out) == read_merge_folder(tmp_path / "whole")
        elif stop != signal.SIGKILL:
            assert code == 130
            assert not list(tmp_path.glob(".*"))
    assert complete < 6
    assert merges.run(tmp_path / "after") == 0  # and it sweeps what killed ones have left
    assert not list(tmp_path.glob(".*"))


def test_a_living_writers_folder_is_not_swept(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a") as first:
        (first / "x").write_text("1")
        with whole_folder(tmp_path / "b") as second:
            assert first.exists()
            (second / "x").write_text("2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_dead_writers_folder_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".a.merging-0123456789ab").mkdir()
    (tmp_path / ".a.merging-0123456789ab" / "x").write_text("1")
    (tmp_path / ".unrelated").mkdir()
    with whole_folder(tmp_path / "a"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".unrelated", "a"]


def test_an_error_inside_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "a") as folder:
            (folder / "x").write_text(json.dumps(1))
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert list(tmp_path.iterdir()) == []
