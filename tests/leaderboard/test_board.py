"""Who is ranked with whom, who is the baseline, and which candidates make a sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leaderboard import _candidates as people
from leaderboard._errors import LeaderboardError
from leaderboard.board import Board, build_board
from leaderboard.pages._common import count_notes, unique_files, unique_names
from results import queries
from results.check import conflicts_by_run
from results.records import CandidateRecord
from results.store import open_store


def board_of(path: Path, **options: Any) -> Board:
    with open_store(path, read_only=True) as store:
        return build_board(
            queries.runs(store, latest=True), lambda run: queries.run_rewards(store, dict(run)), **options
        )


def one_task(synthetic: ModuleType, path: Path, **spec: Any) -> Path:
    values = {"people": synthetic.sweep(3, controls=False), "tasks": ["autoj"], "scale": 0.05} | spec
    return synthetic.write_database(path / "h.duckdb", synthetic.Spec(**values))  # type: ignore[no-any-return]


def test_partial_runs_are_never_ranked(synthetic: ModuleType, tmp_path: Path) -> None:
    spec = {"statuses": {("tiny RM", "autoj"): ("partial", "--limit 9")}}
    (task,) = board_of(one_task(synthetic, tmp_path, **spec)).tasks
    assert [e.reason for e in task.apart] == ["partial: --limit 9"]
    assert "tiny RM" not in [e.candidate.name for e in task.ranked]
    assert task.apart[0].score is not None


def test_runs_on_other_data_are_kept_apart(synthetic: ModuleType, tmp_path: Path) -> None:
    path = one_task(synthetic, tmp_path)
    newcomer = synthetic.baselines()[1]
    synthetic.write_database(path, synthetic.Spec([newcomer], tasks=["autoj"], scale=0.04, seed=1))
    (task,) = board_of(path).tasks
    assert len(task.ranked) == 3
    assert [(e.candidate.name, e.reason) for e in task.apart] == [
        ("somebody's 7B", "measured on other data than the ranked runs")
    ]


def test_runs_with_another_databases_rewards_say_so(synthetic: ModuleType, tmp_path: Path) -> None:
    path = one_task(synthetic, tmp_path)
    with open_store(path) as store:
        store.sql.execute(
            "INSERT INTO other_rewards (candidate, protocol, example, response, reward)"
            " SELECT candidate, protocol, example, response, reward + 1 FROM rewards"
            " WHERE candidate = 2 AND response = 0 ORDER BY example LIMIT 3"
        )
        (marked,) = [r["id"] for r in queries.runs(store) if r["candidate_key"] == 2]
        assert conflicts_by_run(store) == {marked: 3}
    (task,) = board_of(path, conflicts={marked: 3}).tasks
    told = {e.run["id"]: count_notes(e) for e in task.ranked}
    assert "3 rewards of which another database has another value" in told.pop(marked)
    assert not any("another database" in note for notes in told.values() for note in notes)


def test_unsafe_labels_are_kept_apart(synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = synthetic.dataset

    def unsafe(*arguments: Any) -> Any:
        return replace(real(*arguments), options={"sandbox": "A, unsafe", "pool": "p"})

    monkeypatch.setattr(synthetic, "dataset", unsafe)
    (task,) = board_of(one_task(synthetic, tmp_path)).tasks
    assert not task.ranked
    assert all(e.reason.startswith("unsafe") for e in task.apart)


def test_names_and_paths_do_not_make_a_run_unsafe(
    synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = synthetic.dataset

    def safe(*arguments: Any) -> Any:
        source = {"name": "unsafe", "location": "unsafe/pool.jsonl", "revision": None, "sha256": "0", "pinned": True}
        return replace(real(*arguments), options={"sandbox": "A", "pool": "unsafe"}, sources=[source])

    monkeypatch.setattr(synthetic, "dataset", safe)
    (task,) = board_of(one_task(synthetic, tmp_path)).tasks
    assert len(task.ranked) == 3


def test_ranks_agree_with_the_matrix_and_pairs_are_antisymmetric(synthetic: ModuleType, tmp_path: Path) -> None:
    (task,) = board_of(one_task(synthetic, tmp_path, people=synthetic.sweep(5), scale=0.3)).tasks
    assert task.standing is not None
    scores = [e.score.value for e in task.ranked if e.score]
    assert scores == sorted(scores, reverse=True)
    a, b = task.ranked[0], task.ranked[-1]
    there, back = task.pair(a, b), task.pair(b, a)
    assert there is not None
    assert back is not None
    assert there.difference == pytest.approx(scores[0] - scores[-1])
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))
    assert there.p == back.p
    assert there.sign == -back.sign == 1
    assert all(low <= i + 1 <= high for i, (low, high) in enumerate(map(task.rank, task.ranked)))  # type: ignore[misc]


def test_default_baseline_is_the_parent_of_most_merges(synthetic: ModuleType, tmp_path: Path) -> None:
    order = [*synthetic.baselines(), *reversed(synthetic.sweep(3))]
    assert (found := board_of(one_task(synthetic, tmp_path, people=order)).baseline)
    assert found.name == "tiny RM"


def candidate(name: str, **values: Any) -> people.Candidate:
    return people.Candidate(**({"id": name * 8, "name": name, "kind": "checkpoint"} | values))


def test_baseline_by_id_prefix_and_ambiguity() -> None:
    listed = [candidate("aa", id="abcd1111"), candidate("aa", id="abcd2222"), candidate("b", id="ffff0000")]
    assert people.find_baseline(listed, "ffff") is listed[2]
    for wanted in ("aa", "abcd"):
        with pytest.raises(LeaderboardError, match="several candidates"):
            people.find_baseline(listed, wanted)
    with pytest.raises(LeaderboardError, match="no such candidate"):
        people.find_baseline(listed, "fff")  # too short for an id
    assert people.find_baseline([], None) is None


def merge(name: str, lam: float, **values: Any) -> people.Candidate:
    base = {"kind": "merge", "rm": "RM", "rm_id": "rm" * 8, "experts": (("E", lam),), "method": "linear", "lam": lam}
    return candidate(name, **(base | {"sweep": "s"} | values))


def test_a_sweep_starts_at_its_reward_model() -> None:
    rm = candidate("rm", id="rm" * 8)
    (sweep,) = people.find_sweeps(
        [merge("b", 0.5), rm, merge("a", 0.2), merge("c", 0.3, sweep="other", experts=(("F", 0.3),))]
    )
    assert [[x for x, _ in line.points] for line in sweep.lines] == [[0, 0.2, 0.5], [0, 0.3]]
    assert [line.label for line in sweep.lines] == ["E", "F"]


def test_a_merge_at_zero_is_the_start_too_and_one_point_is_no_sweep() -> None:
    (sweep,) = people.find_sweeps([merge("z", 0.0), merge("b", 0.5)])
    assert [x for x, _ in sweep.lines[0].points] == [0, 0.5]
    assert people.find_sweeps([merge("b", 0.5)]) == []


def test_recipes_of_one_name_are_told_apart() -> None:
    (sweep,) = people.find_sweeps([merge(f"{s}{x}", x, sweep=s) for s in "pq" for x in (0.1, 0.2)])
    assert [line.label for line in sweep.lines] == ["E", "E #2"]
    (sweep,) = people.find_sweeps(
        [merge(f"{m}{x}", x, sweep=m, method=m) for m in ("linear", "ties") for x in (0.1, 0.2)]
    )
    assert [line.label for line in sweep.lines] == ["E (linear)", "E (ties)"]


def test_broken_recipe_details_are_left_empty(synthetic: ModuleType, tmp_path: Path) -> None:
    odd = CandidateRecord("0" * 64, "odd", "merge", {"experts": "none", "lambda": "big", "rm": None})
    board = board_of(one_task(synthetic, tmp_path, people=[synthetic.Person(odd, 1, 1)]))
    assert board.candidates[0].lam is None
    assert board.sweeps == ()


def test_names_and_files_are_unique() -> None:
    names = unique_names([candidate("x", id="1" * 64), candidate("x", id="2" * 64), candidate("y", id="3" * 64)])
    assert list(names.values()) == ["x · 11111111", "x · 22222222", "y"]
    files = unique_files(["My Task", "my-task", "../../x"], "task")
    assert list(files.values()) == ["task-my-task.html", "task-my-task-2.html", "task-x.html"]
