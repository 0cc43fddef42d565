"""What bench/merge.py compares with: programs of other people, and how their CPU seconds are taken."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from _models import write_model

LAMBDA = 0.35


def figure(name: str, value: float | None, target: str, ok: bool | None, **more: Any) -> dict[str, Any]:
    """One line of the output; `ok` None: not measured, `reason` says why."""
    return {"name": name, "value": None if value is None else round(value, 4), "target": target, "ok": ok, **more}


def environment(*, passive: bool) -> dict[str, str]:
    """This environment without thread settings; `passive`: waiting threads sleep."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "GOMP_"))}
    return plain | {"HF_HUB_OFFLINE": "1"} | ({"OMP_WAIT_POLICY": "passive"} if passive else {})


def mergekit(
    folder: Path, program: str | None, size: str, total: float, merge_only: float, *, small: bool
) -> list[dict[str, Any]]:
    names = ("mergekit / ours, CPU", "mergekit / ours, CPU of the merge only")

    def unmeasured(reason: str) -> list[dict[str, Any]]:
        return [figure(n, None, t, None, reason=reason) for n, t in zip(names, (">= 5", ">= 8"), strict=True)]

    if program is None:
        return unmeasured("mergekit-yaml is not installed (--mergekit PROGRAM)")
    # mergekit refuses a classifier beside a causal model: a classifier copy of the expert stands in for it.
    write_model(folder / "sft_cls", size, reward=True, seed=2)
    recipe = {
        "merge_method": "linear", "dtype": "bfloat16",
        "models": [
            {"model": str(folder / "rm"), "parameters": {"weight": 1 - LAMBDA}},
            {"model": str(folder / "sft_cls"), "parameters": {"weight": LAMBDA}},
        ],
    }  # fmt: skip
    (folder / "mergekit.yaml").write_text(json.dumps(recipe))
    python = Path(program).parent / "python"
    imports = [str(python), "-c", "import mergekit.merge, mergekit.scripts.run_yaml, transformers"]
    command = [program, str(folder / "mergekit.yaml"), str(folder / "mk"), "--allow-crimes"]
    found: dict[bool, list[float]] = {}
    for passive in (False, True):
        starts, wholes = [], []
        for _ in range(3):
            starts.append(children(imports, passive=passive))
            wholes.append(children(command, passive=passive))
            shutil.rmtree(folder / "mk", ignore_errors=True)
        if None in starts or None in wholes:
            return unmeasured(f"{program} failed")
        start, whole = (min(filter(None, seconds)) for seconds in (starts, wholes))
        found[passive] = [whole, whole - start]
    whole, only = found[False]
    figures = [
        figure(names[0], whole / total, ">= 5", None if small else whole / total >= 5, seconds=round(whole, 2)),
        figure(names[1], only / merge_only, ">= 8", only / merge_only >= 8, seconds=round(only, 2)),
    ]
    for name, seconds, ours in zip(names, found[True], (total, merge_only), strict=True):
        figures.append(
            figure(f"{name}, its threads asleep", seconds / ours, "reported", True, seconds=round(seconds, 2))
        )
    return figures


def children(command: list[str], *, passive: bool = False, **settings: str) -> float | None:
    """CPU seconds of a program, None where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = environment(passive=passive) | settings
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
