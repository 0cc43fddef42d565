"""A merge that is stopped at any moment leaves a complete folder or none, and leftovers do not stay for ever."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from merging_models import save_model

from harness._hashing import weights_hash
from harness.config import Expert, Recipe
from harness.errors import MergeError
from harness.merging._folder import whole_folder
from harness.merging._plan import plan_merge
from harness.merging._provenance import read_merge_folder
from harness.merging._writer import write_merge

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

    def seconds(self, out: Path) -> float:
        """How long an undisturbed merge takes until its folder appears (the process goes on for a while)."""
        assert self.server.stdin is not None
        print(out, file=self.server.stdin, flush=True)
        self._line()
        began = time.perf_counter()
        while not out.exists() and time.perf_counter() - began < 60:
            time.sleep(0.001)
        took = time.perf_counter() - began
        assert self._end() == 0
        return took

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


@pytest.mark.parametrize(
    ("stop", "times"),
    [
        (signal.SIGKILL, 4), (signal.SIGINT, 3), (signal.SIGTERM, 3),
        pytest.param(signal.SIGKILL, 100, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_stopped_merge_is_absent_or_complete(
    merges: Merges, tmp_path: Path, stop: signal.Signals, times: int
) -> None:
    took = min(merges.seconds(tmp_path / name) for name in ("warm", "whole"))
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    chance, complete, writing, met = random.Random(int(stop)), 0, 0, 0
    while met < times:
        out = tmp_path / f"out{met}"
        code = merges.run(out, stop, chance.uniform(0, took))
        met += code != 0  # the signal met a running merge
        if out.exists():
            complete += code != 0
            assert sorted(path.name for path in out.iterdir()) == files
            assert weights_hash(out) == weights_hash(tmp_path / "whole")
            assert read_merge_folder(out) == read_merge_folder(tmp_path / "whole")
            shutil.rmtree(out)
        elif stop != signal.SIGKILL:
            assert code in (130, -stop)  # the latter: before the first line of the command
            assert not list(tmp_path.glob(".*"))
        left = list(tmp_path.glob(".*"))
        writing += bool(left)
        assert len(left) <= 1  # a killed one's: the next merge sweeps it
    print(f"{times} x {stop.name}: {times - complete} absent ({writing} left while writing), {complete} complete")
    assert complete < times
    assert merges.run(tmp_path / "after") == 0
    assert not list(tmp_path.glob(".*"))


_AT_WRITE = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from harness.cli import main as cli
calls, last = itertools.count(), int(sys.argv[1])
def deadly(owner, name):
    real = getattr(owner, name)
    def call(*arguments, **more):
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **more)
    setattr(owner, name, call)
for owner, names in ((os, ["pwrite", "posix_fallocate", "fsync", "rename", "mkdir"]), (shutil, ["copyfile"]),
                     (Path, ["write_text", "mkdir", "rename"])):
    for name in names:
        deadly(owner, name)
cli.main(["merge", "--rm", sys.argv[2], "--sft", sys.argv[3], "--lambda", "0.35", "-o", sys.argv[4]])
"""


@pytest.mark.slow
def test_killed_at_each_write(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """SIGKILL just before every single call that changes the disk, one merge each."""
    ends = []
    for i in range(200):
        out = tmp_path / "out"
        command = [sys.executable, "-c", _AT_WRITE, str(i), *map(str, pair), str(out)]
        code = subprocess.run(command, capture_output=True).returncode
        ends.append(out.exists())
        assert not out.exists() or read_merge_folder(out) is not None
        if code == 0:
            break
        assert code == -signal.SIGKILL
        shutil.rmtree(out, ignore_errors=True)
    print(f"{len(ends) - 1} kills, complete in {sum(ends[:-1])}")
    assert ends[-1]
    assert ends == sorted(ends)
    assert len(ends) > 40
    assert not list(tmp_path.glob(".*"))


def test_a_disk_of_any_size_holds_all_or_nothing(large: Path, tmp_path: Path) -> None:
    """A real tmpfs, from too small for the first file to just enough; and again, killed where it is full."""
    tool, place = shutil.which("mount"), tmp_path / "disk"
    if os.geteuid() != 0 or tool is None:
        pytest.skip("mounting a tmpfs needs root")
    place.mkdir()
    needed = sum(path.stat().st_size for path in (large / "rm").iterdir())
    recipe = Recipe(rm=str(large / "rm"), experts=[Expert(model=str(large / "sft"), weight=0.35)])
    outcomes = []
    for share in (0.01, 0.3, 0.9, 0.99, 0.995, 1.0, 1.005, 1.02, 1.1):
        done = subprocess.run([tool, "-t", "tmpfs", "-o", f"size={int(share * needed)}", "none", str(place)])
        if done.returncode:
            pytest.skip("mounting a tmpfs failed")
        try:
            with contextlib.suppress(MergeError):
                write_merge(plan_merge(recipe), place / "out")
            outcomes.append((place / "out").exists())
            assert [path.name for path in place.iterdir()] == ["out"] * outcomes[-1]
            assert not outcomes[-1] or read_merge_folder(place / "out") is not None
        finally:
            subprocess.run(["umount", str(place)], check=True)
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert outcomes == sorted(outcomes)


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
