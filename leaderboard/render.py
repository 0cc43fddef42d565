"""From a results database to a folder of pages that open from file://, without a network and without JavaScript.

Each page is self-contained: styles and scripts are inside it, allowed by their hashes in a strict content
security policy. Everything that a model or a user wrote passes through `view.finalize` and autoescaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leaderboard import view
from leaderboard._publish import publish
from leaderboard.board import Board, build_board
from leaderboard.pages._common import Extra, Site, unique_names
from leaderboard.pages.overview import LEVELS, overview
from leaderboard.pages.provenance import provenance
from results import queries
from results.store import open_store

INDEX_BUDGET = 150_000  # bytes; what does not fit is on the other pages

__all__ = ["Extra", "build_site"]


def build_site(
    db: Path,
    out: Path,
    *,
    baseline: str | None = None,
    tasks: Sequence[str] | None = None,
    extra: Extra | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the site of a results database into the folder `out`; returns its index.html.

    `baseline` is a candidate's name or the start of its id, `tasks` the ones to show (all by default), `extra`
    a section for the overview. The folder appears whole or not at all, and replaces only an older site.
    Raises LeaderboardError or StoreError, one sentence.
    """
    with open_store(db, read_only=True) as store, publish(out) as folder:
        runs = queries.runs(store, latest=True)
        board = build_board(
            runs, lambda run: queries.run_rewards(store, dict(run)), baseline=baseline, tasks=tasks, notify=notify
        )
        notify("writing pages")
        _write_pages(folder, _site(board, db, extra))
    return out / "index.html"


def _site(board: Board, db: Path, extra: Extra | None) -> Site:
    return Site(
        board=board,
        names=unique_names(board.candidates),
        task_files={},
        built=view.moment(datetime.now(UTC)),
        version=_version(),
        database=db.name,
        extra=extra,
    )


def _version() -> str:
    try:
        return version("merged-rm-harness")
    except PackageNotFoundError:
        return "(not installed)"


def _write_pages(folder: Path, site: Site) -> None:
    pages = Pages(folder, site)
    for level in LEVELS:
        size = pages.write("index.html", "Overview", overview(site, level), scripts=["common.js", "table.js"])
        if size <= INDEX_BUDGET:
            break
    pages.write("provenance.html", "Provenance", provenance(site))


class Pages:
    """Renders templates into files; the menu is the same on all of them."""

    def __init__(self, folder: Path, site: Site) -> None:
        self._folder, self._site = folder, site
        self._templates = Environment(
            loader=PackageLoader("leaderboard", "templates"),
            autoescape=True,
            finalize=view.finalize,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.do"],
        )
        self._menu = [{"file": "index.html", "name": "Overview"}, {"file": "provenance.html", "name": "Provenance"}]

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
            css=Markup(css),
            scripts=Markup("\n".join(f"<script>{text}</script>" for text in code)),
            csp=policy(css, code, files_allowed=files_allowed),
        )
        return (self._folder / file).write_bytes(html.encode())


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
