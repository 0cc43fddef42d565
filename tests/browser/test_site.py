"""The site in Chromium from file://: sorting, filters, shared links, drill-down, downloads, keyboard, no network."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leaderboard.render import build_site
from results import queries
from results.records import CandidateRecord
from results.store import open_store

pytestmark = pytest.mark.browser

PAGES = [
    "index.html",
    "task-rewardbench.html",
    "task-autoj.html",
    "task-gsm8k-bon.html",
    "sweep-tiny-rm.html",
    "compare.html",
    "history.html",
    "provenance.html",
]


def shown_names(page: Any) -> list[str]:
    names: list[str] = page.eval_on_selector_all("#board tbody tr:not([hidden]) th", "all => all.map(e => e.dataset.v)")
    return names


def column(page: Any, index: int) -> list[float]:
    values = page.eval_on_selector_all(
        "#board tbody tr:not([hidden])", f"all => all.map(r => r.cells[{index}].dataset.v)"
    )
    return [float(v) for v in values if v]


def test_sorting_by_header_both_ways_and_in_the_link(open_page: Any) -> None:
    page = open_page("index.html")
    page.get_by_role("button", name="λ", exact=True).click()
    assert column(page, 1) == sorted(column(page, 1))
    page.get_by_role("button", name="λ", exact=True).click()
    assert column(page, 1) == sorted(column(page, 1), reverse=True)
    assert "sort=lam" in page.url
    assert page.locator("th[aria-sort=descending]").inner_text().strip().startswith("λ")
    again = open_page(page.url.rsplit("/", 1)[1])
    assert shown_names(again) == shown_names(page)


def test_rows_without_a_value_sort_last(open_page: Any) -> None:
    page = open_page("index.html#sort=gsm8k_bon&dir=up")
    assert shown_names(page)[-1] == "somebody's 7B"
    page = open_page("index.html#sort=gsm8k_bon&dir=down")
    assert shown_names(page)[-1] == "somebody's 7B"


def test_search_and_filters_combine_and_survive_in_the_link(open_page: Any) -> None:
    page = open_page("index.html")
    everyone = len(shown_names(page))
    page.locator("#expert").select_option("maths expert")
    page.locator("#from").fill("0.5")
    assert shown_names(page)
    assert all("maths expert" in name for name in shown_names(page))
    assert all(v >= 0.5 for v in column(page, 1))
    page.locator("#q").fill("λ=0.75")
    assert shown_names(page) == ["tiny RM + maths expert λ=0.75"]
    assert page.locator("#shown").inner_text() == f"1 of {everyone} candidates"
    again = open_page(page.url.rsplit("/", 1)[1])
    assert shown_names(again) == shown_names(page)
    again.get_by_role("button", name="Clear").click()
    assert len(shown_names(again)) == everyone


def test_the_best_filter_keeps_only_who_may_be_best(open_page: Any) -> None:
    page = open_page("index.html#show=best")
    starred = page.locator("#board tbody tr:not([hidden])")
    assert 0 < starred.count() < page.locator("#board tbody tr").count()
    assert all("★" in text for text in starred.all_inner_texts())


def test_drill_down_agrees_with_the_stored_rewards(open_page: Any, site: Path) -> None:
    page = open_page("compare.html#task=rewardbench&show=differ")
    page.locator("#list tbody tr").first.wait_for()
    told = page.locator("#told").inner_text()
    a_better, b_better = (int(re.findall(rf"{who} better on (\d+)", told)[0]) for who in "AB")
    a, b = (page.locator(f"#{who} option:checked").inner_text().rsplit(" (", 1)[0] for who in "ab")
    rows = json.loads((site / "data" / "scores.json").read_text())
    wins = {r["candidate"]: (r["difference_wins"], r["difference_losses"]) for r in rows
            if r["task"] == "rewardbench" and r["metric"] == "score"}  # fmt: skip
    assert b == "tiny RM"
    assert wins[a] == (a_better, b_better)
    with open_store(site.parent / "h.duckdb", read_only=True) as store:
        runs = {
            r["candidate"]: queries.run_rewards(store, r) for r in queries.runs(store) if r["task"] == "rewardbench"
        }
    example = page.locator("#list tbody tr th").first.inner_text()
    page.locator("#list tbody tr button").first.click()
    page.locator("dialog[open] article").first.wait_for()
    text = page.locator("#content").inner_text()
    i = list(runs[a].example_ids).index(example)
    for run in (runs[a], runs[b]):
        for reward in run.rewards[run.offsets[i] : run.offsets[i + 1]]:
            assert f"{reward:.3f}".replace("-", "−") in text


@pytest.mark.parametrize("task", ["rewardbench", "autoj", "gsm8k_bon"])
def test_the_page_judges_ties_as_the_statistics_do(open_page: Any, tied_site: Path, task: str) -> None:
    page = open_page(f"compare.html#task={task}", folder=tied_site)
    page.wait_for_function("document.querySelector('#told').textContent.includes('better')")
    shown = [int(n) for n in re.findall(r"better on (\d+)", page.locator("#told").inner_text())]
    a = page.locator("#a option:checked").inner_text().rsplit(" (", 1)[0]
    rows = json.loads((tied_site / "data" / "scores.json").read_text())
    (row,) = [r for r in rows if (r["task"], r["metric"], r["candidate"]) == (task, "score", a)]
    assert row["ties"] > 0
    assert shown == [row["difference_wins"], row["difference_losses"]]


def test_next_previous_and_close_by_keyboard_with_state_in_the_link(open_page: Any) -> None:
    page = open_page("compare.html#task=gsm8k_bon")
    page.locator("#list tbody tr button").first.wait_for()
    ids = page.locator("#list tbody tr th").all_inner_texts()
    page.locator("#list tbody tr button").first.focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"document.querySelector('#title').textContent === 'Example {ids[1]}'")
    page.keyboard.press("j")
    page.wait_for_function(f"document.querySelector('#title').textContent === 'Example {ids[2]}'")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"document.querySelector('#title').textContent === 'Example {ids[1]}'")
    assert f"ex={ids[1]}" in page.url
    again = open_page(page.url.rsplit("/", 1)[1])
    again.locator("dialog[open]").wait_for()
    assert again.locator("#title").inner_text() == f"Example {ids[1]}"
    assert again.locator("#content").inner_text() == page.locator("#content").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_function("!location.hash.includes('ex=')")


def test_swapping_turns_the_tally_round(open_page: Any) -> None:
    page = open_page("compare.html#task=autoj")
    page.wait_for_function("document.querySelector('#told').textContent.includes('better')")
    before = re.findall(r"better on (\d+)", page.locator("#told").inner_text())
    page.get_by_role("button", name="Swap A and B").click()
    page.wait_for_function("document.querySelector('#told').textContent.includes('better')")
    assert re.findall(r"better on (\d+)", page.locator("#told").inner_text()) == before[::-1]


def test_the_matrix_tells_its_numbers_by_keyboard_pointer_and_tap(open_page: Any) -> None:
    page = open_page("task-rewardbench.html", has_touch=True)
    cell = page.locator("#matrix tbody tr").nth(0).locator("td").nth(3)
    names = page.eval_on_selector_all("#matrix tbody th", "all => all.map(e => e.dataset.name)")
    cell.hover()
    assert page.locator("#pair").inner_text().startswith(f"{names[0]} against {names[3]}: ")
    page.locator("#matrix tbody td[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.locator("#pair").inner_text().startswith(f"{names[1]} against {names[2]}: ")
    page.locator("#matrix tbody tr").nth(4).locator("td").nth(0).tap()
    told = page.locator("#pair").inner_text()
    assert told.startswith(f"{names[4]} against {names[0]}: ")
    assert re.search(r"[+−]\d+\.\d, p", told)


def test_downloads_are_files_of_the_site(open_page: Any, site: Path) -> None:
    page = open_page("index.html")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="parquet").first.click()
    saved = Path(str(waiting.value.path()))
    assert saved.read_bytes() == (site / "data" / "scores.parquet").read_bytes()


def test_the_compared_list_is_saved_as_it_is_listed(open_page: Any, tied_site: Path) -> None:
    page = open_page("compare.html#task=gsm8k_bon", folder=tied_site)
    page.locator("#list tbody tr button").first.wait_for()
    with page.expect_download() as waiting:
        page.locator("#save-json").click()
    saved = json.loads(Path(str(waiting.value.path())).read_text())
    assert waiting.value.suggested_filename == "compare-gsm8k_bon.json"
    assert [row["example"] for row in saved] == page.locator("#list tbody tr th").all_inner_texts()
    with page.expect_download() as waiting:
        page.locator("#save-csv").click()
    with Path(str(waiting.value.path())).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [json.loads(row["rewards_a"]) for row in lines] == [row["rewards_a"] for row in saved]
    assert [float(row["outcome_b"]) for row in lines] == [row["outcome_b"] for row in saved]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_is_light_whatever_the_screen_is(open_page: Any, scheme: str) -> None:
    page = open_page("index.html", color_scheme=scheme)
    for _ in range(3):  # auto, light, dark
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 32, 36)"
        page.emulate_media(media="screen")
        page.locator("#theme").click()


@pytest.mark.parametrize("name", PAGES)
def test_pages_read_without_javascript(open_page: Any, name: str) -> None:
    page = open_page(name, java_script_enabled=False)
    assert page.locator("h1").count() == 1
    assert page.locator(".js:visible").count() == 0
    if name != "compare.html":
        assert page.locator("table tbody tr, section.run").count() > 3
    else:
        assert "JavaScript" in page.locator("noscript").inner_text()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 1280])
def test_no_page_scrolls_sideways(open_page: Any, name: str, width: int) -> None:
    page = open_page(name, viewport={"width": width, "height": 800})
    page.wait_for_load_state()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_injected_scripts_do_not_run(chromium: Any, site: Path) -> None:
    page = chromium.new_page()
    page.goto(f"{site.as_uri()}/index.html")
    page.evaluate("document.body.append(Object.assign(document.createElement('img'), {src: 'x', id: 'bait'}))")
    page.evaluate("document.querySelector('#bait').setAttribute('onerror', 'window.ran = 1')")
    page.evaluate("document.head.append(Object.assign(document.createElement('script'), {text: 'window.ran = 2'}))")
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    assert page.evaluate("fetch('https://example.invalid/').then(() => 'went out', () => 'blocked')") == "blocked"
    page.close()


HOSTILE = "</script><script>window.ran=1</script><img src=x onerror=window.ran=1>\u202eevil\u200b <a href='//x'>x</a>"


def test_hostile_examples_are_text(open_page: Any, synthetic: ModuleType, tmp_path: Path) -> None:
    people = [
        synthetic.Person(CandidateRecord(c * 64, HOSTILE + c, "checkpoint"), 1, k) for c, k in (("a", 3), ("b", -3))
    ]
    db = synthetic.write_database(tmp_path / "h.duckdb", synthetic.Spec(people, tasks=["gsm8k_bon"], scale=0.02))
    with open_store(db) as store:
        store.sql.execute(
            "UPDATE examples SET prompt = to_json([['user', ?]]), responses = [?, ?, ?, ?]", [HOSTILE] * 5
        )
        store.sql.execute(
            "UPDATE dataset_examples SET subset = ?, sources = [?, ?, ?, ?], reasons = sources", [HOSTILE] * 5
        )
    folder = build_site(db, tmp_path / "site").parent
    page = open_page("compare.html#show=all", folder=folder)
    page.locator("#list tbody tr button").first.click()
    page.locator("dialog[open] article").first.wait_for()
    assert page.evaluate("window.ran") is None
    assert page.locator("dialog img, dialog a, dialog script").count() == 0
    shown = page.locator("dialog .text").first.inner_text()
    assert "<script>window.ran=1</script>" in shown
    assert "⟨U+202E⟩evil⟨U+200B⟩" in shown


def test_a_missing_shard_is_explained(site: Path, tmp_path: Path, chromium: Any) -> None:
    alone = tmp_path / "compare.html"
    alone.write_bytes((site / "compare.html").read_bytes())
    page = chromium.new_page()
    page.goto(alone.as_uri())
    page.wait_for_function("document.querySelector('#told').textContent.includes('cannot be read')")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(open_page: Any, axe: str, name: str, scheme: str) -> None:
    page = open_page(name, color_scheme=scheme, bypass_csp=True)
    page.eval_on_selector_all("details", "all => all.forEach(e => e.open = true)")
    check(page, axe)


@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing_in_an_open_dialog(open_page: Any, axe: str, width: int) -> None:
    page = open_page("compare.html#task=gsm8k_bon", bypass_csp=True, viewport={"width": width, "height": 800})
    page.locator("#list tbody tr button").first.click()
    page.locator("dialog[open] article").first.wait_for()
    page.eval_on_selector_all("dialog details", "all => all.forEach(e => e.open = true)")
    check(page, axe)


def check(page: Any, axe: str) -> None:
    page.evaluate(axe)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
    told = [(v["id"], v["help"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found["violations"]]
    assert told == []
