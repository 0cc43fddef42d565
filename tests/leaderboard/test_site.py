"""The site as a user gets it: one folder, every candidate and number, whole or not at all."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path
from types import ModuleType

import pytest

from leaderboard import render
from leaderboard._errors import LeaderboardError
from leaderboard._publish import MARKER, publish
from leaderboard.render import Extra, build_site


@pytest.fixture(scope="session")
def board_db(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    people = [*synthetic.sweep(5), *synthetic.baselines()]
    statuses = {
        ("somebody's 7B", "gsm8k_bon"): ("partial", "--limit 50"),
        ("baseline:length", "autoj"): ("failed", "12 of 24 responses have no reward (out of memory)"),
    }
    path = tmp_path_factory.mktemp("board") / "harness.duckdb"
    return synthetic.write_database(path, synthetic.Spec(people, scale=0.1, statuses=statuses))


@pytest.fixture(scope="session")
def built(board_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    extra = Extra("About this demonstration", ["Made up <b>here</b>.", "Second."], [(["seed", "gain"], [["0", "+17"]])])
    return build_site(board_db, tmp_path_factory.mktemp("out") / "site", extra=extra)


class _Text(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's signature
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)


def read(path: Path) -> _Text:
    page = _Text()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def text_of(path: Path) -> str:
    return " ".join(" ".join(read(path).words).split())


def test_every_candidate_section_and_subset_is_on_the_page(built: Path) -> None:
    text = text_of(built)
    for name in ("tiny RM", "maths expert λ=0.25", "wrong facts λ=1", "baseline:length", "somebody's 7B"):
        assert name in text
    for key in ("Chat Hard", "Reasoning", "Code", "math-prm", "hep-java", "Writing", "code_fixing"):
        assert key in text


def test_the_page_says_which_baseline_and_why(built: Path) -> None:
    assert "baseline tiny RM (by default: the reward model that most merges start from)" in text_of(built)


def test_partial_and_failed_runs_are_apart_with_their_reason(built: Path) -> None:
    text = text_of(built)
    apart = text[text.index("Kept apart, not ranked") :]
    assert "partial: --limit 50" in apart
    assert "failed: 12 of 24 responses have no reward (out of memory)" in apart


def test_the_extra_section_is_plain_text(built: Path) -> None:
    assert "Made up &lt;b&gt;here&lt;/b&gt;." in built.read_text(encoding="utf-8")
    assert "Made up <b>here</b>. More" in text_of(built)


def test_nothing_is_requested_and_nothing_inline_escapes_the_policy(built: Path) -> None:
    for path in built.parent.glob("*.html"):
        for tag, attributes in read(path).tags:
            for name in ("src", "href", "action", "srcset", "data", "poster"):
                value = attributes.get(name) or ""
                assert not re.match(r"(?i)(https?:)?//|javascript:", value), (path.name, tag, value)
            assert "style" not in attributes, (path.name, tag)
            assert not [name for name in attributes if name.startswith("on")], (path.name, tag)
        policy = next(a["content"] for t, a in read(path).tags if a.get("http-equiv") == "Content-Security-Policy")
        assert policy is not None
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy


def test_links_inside_the_site_lead_somewhere(built: Path) -> None:
    pages = {path.name: read(path) for path in built.parent.glob("*.html")}
    ids = {name: {a.get("id") for _, a in page.tags} for name, page in pages.items()}
    for name, page in pages.items():
        for tag, attributes in page.tags:
            if tag != "a":
                continue
            file, _, anchor = (attributes.get("href") or "").partition("#")
            assert not file or (built.parent / file).exists(), (name, attributes)
            if anchor and (not file or file in ids) and "=" not in anchor:
                assert anchor in ids[file or name], (name, attributes)


def test_ids_are_unique(built: Path) -> None:
    for path in built.parent.glob("*.html"):
        ids = [a["id"] for _, a in read(path).tags if "id" in a]
        assert len(ids) == len(set(ids)), path.name


def test_an_unknown_baseline_or_task_is_one_sentence_with_a_guess(board_db: Path, tmp_path: Path) -> None:
    with pytest.raises(LeaderboardError, match=r"--baseline tiny RMM: .*did you mean 'tiny RM'\?"):
        build_site(board_db, tmp_path / "s", baseline="tiny RMM")
    with pytest.raises(LeaderboardError, match=r"--tasks rewardbnch: .*did you mean 'rewardbench'\?"):
        build_site(board_db, tmp_path / "s", tasks=["rewardbnch"])
    assert list(tmp_path.iterdir()) == []


def test_baseline_by_name_and_tasks_chosen(board_db: Path, tmp_path: Path) -> None:
    index = build_site(board_db, tmp_path / "s", baseline="baseline:length", tasks=["rewardbench"])
    text = text_of(index)
    assert "baseline baseline:length (chosen with --baseline)" in text
    assert "gsm8k_bon" not in text


def test_the_index_keeps_its_budget_by_leaving_detail_out(
    board_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "INDEX_BUDGET", 0)
    small = build_site(board_db, tmp_path / "s")
    monkeypatch.setattr(render, "INDEX_BUDGET", 10**9)
    large = build_site(board_db, tmp_path / "l")
    assert small.stat().st_size < large.stat().st_size
    assert "somebody's 7B" in text_of(small)


def test_a_foreign_folder_or_file_is_never_replaced(board_db: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    with pytest.raises(LeaderboardError, match="is not a site made here"):
        build_site(board_db, tmp_path / "thesis")
    with pytest.raises(LeaderboardError, match="this is a file"):
        build_site(board_db, tmp_path / "file")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_new_build_replaces_the_old_one_whole(tmp_path: Path) -> None:
    out = tmp_path / "site"
    for name in ("old", "new"):
        with publish(out) as folder:
            (folder / f"{name}.html").write_text(name)
    assert sorted(p.name for p in out.iterdir()) == [MARKER, "new.html"]
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_a_build_that_dies_leaves_the_old_site_and_no_rubbish(tmp_path: Path) -> None:
    out = tmp_path / "site"
    with publish(out) as folder:
        (folder / "old.html").write_text("old")

    def die() -> None:
        with publish(out) as work:
            (work / "new.html").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert (out / "old.html").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_an_old_site_moved_aside_by_a_killed_build_comes_back(tmp_path: Path) -> None:
    aside = tmp_path / ".site.999999999.old"
    aside.mkdir()
    (aside / MARKER).write_text("x")
    (tmp_path / ".site.999999999.building").mkdir()

    def die() -> None:
        with publish(tmp_path / "site"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    def write() -> None:
        with publish(tmp_path / "site"):
            raise OSError(28, "No space left on device")

    with pytest.raises(LeaderboardError, match="the disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []
