"""What is said of a lost worker, and where the kernel's count of its victims is found."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")

from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

from harness.executors._losses import Coroner, Loss, Place, kernel_kills


def counters(root: Path, **files: int) -> Path:
    for name, count in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"low 7\noom_kill_disable 0\noom 9\noom_kill {count}\n")
    return root


@pytest.mark.parametrize(
    ("listing", "files", "expected"),
    [
        ("0::/job/step\n", {"job__step__memory_DOT_events": 3, "memory_DOT_events": 8}, 3),  # version 2
        ("0::/../x\n", {"memory_DOT_events": 2}, 2),  # in a container: its own group is the root
        ("4:memory:/a\n0::/\n", {"memory__a__memory_DOT_oom_control": 5, "memory_DOT_events": 8}, 5),  # version 1
        ("4:cpu,memory:/docker/1\n", {"memory__memory_DOT_oom_control": 6}, 6),
        ("1:cpu:/\n0::/\n", {}, 1),  # a machine without groups counts for itself
        ("", {}, 1),
    ],
)
def test_the_count_is_that_of_the_workers_own_control_group(
    tmp_path: Path, listing: str, files: dict[str, int], expected: int
) -> None:
    groups = counters(tmp_path / "groups", **files)
    machine = counters(tmp_path, vmstat=1) / "vmstat"
    assert kernel_kills(listing, groups, machine) == expected


def test_nothing_to_be_read_is_nobody_killed(tmp_path: Path) -> None:
    assert kernel_kills("0::/\n", tmp_path, tmp_path / "none") == 0


def died(words: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = words
    return error


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("chunk", "Traceback", cause)


HERE = Place("5e" * 28, "node7", 4)
SAID = "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.1, ID: a) was"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfMemoryError(f"{SAID} 60.8GB used / 62.1GB limit (0.98)"),
         Loss("out of memory: Ray ended it on node7 at 60.8GB used / 62.1GB", memory=True)),
        (OutOfMemoryError("other words"), Loss("out of memory: Ray ended it on node7", memory=True)),
        (died(f"{SAID} 1GB used / 2GB limit"),
         Loss("out of memory: Ray ended it on node7 at 1GB used / 2GB", memory=True)),
        (died("The actor died because its node has died."), Loss("its node died")),
        (raised(MemoryError()), Loss("out of memory on node7: MemoryError", memory=True)),
        (raised(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you\nmore")),
         Loss("out of memory on node7: RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you",
              memory=True)),
        (raised(ZeroDivisionError("by zero")), Loss("ZeroDivisionError: by zero")),
    ],
)  # fmt: skip
def test_what_is_known_without_asking_the_node(error: Exception, expected: Loss) -> None:
    assert Coroner().examine(error, HERE) == expected  # type: ignore[arg-type]


def test_each_death_of_the_kernels_doing_is_one_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node counts two more than when its first worker came: two workers died of it, the third of something else."""
    coroner = Coroner()
    coroner.arrived(HERE)
    coroner.arrived(Place(HERE.node, "node7", 6))  # a replacement that came later
    monkeypatch.setattr("harness.executors._losses.ray.get", lambda *_args, **_more: 6)
    monkeypatch.setattr("harness.executors._losses.ray.remote", lambda _function: Remote())
    silent = died("Worker unexpectedly exits with a connection error code 2. End of file.")
    told = [coroner.examine(silent, HERE) for _ in range(3)]
    assert told == [*[Loss("out of memory: the kernel killed it on node7", memory=True)] * 2, Loss("its process died")]
    assert told[0].advice
    assert not told[2].advice
    assert coroner.examine(silent, None) == Loss("its process died")  # nobody knows where it was


class Remote:
    def options(self, **_: object) -> Remote:
        return self

    def remote(self) -> object:
        return self
