"""Merging against its floors and its peers, all in one run on the same models.

Disk: one merge (planning, reading, writing; imports and process start reported apart) against copying the reward
model and reading the expert, against mergekit, and against the reference script's approach as published: both
models whole in float32, a weighted sum over the state dict, save_pretrained. CPU seconds are the robust figure on a
busy machine; walls are the best of several. Memory: the peak of one merge, and of one twice the size. Sweep: one
lambda in memory against the bandwidth of a large copy, and against saving and loading again.

Prints one JSON line a figure and exits 1 where a target is missed. `--quick` uses models of 0.26 GB. With
`--device cuda` only the sweep figures are measured, on that device (`--size 7b` for a 7B model).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _models import write_model

LAMBDA = 0.35


def main() -> int:
    """Make the models, run each part in a process of its own, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="0.26 GB models instead of 0.9 GB")
    parser.add_argument("--size", help="small, medium or 7b; default: medium, with --quick small")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dir", type=Path, help="where to put the models (default: a temporary folder)")
    parser.add_argument("--mergekit", help="the mergekit-yaml program of an environment of its own")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part](args.dir, args.device)))
        return 0
    size = args.size or ("small" if args.quick else "medium")
    with tempfile.TemporaryDirectory(dir=args.dir) as place:
        folder = Path(place)
        nbytes = write_model(folder / "rm", size, reward=True, seed=1)
        write_model(folder / "sft", size, reward=False, seed=2)
        figures = _sweep(folder, nbytes, args.device)
        if args.device == "cpu":
            figures += _disk(folder, size, nbytes, args.mergekit)
    for figure in figures:
        print(json.dumps(figure))
    return 1 if any(figure["ok"] is False for figure in figures) else 0


def figure(name: str, value: float | None, target: str, ok: bool | None, **more: Any) -> dict[str, Any]:
    """One line of the output; `ok` None: not measured, `reason` says why."""
    return {"name": name, "value": None if value is None else round(value, 4), "target": target, "ok": ok, **more}


def run(part: str, folder: Path, device: str = "cpu") -> dict[str, Any]:
    """One part in a fresh process, so that its memory and CPU seconds are its own."""
    env = {
        **os.environ, "HARNESS_CACHE_DIR": str(folder / "cache"), "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    command = [sys.executable, __file__, "--part", part, "--dir", str(folder), "--device", device]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found}


def _disk(folder: Path, size: str, nbytes: int, mergekit: str | None) -> list[dict[str, Any]]:
    floor, ours, reference = (run(part, folder) for part in ("floor", "disk", "reference"))
    write_model(folder / "double" / "rm", f"{size} double", reward=True, seed=1)
    write_model(folder / "double" / "sft", f"{size} double", reward=False, seed=2)
    double = run("disk", folder / "double")
    shutil.rmtree(folder / "double")
    wall, floor_wall = min(ours["walls"]), min(floor["walls"])
    total, merge_only = ours["start_cpu"] + min(ours["cpus"]), min(ours["cpus"])
    figures = [
        figure("disk merge / copy floor, wall", wall / floor_wall, "<= 1.3", wall / floor_wall <= 1.3,
               gigabytes=round(nbytes / 1e9, 3), seconds=round(wall, 3), floor_seconds=round(floor_wall, 3),
               import_seconds=round(ours["start_wall"], 2), first_seconds=round(ours["walls"][0], 3)),
        figure("disk merge, CPU seconds", merge_only, "reported", True, floor=round(min(floor["cpus"]), 3)),
        figure("disk merge, peak MB", ours["peak_mb"], "<= 350", ours["peak_mb"] <= 350),
        figure("peak of a doubled model / peak", double["peak_mb"] / ours["peak_mb"], "<= 1.1",
               double["peak_mb"] / ours["peak_mb"] <= 1.1),
        figure("reference approach / ours, CPU", reference["cpu"] / total, ">= 5", reference["cpu"] / total >= 5,
               seconds=round(reference["cpu"], 2), peak_mb=reference["peak_mb"]),
        figure("reference approach / ours, CPU of the merge only", reference["merge_cpu"] / merge_only, ">= 8",
               reference["merge_cpu"] / merge_only >= 8, seconds=round(reference["merge_cpu"], 2)),
    ]  # fmt: skip
    return figures + _mergekit(folder, size, mergekit or shutil.which("mergekit-yaml"), total, merge_only)


def _mergekit(folder: Path, size: str, program: str | None, total: float, merge_only: float) -> list[dict[str, Any]]:
    names = ("mergekit / ours, CPU", "mergekit / ours, CPU of the merge only")
    if program is None:
        reason = "mergekit-yaml is not installed (--mergekit PROGRAM)"
        return [
            figure(names[0], None, ">= 5", None, reason=reason),
            figure(names[1], None, ">= 8", None, reason=reason),
        ]
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
    start = _children([str(python), "-c", "import mergekit.merge, mergekit.scripts.run_yaml, transformers"])
    whole = _children([program, str(folder / "mergekit.yaml"), str(folder / "mk"), "--allow-crimes"])
    shutil.rmtree(folder / "mk", ignore_errors=True)
    if start is None or whole is None:
        reason = f"{program} failed"
        return [
            figure(names[0], None, ">= 5", None, reason=reason),
            figure(names[1], None, ">= 8", None, reason=reason),
        ]
    ratios = whole / total, (whole - start) / merge_only
    return [
        figure(names[0], ratios[0], ">= 5", ratios[0] >= 5, seconds=round(whole, 2)),
        figure(names[1], ratios[1], ">= 8", ratios[1] >= 8, seconds=round(whole - start, 2)),
    ]


def _children(command: list[str]) -> float | None:
    """CPU seconds of a program, None where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _sweep(folder: Path, nbytes: int, device: str) -> list[dict[str, Any]]:
    found = run("sweep", folder, device)
    step, bound = min(found["steps"]), 3 * nbytes / found["bandwidth"]
    figures = [
        figure(f"one lambda in memory / bandwidth bound ({device})", step / bound, "<= 1.3", step / bound <= 1.3,
               milliseconds=round(1e3 * step, 2), bandwidth_gb_s=round(found["bandwidth"] / 1e9, 1),
               gigabytes=round(nbytes / 1e9, 3), device=found["device"]),
    ]  # fmt: skip
    if found["save_reload"] is not None:
        ratio = found["save_reload"] / step
        figures.append(figure("save and load again / one lambda in memory", ratio, ">= 4", ratio >= 4))
    return figures


def part_floor(folder: Path, _device: str) -> dict[str, Any]:
    """Copy the reward model, make it durable as the merge does, read the expert once."""
    walls, cpus = [], []
    block = bytearray(1 << 20)
    for _ in range(4):
        shutil.rmtree(folder / "copy", ignore_errors=True)
        wall, cpu = time.perf_counter(), _cpu()
        subprocess.run(["cp", "-r", str(folder / "rm"), str(folder / "copy")], check=True)
        for path in (folder / "copy").iterdir():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        for path in (folder / "sft").glob("*.safetensors"):
            with path.open("rb", buffering=0) as file:
                while file.readinto(block):
                    pass
        walls.append(time.perf_counter() - wall)
        cpus.append(_cpu() - cpu)
    shutil.rmtree(folder / "copy")
    return {"walls": walls, "cpus": cpus}


def part_disk(folder: Path, _device: str) -> dict[str, Any]:
    """Four merges; the first one also hashes the parents."""
    recipe = _recipe(folder)
    from harness.merging import linear  # noqa: F401  counted as an import
    from harness.merging._plan import plan_merge
    from harness.merging._writer import write_merge

    start_cpu, start_wall = _cpu(), time.perf_counter() - STARTED
    walls, cpus = [], []
    for _ in range(4):
        shutil.rmtree(folder / "out", ignore_errors=True)
        wall, cpu = time.perf_counter(), _cpu()
        write_merge(plan_merge(recipe), folder / "out")
        walls.append(time.perf_counter() - wall)
        cpus.append(_cpu() - cpu)
    shutil.rmtree(folder / "out")
    return {"walls": walls, "cpus": cpus, "start_cpu": start_cpu, "start_wall": start_wall, "peak_mb": _peak()}


def part_reference(folder: Path, _device: str) -> dict[str, Any]:
    """The approach of the reference script, from its description: whole models in float32, saved again."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    imported = _cpu()
    rm = AutoModelForSequenceClassification.from_pretrained(folder / "rm", dtype=torch.float32)
    sft = AutoModelForCausalLM.from_pretrained(folder / "sft", dtype=torch.float32)
    theirs, merged = sft.state_dict(), rm.state_dict()
    with torch.no_grad():
        for name in merged:
            if name in theirs:
                merged[name] = LAMBDA * theirs[name] + (1 - LAMBDA) * merged[name]
    rm.load_state_dict(merged)
    rm.to(torch.bfloat16).save_pretrained(folder / "reference")
    shutil.rmtree(folder / "reference")
    return {"cpu": _cpu(), "merge_cpu": _cpu() - imported, "peak_mb": _peak()}


def part_sweep(folder: Path, device: str) -> dict[str, Any]:
    """One lambda after another in a live model; the bandwidth of a copy; saving and loading again (CPU only)."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from harness.merging._live import LiveMerge

    recipe = _recipe(folder).model_copy(update={"sweep": [0.0, LAMBDA]})
    live = LiveMerge.of(recipe.model_copy(update={"experts": [recipe.experts[0].model_copy(update={"weight": None})]}),
                        device=device)  # fmt: skip

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    def timed(action: Any, times: int) -> list[float]:
        found = []
        for i in range(times):
            wait()
            start = time.perf_counter()
            action(i)
            wait()
            found.append(time.perf_counter() - start)
        return found

    timed(lambda _: live.set_weight(0.1), 1)  # both parents are seen and checked
    steps = timed(lambda i: live.set_weight((i % 9 + 1) / 10), 12)
    a = torch.ones(1 << (28 if device == "cpu" else 30), dtype=torch.uint8, device=device)
    b = torch.empty_like(a).fill_(2)
    bandwidth = 2 * a.numel() / min(timed(lambda _: b.copy_(a), 12))
    save_reload = None
    if device == "cpu":

        def again(_i: int) -> None:
            live.model.save_pretrained(folder / "saved")
            loaded = AutoModelForSequenceClassification.from_pretrained(folder / "saved", dtype=torch.bfloat16)
            sum(float(p.detach().view(-1)[::2048].sum()) for p in loaded.parameters())  # touch every page

        save_reload = min(timed(again, 2))
    name = torch.cuda.get_device_name() if device != "cpu" else f"{torch.get_num_threads()} threads"
    return {"steps": steps, "bandwidth": bandwidth, "save_reload": save_reload, "device": name}


def _recipe(folder: Path) -> Any:
    from harness.config import Expert, Recipe

    return Recipe(rm=str(folder / "rm"), experts=[Expert(model=str(folder / "sft"), weight=LAMBDA)])


def _cpu() -> float:
    """CPU seconds of this process and its finished children."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _peak() -> float:
    """Peak resident MB of this program alone (ru_maxrss would count what forked it)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


PARTS = {"floor": part_floor, "disk": part_disk, "reference": part_reference, "sweep": part_sweep}
STARTED = time.perf_counter()

if __name__ == "__main__":
    sys.exit(main())
