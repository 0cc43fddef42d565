"""Databases with nothing, or hardly anything, or nothing to tell apart: every page renders and says what is missing."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leaderboard.render import build_site
from results.records import CandidateRecord, DatasetRecord, ExampleRecord, ProtocolRecord, RewardRecord
from results.store import open_store


def text_of(path: Path) -> str:
    found = re.sub(r"(?s)<(script|style).*?</\1>", " ", path.read_text(encoding="utf-8"))
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


def site_text(index: Path) -> dict[str, str]:
    return {path.name: text_of(path) for path in index.parent.glob("*.html")}


Build = Callable[..., dict[str, str]]


@pytest.fixture
def build(synthetic: ModuleType, tmp_path: Path) -> Build:
    def make(people: Any, **spec: Any) -> dict[str, str]:
        values = {"people": people, "scale": 0.03} | spec
        db = synthetic.write_database(tmp_path / "h.duckdb", synthetic.Spec(**values))
        pages = site_text(build_site(db, tmp_path / "site"))
        for name, text in pages.items():
            assert not re.search(r"\bnan\b|\bNone\b(?! of)|\binf\b", text), (
                name,
                re.findall(r".{40}\bnan\b.{40}", text),
            )
        return pages

    return make


def test_an_empty_database_says_how_to_start(tmp_path: Path) -> None:
    with open_store(tmp_path / "h.duckdb"):
        pass
    pages = site_text(build_site(tmp_path / "h.duckdb", tmp_path / "site"))
    assert "Nothing to show yet" in pages["index.html"]
    assert "harness eval --model MODEL" in pages["index.html"]
    assert "nothing to compare" in pages["compare.html"]
    assert "No complete run yet" in pages["history.html"]


def test_one_candidate(synthetic: ModuleType, build: Build) -> None:
    pages = build(synthetic.sweep(2)[:1])
    assert "1 candidate · 4 tasks" in pages["index.html"]
    assert "One complete run: there is nothing to compare it with." in pages["index.html"]
    assert "there is nothing to compare" in pages["compare.html"]
    assert "math-prm" in pages["task-rewardbench.html"]


def test_all_equal_candidates_cannot_be_told_apart(synthetic: ModuleType, build: Build) -> None:
    twins = [synthetic.Person(CandidateRecord(f"{7:08x}{i:056x}", f"twin {i}", "checkpoint"), 1, 1) for i in range(3)]
    pages = build(twins, tasks=["rewardbench", "gsm8k_bon"])
    assert pages["index.html"].count("All 3 score the same") == 2
    assert pages["index.html"].count("1–3 ★") == 6
    assert len(re.findall(r"None of 2 others can be told from the baseline: [^.]*\d+\.\d", pages["index.html"])) == 2
    assert "▲" not in pages["task-rewardbench.html"].split("row better", 1)[1]


def test_all_ties_count_as_lost_and_are_counted(synthetic: ModuleType, build: Build) -> None:
    pages = build(synthetic.sweep(3, controls=False), round_to=1e6)
    everything = synthetic.Spec([]).tasks
    sizes = [int(re.findall(r"Examples (\d+),", pages[f"task-{t.replace('_', '-')}.html"])[0]) for t in everything]
    assert pages["index.html"].count(f"{sum(sizes)} tied") == 3
    assert "All 3 score the same (0.0)" in pages["task-rewardbench.html"]  # the wrong one ties, and wins
    assert "All 3 score the same (25.0)" in pages["task-gsm8k-bon.html"]  # the tied share the win: chance


def test_no_complete_run_at_all(synthetic: ModuleType, build: Build) -> None:
    pages = build(
        synthetic.sweep(2)[:1], statuses={("tiny RM", t): ("failed", "out of memory") for t in synthetic.Spec([]).tasks}
    )
    assert "No complete run yet: nothing is ranked." in pages["index.html"]
    assert "failed: out of memory" in pages["index.html"]
    assert "failed: out of memory" in pages["task-rewardbench.html"]


def small_run(path: Path, examples: int, labels: list[bool | None], **data: Any) -> Path:
    """Two candidates on a few hand-made examples; the second is always right."""
    blank = ["", ""]
    rows = [
        ExampleRecord(str(i), [("user", f"q{i}")], ["a", "b"], labels, [None] * 2, blank, blank, "all", "", 1, None)
        for i in range(examples)
    ]
    record = replace(DatasetRecord("toy", "accuracy", rows, []), **data)
    with open_store(path) as store:
        protocol, env = store.add_protocol(ProtocolRecord({})), store.add_environment({})
        dataset = store.add_dataset(record)
        for name, sign in (("first", -1.0), ("second", 1.0)):
            key = store.add_candidate(CandidateRecord(name * 8, name, "checkpoint"))
            run = store.start_run(key, protocol, dataset, env, seed=0, command="harness eval")
            store.add_rewards(
                key, protocol, [RewardRecord(e.key, i, sign * (1 - i), 3) for e in rows for i in range(2)]
            )
            store.finish_run(run, "partial" if record.partial else "complete", record.partial)
    return path


def test_one_example_decides_nothing(tmp_path: Path) -> None:
    index = build_site(small_run(tmp_path / "h.duckdb", 1, [True, False]), tmp_path / "site")
    text = text_of(index)
    assert "one of 2 that cannot be ruled out as best" in text
    assert "The other cannot be told from the baseline: the examples are too few for any difference." in text
    assert "toy 1 example " in text
    assert "100.0" in text
    assert "+100.0" in text
    assert not re.search(r"\bnan\b", text)


def test_unknown_labels_leave_nothing_to_rank(tmp_path: Path) -> None:
    index = build_site(small_run(tmp_path / "h.duckdb", 4, [None, None]), tmp_path / "site")
    assert "no example has an outcome" in text_of(index)


def test_a_missing_subset_is_named_and_the_run_is_apart(tmp_path: Path) -> None:
    reason = "2 subsets are missing: hep-go, hep-js"
    db = small_run(tmp_path / "h.duckdb", 5, [True, False], missing=["hep-go", "hep-js"], partial=reason)
    text = text_of(build_site(db, tmp_path / "site"))
    assert text.count(f"partial: {reason}") == 2
    assert "No complete run yet" in text
    assert "★" not in text[text.index("Kept apart") :]


HOSTILE = [
    "</script><script>alert(document.domain)</script>",
    '"><img src=x onerror=alert(1)>',
    "<a href='javascript:alert(1)'>click</a> https://example.invalid/steal",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066\u200b",
    "NUL\x01\x1b[31m\x07",
    "=HYPERLINK(1)",
    "-->]]>&amp;&lt;\u2028\u2029",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_never_obeyed(synthetic: ModuleType, tmp_path: Path, text: str) -> None:
    detail = synthetic.merge_detail(text, "f" * 64, text, 0.5, method=text) | {"formula": text}
    people = [synthetic.Person(CandidateRecord(f"{i}" * 64, f"{text} {i}", "merge", detail), 1, 1) for i in (1, 2)]
    people += [synthetic.Person(CandidateRecord("f" * 64, text, "checkpoint"), 1, 1)]
    db = synthetic.write_database(tmp_path / "h.duckdb", synthetic.Spec(people, tasks=["autoj"], scale=0.03))
    with open_store(db) as store:
        store.sql.execute("UPDATE datasets SET notes = json_array(?), task = ?", [text, text])
        store.sql.execute("UPDATE runs SET command = ?, reason = ?", [text, text])
        store.sql.execute("UPDATE dataset_examples SET subset = ?", [text])
    index = build_site(db, tmp_path / "site")
    for path in index.parent.glob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\u200b]", page), path.name
        assert page.count("<script") == page.count("</script>") <= 3
        assert "<img" not in page
        assert "<a href='java" not in page
        assert "49" not in re.findall(r"<h1>(.*?)</h1>", page)[0]
    assert {p.parent for p in index.parent.rglob("*.*")} <= {
        index.parent,
        index.parent / "data",
        index.parent / "examples",
    }


def test_a_name_of_a_megabyte_does_not_break_the_page(synthetic: ModuleType, tmp_path: Path) -> None:
    people = [synthetic.Person(CandidateRecord(f"{i}" * 64, "w" * 10**6 + str(i), "checkpoint"), 1, 1) for i in (1, 2)]
    db = synthetic.write_database(tmp_path / "h.duckdb", synthetic.Spec(people, tasks=["autoj"], scale=0.03))
    index = build_site(db, tmp_path / "site")
    assert index.stat().st_size < 150_000
    assert sum(path.stat().st_size for path in index.parent.glob("*.html")) < 600_000
