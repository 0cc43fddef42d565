"""A data set is scored window by window: whole examples, the same windows in every run, the same rewards as at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from executors_support import digest_of
from stored import dataset, example

from harness import runner
from harness.candidate import named, resolve
from harness.executors._types import ExecutorOptions, Job, Work
from harness.executors.local import LocalExecutor
from harness.runner import EvalRequest, Session
from harness.scoring import fake, hf
from harness.scoring._types import BatchReport, Request, ScoringOptions
from results.check import check
from results.records import DatasetRecord, RewardRecord
from results.store import Store, open_store


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.executors._types.WINDOW", 100)


def data(count: int = 10, **changes: Any) -> DatasetRecord:
    """Examples of 40 characters with two responses each, and one of 200."""
    examples = [example(i, prompt=[("user", f"{i:>20}")], responses=["x" * 10, f"{i:>10}"]) for i in range(count)]
    examples[4] = example(4, prompt=[("user", "long")], responses=["y" * 150, "z" * 50])
    return dataset(examples=examples, **changes)


def ids(windows: Iterator[Sequence[Request]]) -> list[list[str]]:
    return [[f"{r.example_id}.{r.response}" for r in window] for window in windows]


def test_windows_hold_whole_examples_in_order_up_to_their_size() -> None:
    work = Work(data())
    assert ids(work.windows()) == [
        ["0.0", "0.1", "1.0", "1.1"], ["2.0", "2.1", "3.0", "3.1"], ["4.0", "4.1"],  # longer than a window: alone
        ["5.0", "5.1", "6.0", "6.1"], ["7.0", "7.1", "8.0", "8.1"], ["9.0", "9.1"],
    ]  # fmt: skip
    assert ids(work.windows()) == ids(work.windows())


def test_an_example_that_stands_twice_is_scored_once() -> None:
    twice = data().examples[0]
    again = example(99, prompt=twice.prompt, responses=twice.responses)  # another id, the same content
    work = Work(dataset(examples=[*data().examples, twice, again]))
    assert ids(work.windows()) == ids(Work(data()).windows())


class Stops(fake.FakeBackend):
    """Counts what it is asked, reports each batch, and is interrupted when it has seen `after` windows."""

    def __init__(self, after: int = 100, on_batch: Callable[[BatchReport], None] = lambda _: None) -> None:
        self.asked: list[list[str]] = []
        self._after, self._on_batch = after, on_batch

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        self.asked += ids(iter([requests]))
        for batch in super().score(requests, done):
            self._on_batch(BatchReport(len(batch), 0, 0, 0.0, 0, 0))
            yield batch
            if len(self.asked) == self._after:
                raise KeyboardInterrupt


def run(store: Store, backend: Any, options: ScoringOptions | None = None, **changes: Any) -> None:
    request = EvalRequest([], [], store.path, scoring=options or ScoringOptions())
    executor = LocalExecutor(ExecutorOptions(scoring=request.scoring), backend)
    Session(store, request, executor).evaluate([named("m", "fake")], {"pairs": Work(data(**changes))})


def test_an_interrupted_run_goes_on_in_the_window_where_it_stopped(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole.duckdb", tmp_path / "stopped.duckdb"
    with open_store(whole) as store:
        run(store, Stops())
    again = Stops()
    with open_store(stopped) as store:
        with pytest.raises(KeyboardInterrupt):
            run(store, Stops(after=3))
        run(store, again)
        run(store, nothing := Stops())
    assert again.asked == ids(Work(data()).windows())[3:]
    assert nothing.asked == []
    assert digest_of(whole) == digest_of(stopped)


def test_reports_count_what_later_windows_still_lack(tmp_path: Path) -> None:
    left: list[int] = []
    options = ScoringOptions(on_batch=lambda batch: left.append(batch.left))
    executor = LocalExecutor(ExecutorOptions(scoring=options))
    executor._given = Stops(on_batch=executor._report)
    with open_store(tmp_path / "h.duckdb") as store:
        request = EvalRequest([], [], store.path, scoring=options)
        Session(store, request, executor).evaluate([named("m", "fake")], {"pairs": Work(data())})
    assert left == [16, 12, 10, 6, 2, 0]


def test_windows_give_the_bits_of_one_plan(tiny: Path) -> None:
    one = resolve(str(tiny / "rm"))
    found = []
    for size in (100, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.executors._types.WINDOW", size)
            backend = hf.open_backend(one, ScoringOptions(device="cpu", batch_tokens=64))
            windows = list(Work(data()).windows())
            records = [r for window in windows for batch in backend.score(window, ()) for r in batch]
        found.append((len(windows), {(r.example_key, r.response): r.reward for r in records}))
    assert [count for count, _ in found] == [6, 1]
    assert found[0][1] == found[1][1]


def test_examples_that_a_kill_left_without_a_data_set_are_no_damage(tmp_path: Path) -> None:
    class Broken(list[Any]):
        passes = 0

        def __iter__(self) -> Iterator[Any]:
            for i, one in enumerate(super().__iter__()):
                if self.passes and i == 7:
                    raise KeyboardInterrupt
                yield one
            self.passes += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("results._examples.TOGETHER", 2)
        patch.setattr("results._examples.parts.__defaults__", (2,))
        with open_store(tmp_path / "h.duckdb") as store:
            with pytest.raises(KeyboardInterrupt):
                store.add_dataset(dataset(examples=Broken(data().examples)))
            assert store.one("SELECT count(*) FROM examples") == (6,)
            assert store.one("SELECT count(*) FROM datasets") == (0,)
            assert check(store) == []
            run(store, Stops())
            assert store.one("SELECT count(*), max(key) FROM examples") == (10, 10)


def test_all_data_is_loaded_before_a_database_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "h.duckdb"
    request = EvalRequest(["m"], [], path, backend="fake")
    bad = runner.DataRequest(task_files={"t": tmp_path / "none.jsonl"})
    with pytest.raises(runner.TaskError, match=r"none\.jsonl"):
        runner.run_eval(runner.replace(request, data=bad))
    assert not path.exists()


def test_jobs_without_requests_end() -> None:
    class Ends:
        ended = 0

        def start(self, *_: Any) -> int:
            return 0

        def finish(self, *_: Any) -> None:
            self.ended += 1

    runs = Ends()
    LocalExecutor(ExecutorOptions(), Stops()).execute([Job(named("m", "fake"), Work(data()))], runs)  # type: ignore[arg-type]
    assert runs.ended == 1
