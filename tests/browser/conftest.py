"""A real Chromium on a real site, opened from file://; skips, with the reason, where there is none."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leaderboard.render import Extra, build_site

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')")

# Chromium itself looks for updates and more; a test that counts requests must not see those.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """Made-up databases: tests/support/synthetic_site.py."""
    path = Path(__file__).parent.parent / "support" / "synthetic_site.py"
    spec = importlib.util.spec_from_file_location("synthetic_site", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on the path (apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=[*sandbox, "--disable-gpu", *QUIET])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven merges, their reward model, a rule and a replayed model on four tasks; two runs are kept apart."""
    folder = tmp_path_factory.mktemp("browser")
    statuses = {("somebody's 7B", "gsm8k_bon"): ("partial", "--limit 9")}
    people = [*synthetic.sweep(5), *synthetic.baselines()]
    db = synthetic.write_database(folder / "h.duckdb", synthetic.Spec(people, scale=0.12, statuses=statuses))
    return build_site(db, folder / "site", extra=Extra("About", ["Made up."], [(["a"], [["1"]])])).parent


@pytest.fixture(scope="session")
def tied_site(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two candidates whose rewards come in coarse steps, so that many examples are tied."""
    folder = tmp_path_factory.mktemp("tied")
    tasks = ["rewardbench", "autoj", "gsm8k_bon"]
    spec = synthetic.Spec(synthetic.sweep(2, controls=False), tasks=tasks, scale=0.06, round_to=1.0)
    return build_site(synthetic.write_database(folder / "h.duckdb", spec), folder / "site").parent


@pytest.fixture
def open_page(chromium: Any, site: Path) -> Iterator[Any]:
    """open_page("index.html#sort=lam", width=...) -> page; fails the test on console errors and foreign requests."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def go(address: str, *, folder: Path = site, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: troubles.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: troubles.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith((folder.as_uri(), "data:")) else troubles.append(r.url))
        page.set_default_timeout(15_000)
        page.goto(f"{folder.as_uri()}/{address}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="session")
def axe() -> str:
    """Source of axe-core, from HARNESS_AXE (path of axe.min.js) or a local node_modules; skips without it."""
    places = [Path(os.environ["HARNESS_AXE"])] if "HARNESS_AXE" in os.environ else []
    places.append(Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js")
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        pytest.skip("axe-core is not here: npm install axe-core, or set HARNESS_AXE to its axe.min.js")
    return found.read_text(encoding="utf-8")
