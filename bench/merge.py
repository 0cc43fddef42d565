"""Merging against its floors and its peers, all in one run on the same models.

Disk: one merge (planning, reading, writing; imports and process start reported apart) against copying the reward
model and reading the expert, in turn in one process, best wall of each. Whole commands, in CPU seconds, each in a
fresh process with no thread settings, as a user types them: `harness merge` on models that it has not seen before and
mergekit, the best of three, and the reference script's approach as published (both models whole in float32, a weighted
sum over the state dict, save_pretrained). "Merge only" is the same without imports. Some of mergekit's CPU time may be
threads that wait: it is reported with OMP_WAIT_POLICY=passive as well. Memory: the peak of one merge, and of one twice
the size.
Sweep: one lambda in memory against the bandwidth of a large copy, and against saving and loading again.

Prints one JSON line a figure and exits 1 where a target is missed. `--quick` uses models of 0.26 GB, where imports
outweigh the merge: whole commands have no target there. With `--device cuda` only the sweep figures are measured, on
that device (`--size 7b` for a 7B model).
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

from _merge_peers import LAMBDA, children, environment, figure, mergekit
from _models import write_model

SMALL = 500_000_000  # bytes of weights up to which imports outweigh a merge


def main() -> int:
    """Make the models, run each part in a process of its own, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="0.26 GB models instead of 1 GB")
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
    for found in figures:
        print(json.dumps(found))
    return 1 if any(found["ok"] is False for found in figures) else 0


def run(part: str, folder: Path, device: str = "cpu") -> dict[str, Any]:
    """One part in a fresh process, so that its memory and CPU seconds are its own."""
    env = environment(passive=part != "reference") | {"HARNESS_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, __file__, "--part", part, "--dir", str(folder), "--device", device]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found}


def _disk(folder: Path, size: str, nbytes: int, program: str | None) -> list[dict[str, Any]]:
    ours, reference = run("disk", folder), run("reference", folder)
    write_model(folder / "double" / "rm", f"{size} double", reward=True, seed=1)
    write_model(folder / "double" / "sft", f"{size} double", reward=False, seed=2)
    double = run("disk", folder / "double")
    shutil.rmtree(folder / "double")
    wall, floor = min(ours["walls"]), min(ours["floor_walls"])
    total, merge_only = _command(folder), min(ours["cpus"])
    figures = [
        figure("disk merge / copy floor, wall", wall / floor, "<= 1.3", wall / floor <= 1.3,
               gigabytes=round(nbytes / 1e9, 3), seconds=round(wall, 3), floor_seconds=round(floor, 3),
               import_seconds=round(ours["start_wall"], 2), first_seconds=round(ours["walls"][0], 3)),
        figure("disk merge, CPU seconds", merge_only, "reported", True, floor=round(min(ours["floor_cpus"]), 3),
               whole_command=round(total, 3)),
        figure("disk merge, peak MB", ours["peak_mb"], "<= 350", ours["peak_mb"] <= 350),
        figure("peak of a doubled model / peak", double["peak_mb"] / ours["peak_mb"], "<= 1.1",
               double["peak_mb"] / ours["peak_mb"] <= 1.1),
        figure("reference approach / ours, CPU", reference["cpu"] / total, ">= 5",
               reference["cpu"] / total >= 5 if nbytes > SMALL else None,
               seconds=round(reference["cpu"], 2), peak_mb=reference["peak_mb"]),
        figure("reference approach / ours, CPU of the merge only", reference["merge_cpu"] / merge_only, ">= 8",
               reference["merge_cpu"] / merge_only >= 8, seconds=round(reference["merge_cpu"], 2)),
    ]  # fmt: skip
    program = program or shutil.which("mergekit-yaml")
    return figures + mergekit(folder, program, size, total, merge_only, small=nbytes <= SMALL)


def _command(folder: Path) -> float:
    """CPU seconds of `harness merge`, best of three, each on models whose hashes are not known yet."""
    found = []
    for i in range(3):
        command = [sys.executable, "-m", "harness", "merge", "--rm", str(folder / "rm"), "--sft", str(folder / "sft"),
                   "--lambda", str(LAMBDA), "-o", str(folder / "merged")]  # fmt: skip
        spent = children(command, HARNESS_CACHE_DIR=str(folder / f"cache{i}"))
        if spent is None:
            raise SystemExit("harness merge failed")
        found.append(spent)
        shutil.rmtree(folder / "merged")
    return min(found)


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


def _floor(folder: Path) -> tuple[float, float]:
    """Copy the reward model, make it durable as the merge does, read the expert once: (wall, CPU) seconds."""
    block = bytearray(1 << 20)
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
    return time.perf_counter() - wall, _cpu() - cpu


def part_disk(folder: Path, _device: str) -> dict[str, Any]:
    """Merges and their floor in turn; the first merge also hashes the parents."""
    recipe = _recipe(folder)
    from harness.merging import linear  # noqa: F401  counted as an import
    from harness.merging._plan import plan_merge
    from harness.merging._writer import write_merge

    start_wall = time.perf_counter() - STARTED
    walls, cpus, floors = [], [], []
    for _ in range(6):
        floors.append(_floor(folder))
        shutil.rmtree(folder / "out", ignore_errors=True)
        wall, cpu = time.perf_counter(), _cpu()
        write_merge(plan_merge(recipe), folder / "out")
        walls.append(time.perf_counter() - wall)
        cpus.append(_cpu() - cpu)
    for name in ("out", "copy"):
        shutil.rmtree(folder / name)
    return {
        "walls": walls, "cpus": cpus, "floor_walls": [f[0] for f in floors], "floor_cpus": [f[1] for f in floors],
        "start_wall": start_wall, "peak_mb": _peak(),
    }  # fmt: skip


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


PARTS = {"disk": part_disk, "reference": part_reference, "sweep": part_sweep}
STARTED = time.perf_counter()

if __name__ == "__main__":
    sys.exit(main())
