"""Who does what next, and how requests are cut: without Ray, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from harness.candidate import Candidate
from harness.config import Expert, Recipe
from harness.errors import ConfigError
from harness.executors._chunks import characters, cut, halves
from harness.executors._cluster import shape
from harness.executors._schedule import TRIES, Lot, Piece, Schedule
from harness.executors._types import Job
from harness.scoring._types import Request
from tasks._types import Message


class Nothing:
    """A data set that nobody looks at."""


def job(name: str) -> Job:
    return Job(Candidate(name, name, "checkpoint"), Nothing())  # type: ignore[arg-type]


def request(example: str, response: int, prompt: str, text: str) -> Request:
    return Request(example, response, (Message("user", prompt),), text)


ASKED = [request(f"e{i}", j, f"prompt {i // 2} " * (i + 1), "x" * (10 * j + 1)) for i in range(20) for j in range(3)]


def keys(requests: Any) -> list[tuple[str, int]]:
    return sorted((r.example_key, r.response) for r in requests)


@pytest.mark.parametrize("workers", [1, 2, 50])
def test_chunks_hold_everything_once_with_whole_examples_and_the_longest_first(workers: int) -> None:
    chunks = cut(ASKED, workers)
    assert keys(r for chunk in chunks for r in chunk) == keys(ASKED)
    for example in {r.example_key for r in ASKED}:
        assert sum(any(r.example_key == example for r in chunk) for chunk in chunks) == 1
    first = [max(len(r.prompt[0].content) + len(r.text) for r in chunk) for chunk in chunks]
    assert first == sorted(first, reverse=True)
    if workers == 1:
        sizes = [characters(chunk) for chunk in chunks[:-1]]
        assert 6 <= len(chunks) <= 9  # SHARE is 8
        assert max(sizes) < 2 * min(sizes)


def test_a_shared_prompt_counts_once_and_is_kept_together() -> None:
    shared = [request(f"e{i}", 0, "the same long prompt", "yes") for i in range(4)]
    assert characters(shared) == len("the same long prompt") + 4 * 3
    assert len(cut([*shared, *(request(f"o{i}", 0, f"other {i}" * 20, "no") for i in range(8))], 1)[-1]) >= 4


def test_halves_tear_no_example() -> None:
    chunk = tuple(ASKED[:6])
    one, other = halves(chunk)
    assert keys([*one, *other]) == keys(chunk)
    assert {r.example_key for r in one} & {r.example_key for r in other} == set()
    assert halves(one) == [one]  # one example


def test_a_worker_keeps_its_candidate_then_takes_an_untouched_one_then_helps() -> None:
    jobs = [job("a"), job("b")]
    schedule = Schedule(jobs)
    a, b = schedule.lots
    for number, lot in enumerate((a, b)):
        assert schedule.choose(number, None, 0.0) is lot
        schedule.opening(lot)
        lot.workers.add(number)
    assert schedule.choose(2, None, 0.0) is None  # both are being opened
    schedule.opened(a, [Piece(jobs[0], (ASKED[0],)), Piece(jobs[0], (ASKED[1],))])
    first = schedule.choose(0, a, 0.0)
    assert isinstance(first, Piece)
    schedule.sent(first, 0, 0.0)
    assert schedule.choose(2, None, 0.0) is a  # joins: one chunk is left there
    schedule.opened(b, [])  # all of it was stored
    assert schedule.ended == [(jobs[1], "")]
    second = schedule.choose(0, a, 0.0)
    assert isinstance(second, Piece)
    schedule.sent(second, 0, 0.0)
    for piece in (first, second):
        assert schedule.answered(piece, 1.0)
    assert schedule.over
    assert schedule.ended[-1] == (jobs[0], "")


def begun(*chunks: tuple[Request, ...]) -> tuple[Schedule, Lot, list[Piece]]:
    one = job("a")
    schedule = Schedule([one])
    lot = schedule.lots[0]
    pieces = [Piece(one, chunk) for chunk in chunks]
    schedule.opened(lot, pieces)
    return schedule, lot, pieces


def send(schedule: Schedule, lot: Lot, worker: int, now: float, **more: Any) -> Piece:
    piece = schedule.choose(worker, lot, now, **more)
    assert isinstance(piece, Piece)
    schedule.sent(piece, worker, now)
    return piece


def test_a_worker_stays_in_its_sweep() -> None:
    recipe = Recipe(rm="r", experts=[Expert(model="e", weight=0.5)])
    swept = [Candidate(f"m{i}", f"m{i}", "merge", recipe=recipe, detail={"sweep": "s"}) for i in range(2)]
    jobs = [Job(one, Nothing()) for one in (swept[0], job("other").candidate, swept[1])]  # type: ignore[arg-type]
    schedule = Schedule(jobs)
    first, other, second = schedule.lots
    schedule.opening(first)
    schedule.opened(first, [])
    assert schedule.choose(0, first, 0.0) is second  # its parents are loaded; the other one stood before it
    assert schedule.choose(1, None, 0.0) is other


def test_nobody_hoards_chunks_that_others_could_do() -> None:
    schedule, lot, _ = begun((ASKED[0],), (ASKED[3],), (ASKED[6],))
    lot.workers.update({0, 1})
    send(schedule, lot, 0, 0.0)
    assert schedule.choose(0, lot, 0.0, queued=1) is None  # two are left, for two workers
    assert isinstance(schedule.choose(1, lot, 0.0), Piece)


def test_a_straggler_is_repeated_only_at_the_end_and_only_when_far_too_slow() -> None:
    schedule, lot, _ = begun((ASKED[0],), (ASKED[3],))
    slow, quick = send(schedule, lot, 0, 0.0), send(schedule, lot, 1, 0.0)
    schedule.answered(quick, 10.0)
    assert schedule.choose(1, lot, 29.0) is None
    assert schedule.choose(1, lot, 31.0) is slow  # three times the median
    schedule.sent(slow, 1, 31.0)
    assert schedule.choose(2, lot, 99.0) is None  # twice is enough
    assert schedule.answered(slow, 5.0)
    assert not schedule.answered(slow, 100.0)  # the late one
    assert schedule.over


def test_lost_work_is_halved_goes_elsewhere_and_is_given_up_at_last() -> None:
    schedule, lot, _ = begun(tuple(ASKED[:24]))
    piece = send(schedule, lot, 0, 0.0, node="x", nodes=["x", "y"])
    schedule.lost(piece, 0, "x", "died", charged=True)
    assert [len(p.chunk) for p in lot.pending] == [12, 12]
    assert schedule.choose(0, lot, 0.0, node="x", nodes=["x", "y"]) is None  # not where it went wrong
    for tries in range(2, TRIES + 1):
        piece = send(schedule, lot, tries, 0.0, node="y", nodes=["y"])
        schedule.lost(piece, tries, "y", "died", charged=True)
    assert schedule.ended == [(lot.jobs[0], "4 workers were lost over the same 3 responses (the last: died)")]
    assert schedule.over


def test_waiting_work_of_a_lost_worker_is_not_blamed() -> None:
    schedule, lot, _ = begun(tuple(ASKED[:6]), tuple(ASKED[6:12]), tuple(ASKED[12:18]))
    head, waiting = (send(schedule, lot, 0, 0.0, queued=n) for n in range(2))
    schedule.lost(waiting, 0, "x", "died", charged=False)
    schedule.lost(head, 0, "x", "died", charged=True)
    assert [(len(p.chunk), p.tries) for p in lot.pending] == [(3, 1), (3, 1), (6, 0), (6, 0)]


def test_a_copy_that_still_runs_is_not_sent_a_third_time() -> None:
    schedule, lot, _ = begun((ASKED[0],))
    piece = send(schedule, lot, 0, 0.0)
    schedule.sent(piece, 1, 50.0)
    schedule.lost(piece, 0, "x", "died", charged=True)
    assert not lot.pending
    assert schedule.answered(piece, 1.0)
    assert schedule.over


def test_a_failed_job_ends_when_what_is_under_way_has_landed() -> None:
    schedule, lot, _ = begun((ASKED[0],), (ASKED[3],), (ASKED[6],))
    first, second = send(schedule, lot, 0, 0.0), send(schedule, lot, 1, 0.0)
    schedule.fail(first.job, "too long", first)
    assert not lot.pending
    assert schedule.ended == []
    schedule.answered(second, 1.0)
    assert schedule.ended == [(first.job, "too long")]


def test_a_candidate_that_cannot_be_opened_fails_after_some_tries() -> None:
    schedule = Schedule([job("a"), job("a")])
    lot = schedule.lots[0]
    for _ in range(TRIES):
        assert schedule.choose(0, None, 0.0) is lot
        schedule.opening(lot)
        schedule.not_opened(lot, "its node died")
    assert schedule.over
    assert all("could not be opened: 4 workers" in reason for _, reason in schedule.ended)


def node(cpus: int, gpus: int = 0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "expected"),
    [
        ([node(2)], None, None, (2, 1, 1, 0)),
        ([node(64)], 2, None, (2, 32, 32, 0)),
        ([node(8), node(2)], 3, None, (3, 2, 2, 0)),  # 4 + 1 places of two threads; three threads leave 2 + 0
        ([node(0), node(1), node(1)], 9, None, (2, 1, 1, 0)),
        ([node(64, 8), node(16)], None, None, (8, 8, 1, 1)),  # one a GPU, each with an eighth of the threads
        ([node(64, 8)], None, "cpu", (64, 1, 1, 0)),
        ([node(4), node(4, alive=False)], None, None, (4, 1, 1, 0)),
    ],
)
def test_workers_fit_the_nodes(
    monkeypatch: pytest.MonkeyPatch, nodes: Any, workers: int | None, device: str | None, expected: tuple[int, ...]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = shape(nodes, workers, device)
    assert (found.workers, found.threads, found.cpus, found.gpus) == expected


def test_the_drivers_threads_bound_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert shape([node(64)], 2, None).threads == 3


@pytest.mark.parametrize(
    ("nodes", "device", "complaint"),
    [
        ([node(8, 2)], "cuda:1", "every worker has one GPU of its own; say --device cuda"),
        ([node(8)], "cuda", "the cluster has no GPU"),
        ([node(0)], None, "offers no CPU"),
    ],
)
def test_impossible_shapes_are_one_sentence(nodes: Any, device: str | None, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        shape(nodes, None, device)
