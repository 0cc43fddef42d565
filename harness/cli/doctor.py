"""`harness doctor`: what is installed, which GPU, which sandbox tier, which data can be reached."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.cli.evaluate import DATA_DIR, JSON

PACKAGES = ("torch", "transformers", "datasets", "duckdb", "vllm", "ray")


def doctor(
    data_dir: DATA_DIR = None,
    as_json: JSON = False,
) -> None:
    """Say what this installation can do and what it lacks."""
    found: dict[str, Any] = {
        "packages": {name: _version(name) for name in PACKAGES},
        "device": _device(),
        "sandbox": _sandbox(),
        "data": _data(data_dir),
    }
    if as_json:
        print(json.dumps(found))
        return
    for name, installed in found["packages"].items():
        print(f"package  {name:13} {installed or 'not installed'}")
    print(f"device   {found['device']}")
    print(f"sandbox  {found['sandbox']}")
    for name, where in found["data"].items():
        print(f"data     {name:13} {where}")


def _version(package: str) -> str | None:
    for name in (package, f"{package}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return f"{torch.cuda.get_device_name(0)} ({free >> 30} of {total >> 30} GiB free)"
    return f"cpu, {os.cpu_count()} cores ({torch.get_num_threads()} threads)"


def _sandbox() -> str:
    from tasks._types import TaskError
    from tasks.sandbox import best_tier

    try:
        return best_tier().summary
    except TaskError as error:
        return str(error)


def _data(data_dir: Path | None) -> dict[str, str]:
    """Each benchmark's data: found under --data-dir, reachable on the hub, or neither."""
    from harness import plugins
    from tasks._types import LoadRequest, TaskError

    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    found = {}
    for name in sorted(plugins.known(plugins.TASKS)):
        if data_dir is None:
            found[name] = "the hub (HF_HUB_OFFLINE=1 forbids it)" if offline else "the hub, at a pinned revision"
            continue
        try:
            data = plugins.load_task(name).load(LoadRequest(data_dir=data_dir))
            found[name] = f"{len(data.examples)} examples under {data_dir}"
        except TaskError as error:
            found[name] = str(error)
    return found
