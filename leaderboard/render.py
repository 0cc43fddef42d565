"""From a results database to a folder of pages that open from file://, without a network and without JavaScript.

Each page is self-contained: styles and scripts are inside it, allowed by their hashes in a strict content
security policy. Everything that a model or a user wrote passes through `view.finalize` and autoescaping.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leaderboard import view
from leaderboard._candidates import Sweep
from leaderboard._publish import publish
from leaderboard.board import Board, build_board
from leaderboard.downloads import write_downloads
from leaderboard.history import History, build_history
from leaderboard.nights import Night, as_text
from leaderboard.pages._common import Extra, Site, unique_files, unique_names
from leaderboard.pages.compare import compare_page
from leaderboard.pages.history import history_page
from leaderboard.pages.nights import nights_page
from leaderboard.pages.overview import LEVELS, overview, sweep_name
from leaderboard.pages.provenance import provenance
from leaderboard.pages.sweeps import Choice, choices, sweep_page
from leaderboard.pages.task import task_page
from leaderboard.shards import TaskShards, write_shards
from results import queries
from results.check import conflicts_by_run
from results.queries_page import example_texts
from results.store import Store, open_store

INDEX_BUDGET = 150_000  # bytes; what does not fit is on the other pages

__all__ = ["Extra", "build_site"]


def build_site(
    db: Path,
    out: Path,
    *,
    baseline: str | None = None,
    tasks: Sequence[str] | None = None,
    extra: Extra | None = None,
    nights: Sequence[Night] = (),
    wait: bool = False,
    notify: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the site of a results database into the folder `out`; returns its index.html.

    `baseline` is a candidate's name or the start of its id, `tasks` the ones to show (all by default), `extra`
    a section for the overview, `nights` the records for the page of nights, oldest first; `wait` for another process
    that has the database open.
    The folder appears whole or not at all, and replaces only an older site.
    Raises LeaderboardError or StoreError, one sentence.
    """
    with open_store(db, read_only=True, wait=wait, notify=notify) as store, publish(out) as folder:
        every = queries.runs(store)
        board = build_board(
            queries.runs(store, latest=True),
            lambda run: queries.run_rewards(store, dict(run)),
            baseline=baseline,
            tasks=tasks,
            conflicts=conflicts_by_run(store),
            notify=notify,
        )
        site = _site(board, db, extra)
        shards = _shards(store, folder, site, notify)
        shown = {task.name for task in board.tasks}
        history = build_history(
            [run for run in every if run["task"] in shown],
            {e.run["id"]: e.score for t in board.tasks for e in t.ranked if e.score},
            lambda run: queries.run_rewards(store, dict(run)),
        )
        _write_pages(folder, site, shards, history, nights, notify)
    return out / "index.html"


def _site(board: Board, db: Path, extra: Extra | None) -> Site:
    return Site(
        board=board,
        names=unique_names(board.candidates),
        task_files=unique_files([task.name for task in board.tasks], "task"),
        sweep_files=_sweep_files(board),
        built=view.moment(datetime.now(UTC)),
        version=_version(),
        database=db.name,
        extra=extra,
    )


def _sweep_files(board: Board) -> dict[str, str]:
    """By reward model; two of the same name get numbered files."""
    names = [f"{s.rm or s.rm_id}\0{i}" for i, s in enumerate(board.sweeps)]
    files = unique_files([name.split("\0")[0] for name in names], "sweep")
    if len(files) < len(names):
        files = unique_files(names, "sweep")
        return {s.rm_id: files[name] for s, name in zip(board.sweeps, names, strict=True)}
    return {s.rm_id: files[name.split("\0")[0]] for s, name in zip(board.sweeps, names, strict=True)}


def _shards(store: Store, folder: Path, site: Site, notify: Callable[[str], None]) -> dict[str, TaskShards]:
    """Examples of every task with two ranked candidates, for the compare page."""
    found = {}
    for task in site.board.tasks:
        if len(task.ranked) < 2:
            continue
        notify(f"{task.name}: writing examples")
        texts = example_texts(store, task.ranked[0].run["dataset_key"])
        shards = write_shards(folder, site.stem(task), texts, task.measured)
        if shards is not None:
            found[task.name] = shards
    return found


def _version() -> str:
    try:
        return version("merged-rm-harness")
    except PackageNotFoundError:
        return "(not installed)"


