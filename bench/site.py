"""The leaderboard site at full size: 21 candidates x 4 tasks, every example of Best-of-16 included, made-up data.

Build time (wall and processor), peak memory of the building process, sizes of the index and of the largest shard,
the time Chromium takes to load the index, and what twice as many candidates cost. One JSON line a figure, exit 1
where a target is missed. `--quick`: a tenth of the examples, the same targets; a busy machine shows as wall time
far above processor time.
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

ROOT = Path(__file__).resolve().parent.parent
CANDIDATES = 21


def main() -> int:
    """Write the databases here, build each in a process of its own, so that memory and time are the build's alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the examples")
    parser.add_argument("--build", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.build:
        print(json.dumps(_build(*map(Path, args.build))))
        return 0
    scale = 0.1 if args.quick else 1.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        once, site = _measured(folder, CANDIDATES, scale)
        twice, _ = _measured(folder, 2 * CANDIDATES, scale)
        figures = _figures(once, twice, site)
    for figure in figures:
        print(json.dumps(figure))
    return 0 if all(figure["ok"] is not False for figure in figures) else 1


def _measured(folder: Path, candidates: int, scale: float) -> tuple[dict[str, float], Path]:
    db, out = folder / f"{candidates}.duckdb", folder / f"site-{candidates}"
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    import synthetic_site as made  # type: ignore[import-not-found]

    people = made.sweep(candidates, controls=False)
    made.write_database(db, made.Spec(people, scale=scale, pool=16, words=100))
    command = [sys.executable, __file__, "--build", str(db), str(out)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    found: dict[str, float] = json.loads(done.stdout)
    return found, out


def _build(db: Path, out: Path) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    from leaderboard.render import build_site

    build_site(db, out)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _figures(once: dict[str, float], twice: dict[str, float], site: Path) -> list[dict[str, object]]:
    index = (site / "index.html").stat().st_size / 1000
    shard = max(path.stat().st_size for path in (site / "examples").iterdir()) / 1000
    total = sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
    ratio = twice["cpu"] / once["cpu"]
    loaded = _load_ms(site / "index.html")
    return [
        _figure("site_build_seconds", once["seconds"], 20),
        _figure("site_build_cpu_seconds", once["cpu"], 40),  # two cores for the target's 20 s
        _figure("site_build_peak_mb", once["mb"], 1000),
        _figure("site_cpu_of_twice_the_candidates", ratio, 2.5),
        _figure("site_index_kb", index, 150),
        _figure("site_largest_shard_kb", shard, 600),
        {"name": "site_total_mb", "value": round(total, 1), "target": None, "ok": None},
        _figure("site_index_load_ms", loaded, 500) if loaded is not None else _absent("site_index_load_ms"),
    ]


def _load_ms(index: Path) -> float | None:
    """Navigation start to the end of the load event, the fastest of five, in headless Chromium; None without it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*sandbox, "--disable-gpu"])
        times = []
        for _ in range(5):
            page = browser.new_page()
            page.goto(index.as_uri())
            entry = "performance.getEntriesByType('navigation')[0].loadEventEnd"
            page.wait_for_function(f"{entry} > 0")
            times.append(float(page.evaluate(entry)))
            page.close()
        browser.close()
    return min(times)


def _figure(name: str, value: float, target: float) -> dict[str, object]:
    return {"name": name, "value": round(value, 2), "target": target, "ok": bool(value <= target)}


def _absent(name: str) -> dict[str, object]:
    return {"name": name, "value": None, "target": 500, "ok": None, "why": "playwright or chromium is not here"}


if __name__ == "__main__":
    sys.exit(main())
