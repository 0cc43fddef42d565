"""Control groups of both versions, on made-up trees: a test cannot choose its kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.sandbox import _cgroup
from tasks.sandbox._sweeper import clear


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_version_2_uses_the_nearest_folder_that_has_both_controllers(tmp_path: Path) -> None:
    root = _tree(tmp_path, {"app/cgroup.subtree_control": "cpu memory pids\n", "app/run/cgroup.subtree_control": "\n"})
    listing = "0::/app/run\n"
    assert _cgroup.available(listing, root)
    group = _cgroup.Group("candidate-0", 1 << 30, 48, root, listing)
    (folder,) = group.folders
    assert folder == root / "app" / f"harness-sandbox-{os.getpid()}-candidate-0"
    assert {p.name: p.read_text() for p in folder.iterdir()} == {
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "pids.max": "48",
    }
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert group.oom_kills() == 2


def test_version_1_uses_a_folder_per_controller(tmp_path: Path) -> None:
    root = _tree(tmp_path, {"memory/a/x": "", "pids/x": ""})
    group = _cgroup.Group("judge-1", 4096, 9, root, "4:memory:/a\n8:pids:/\n0::/\n")
    memory, pids = group.folders
    assert (memory / "memory.limit_in_bytes").read_text() == "4096"
    assert (pids / "pids.max").read_text() == "9"
    assert memory.parent == root / "memory/a"
    assert f"{memory}/cgroup.procs" in group.enter_command()[2]


@pytest.mark.parametrize("listing", ["", "0::/\n", "0::/gone\n", "3:cpu:/\n"])
def test_without_controllers_there_are_none(tmp_path: Path, listing: str) -> None:
    assert not _cgroup.available(listing, _tree(tmp_path, {"cgroup.subtree_control": "cpu io\n"}))


def test_clearing_never_signals_process_0(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group/cgroup.procs").write_text("0\n")  # a process of another namespace; kill(0) would be ourselves
    assert not clear(str(tmp_path / "group"))  # a real folder would not be empty for rmdir either


def test_groups_of_a_dead_owner_are_swept() -> None:
    if not _cgroup.available():
        pytest.skip("control groups cannot be written here")
    group = _cgroup.Group("test", 1 << 28, 8)
    stale = [folder.rename(folder.with_name(f"{_cgroup.PREFIX}{2**22 + 1}-x")) for folder in group.folders]
    _cgroup.sweep()
    assert [str(folder) for folder in stale if folder.exists()] == []
