"""A store in a temporary folder, and a small real disk that can be full or read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from results.store import Store, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "h.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(path) as opened:
        yield opened


class SmallDisk:
    """A mounted tmpfs; `resize` and `read_only` change it under the program's feet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def options(self, text: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{text}", str(self.folder)], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """4 MB that are really full when they are full; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("cannot mount a tmpfs here (needs root): the full disk cannot be made")
    yield SmallDisk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@pytest.fixture
def holder(path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A second, real process that opens `path` for writing, says so, and holds it until its input closes."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str = "sys.stdin.read()") -> subprocess.Popen[str]:
        program = (
            "import sys\nfrom pathlib import Path\nfrom results.store import open_store\n"
            "with open_store(Path(sys.argv[1])) as store:\n    print('open', flush=True)\n    " + code
        )
        command = [sys.executable, "-c", program, str(path)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
