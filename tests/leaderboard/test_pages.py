"""What single pages say: the honest choice of lambda, provenance, and limits beside what is not significant."""

from __future__ import annotations

import html
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leaderboard.pages._common import unlike_published
from leaderboard.render import build_site


def rows_of(path: Path) -> list[list[str]]:
    """Every table row of a page as plain cells."""
    page = path.read_text(encoding="utf-8")
    rows = re.findall(r"(?s)<tr[^>]*>(.*?)</tr>", page)
    cells = [re.findall(r"(?s)<t[hd][^>]*>(.*?)(?=<t[hd]|$)", row) for row in rows]
    return [[" ".join(html.unescape(re.sub(r"<[^>]+>", " ", c)).split()) for c in row] for row in cells]


def build(synthetic: ModuleType, folder: Path, people: Any, **spec: Any) -> Path:
    values = {"people": people, "tasks": ["gsm8k_bon"], "scale": 0.3} | spec
    db = synthetic.write_database(folder / "h.duckdb", synthetic.Spec(**values))
    return build_site(db, folder / "site").parent


@pytest.fixture(scope="module")
def swept(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(synthetic, tmp_path_factory.mktemp("pages"), synthetic.sweep(6))


def test_the_gain_of_the_chosen_lambda_is_told_for_the_expert_and_not_for_the_controls(swept: Path) -> None:
    choices = {row[0]: row for row in rows_of(swept / "sweep-tiny-rm.html") if len(row) == 9 and row[1] == "Score"}
    expert, control = choices["maths expert"], choices["wrong facts"]
    assert expert[2] == "0.4"  # where the made-up world has its peak
    assert expert[5].endswith("▲")
    assert "▲" not in control[5]
    assert (expert[4], float(control[4]) > 0) == ("", True)  # what could have been seen, where nothing was
    assert float(expert[5].split()[0]) <= float(expert[8])  # the honest effect never beats the naive maximum


def test_a_sweep_without_its_start_says_so(synthetic: ModuleType, tmp_path: Path) -> None:
    site = build(synthetic, tmp_path, synthetic.sweep(4, controls=False)[1:], scale=0.05)
    assert "λ = 0 was not measured" in (site / "sweep-tiny-rm.html").read_text(encoding="utf-8")


def test_what_is_not_significant_carries_what_could_have_been_seen(swept: Path) -> None:
    marked = 0
    for row in rows_of(swept / "index.html"):
        if len(row) < 4 or " p " not in row[3]:
            continue
        significant = "▲" in row[3] or "▼" in row[3]
        assert significant != ("mde" in row[3]), row
        marked += significant
    assert marked


def test_what_a_tie_counts_as_depends_on_the_task(synthetic: ModuleType, tmp_path: Path) -> None:
    site = build(synthetic, tmp_path, synthetic.sweep(2), tasks=["gsm8k_bon", "autoj"], scale=0.05)
    shared = (site / "task-gsm8k-bon.html").read_text(encoding="utf-8")
    lost = (site / "task-autoj.html").read_text(encoding="utf-8")
    assert "counts as the share of the tied responses that are correct" in shared
    assert "it counts as lost" in lost
    assert "it counts as lost" not in shared


@pytest.mark.parametrize(
    ("name", "pinned", "told"),
    [
        ("GSM8K test set", False, True),
        ("GSM8K test set", True, False),
        ("mine", False, False),
        ("pool x", False, False),
    ],
)
def test_only_data_with_a_published_file_can_differ_from_it(name: str, pinned: bool, told: bool) -> None:
    assert unlike_published({"name": name, "pinned": pinned}, "mine") is told


def test_provenance_has_all_that_repeats_a_run(swept: Path) -> None:
    page = html.unescape((swept / "provenance.html").read_text(encoding="utf-8"))
    assert "harness eval --model 'tiny RM' --tasks gsm8k_bon" in page
    for fact in ("torch=2.9", "max_length=2048", "dtype=float32", "Seed", "NOT the file this release was checked with"):
        assert fact in page
    assert "λ 0.4" in page
    assert len(re.findall(r"\b[0-9a-f]{64}\b", page)) > 50  # whole hashes: they are compared by people


def test_the_matrix_names_every_pair_once_from_either_side(swept: Path) -> None:
    page = (swept / "task-gsm8k-bon.html").read_text(encoding="utf-8")
    body = page[page.index('id="matrix"') : page.index("</table>", page.index('id="matrix"'))]
    assert body.count("▲") == body.count("▼") > 0
    assert body.count('class="self"') == 16
    assert body.count("<td title=") == 16 * 15