def _write_pages(
    folder: Path,
    site: Site,
    shards: Mapping[str, TaskShards],
    history: History,
    nights: Sequence[Night],
    notify: Callable[[str], None],
) -> None:
    chosen = {sweep.rm_id: _choices(site, sweep, notify) for sweep in site.board.sweeps}
    downloads = write_downloads(folder, site, history, chosen)
    pages = Pages(folder, site, downloads, [("nights.html", "Nights")] if nights else [])
    if nights:
        pages.write("nights.html", "Nights", nights_page(nights))
        (folder / "night.json").write_text(as_text(nights[-1]), encoding="utf-8")
    for task in site.board.tasks:
        file = site.task_files[task.name]
        pages.write(file, task.name, task_page(site, task), template="task.html.j2", scripts=["common.js", "matrix.js"])
    for sweep in site.board.sweeps:
        page = sweep_page(site, sweep, chosen[sweep.rm_id])
        pages.write(site.sweep_files[sweep.rm_id], f"Sweep of {page['rm']}", page, template="sweep.html.j2")
    notify("writing pages")
    for level in LEVELS:
        size = pages.write("index.html", "Overview", overview(site, level), scripts=["common.js", "table.js"])
        if size <= INDEX_BUDGET:
            break
    pages.write("history.html", "History", history_page(site, history))
    pages.write("provenance.html", "Provenance", provenance(site))
    comparison = compare_page(site, shards)
    scripts = ["common.js", "compare.js"] if comparison["tasks"] else ["common.js"]
    pages.write("compare.html", "Compare", comparison, scripts=scripts, files_allowed=True)


def _choices(site: Site, sweep: Sweep, notify: Callable[[str], None]) -> list[Choice]:
    notify(f"{sweep_name(site, sweep)}: choosing λ honestly")
    return choices(site.board, sweep)


class Pages:
    """Renders templates into files; the menu is the same on all of them."""

    def __init__(
        self,
        folder: Path,
        site: Site,
        downloads: Mapping[str, Sequence[str]],
        more: Sequence[tuple[str, str]] = (),  # pages that not every site has: (file, name)
    ) -> None:
        self._folder, self._site, self._downloads = folder, site, downloads
        self._templates = Environment(
            loader=PackageLoader("leaderboard", "templates"),
            autoescape=True,
            finalize=view.finalize,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.do"],
        )
        self._menu = [
            ("index.html", "Overview"),
            *((file, name) for name, file in site.task_files.items()),
            *((site.sweep_files[s.rm_id], f"Sweep: {sweep_name(site, s)}") for s in site.board.sweeps),
            ("compare.html", "Compare"),
            ("history.html", "History"),
            *more,
            ("provenance.html", "Provenance"),
        ]

    def write(
        self,
        file: str,
        title: str,
        page: dict[str, Any],
        *,
        template: str | None = None,
        scripts: Sequence[str] = ("common.js",),
        files_allowed: bool = False,
    ) -> int:
        """One page; returns its size in bytes. `files_allowed`: it may load scripts of this folder (shards)."""
        css = static("site.css")
        code = [static(name) for name in scripts]
        html = self._templates.get_template(template or f"{file}.j2").render(
            site=self._site,
            page=page,
            here=file,
            title=f"{title} · Merged reward models",
            menu=self._menu,
            downloads=self._downloads,
            data=Markup(data_block(page.get("data"))),
            css=Markup(css),
            scripts=Markup("\n".join(f"<script>{text}</script>" for text in code)),
            csp=policy(css, code, files_allowed=files_allowed),
        )
        return (self._folder / file).write_bytes(html.encode())


def data_block(value: Any) -> str:
    """JSON for a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def static(name: str) -> str:
    """One of our own style sheets or scripts."""
    return (files("leaderboard") / "static" / name).read_text(encoding="utf-8")


def policy(css: str, scripts: Sequence[str], *, files_allowed: bool) -> str:
    """A content security policy that allows exactly these inline texts, and no request to anywhere."""
    allowed = [_hash(text) for text in scripts]
    if files_allowed:  # 'self' means nothing to a page opened from file://
        allowed += ["'self'", "file:"]
    scripts_from = " ".join(allowed) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts_from}; style-src {_hash(css)}; img-src data:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
