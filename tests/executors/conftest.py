"""A real cluster of three raylets on this machine, and a backend that has accidents."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))  # executors_support


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH with which `--backend unruly` is known, as an installed package would make it."""
    folder = tmp_path_factory.mktemp("plugin")
    about = folder / "unruly_backend-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: unruly-backend\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[merged_rm_harness.backends]\nunruly = unruly\n")
    return os.pathsep.join([str(folder), str(HERE), str(ROOT)])


@dataclass
class Nodes:
    """A head without CPUs, where the driver is, and two nodes with one CPU each."""

    cluster: Any
    workers: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def fill(self) -> None:
        """Two working nodes, whatever was killed before."""
        while len(self.workers) < 2:
            more = {"sandbox": 1} if not self.workers else {}
            self.workers.append(
                self.cluster.add_node(num_cpus=1, num_gpus=0, resources=more, object_store_memory=80 << 20)
            )
        self.cluster.wait_for_nodes()

    def kill(self) -> None:
        """SIGKILL to one node's raylet; what ran there dies with it."""
        self.cluster.remove_node(self.workers.pop(), allow_graceful=False)


@pytest.fixture(scope="session")
def started(plugin: str) -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    from ray.cluster_utils import Cluster

    held = dict(os.environ)
    os.environ.update(PYTHONPATH=plugin, OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0", RAY_ADDRESS="")
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": quick})
    yield Nodes(cluster)
    cluster.shutdown()
    os.environ.clear()
    os.environ.update(held)


@pytest.fixture
def nodes(started: Nodes) -> Nodes:
    started.fill()
    return started


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 examples with three responses each; prompts of very different lengths."""
    rows = [
        {"id": str(i), "prompt": f"what is {i} and {i} " * (1 + i % 5), "responses": [f"it is {2 * i}", "not that",
         "all of it " * (i % 4)], "correct": [True, False, False]} for i in range(120)
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("task") / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skips, with the reason, where programs cannot be run safely."""
    from tasks.sandbox import SandboxError, best_tier

    try:
        best_tier()
    except SandboxError as error:
        pytest.skip(f"no sandbox here: {error}")
