"""What is prepared while the model is busy: tokenised once, in another thread; and which backend is the usual one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring_models import candidate, conversation
from stored import dataset, example

from harness.errors import ScoringError
from harness.executors import _backend
from harness.executors._types import ExecutorOptions, Job, Work
from harness.executors.local import LocalExecutor
from harness.scoring import hf
from harness.scoring._batching import Encoded
from harness.scoring._texts import Texts
from harness.scoring._types import Request, ScoringOptions
from tasks._types import Message


class Encoding:
    """Counts what is encoded, and where."""

    def __init__(self, give: Callable[[Sequence[Request]], list[Encoded]] | None = None) -> None:
        self.threads: list[threading.Thread] = []
        self.give = give or (lambda requests: [Encoded(np.arange(3, dtype=np.int32), 1, cut=False) for _ in requests])

    def __call__(self, requests: Sequence[Request]) -> list[Encoded]:
        self.threads.append(threading.current_thread())
        if not requests:
            raise ScoringError("the template refuses")
        return self.give(requests)


def same(one: Sequence[Encoded], other: Sequence[Encoded]) -> bool:
    return [(e.ids.tolist(), e.split, e.cut) for e in one] == [(e.ids.tolist(), e.split, e.cut) for e in other]


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_begun_ahead_is_not_encoded_again(kept: bool) -> None:
    encoding = Encoding()
    texts, asked = Texts(encoding, kept=kept), conversation(2)
    texts.ahead(asked)
    texts.ahead(conversation(2))  # the same texts, read anew
    assert same(texts.of(conversation(2)), encoding(asked))
    assert [thread is threading.current_thread() for thread in encoding.threads] == [False, True]


def test_a_sweep_encodes_each_window_once_and_reads_it_back_whole() -> None:
    windows = [conversation(2), conversation(3), [Request("", 0, (Message("user", "x"),), "")]]
    encoding = Encoding(lambda requests: [
        Encoded(np.arange(len(r.text), dtype=np.int32) + i, min(i, len(r.text)), cut=i == 1)
        for i, r in enumerate(requests)
    ])  # fmt: skip
    texts = Texts(encoding, kept=True)
    for _ in range(3):
        for window in windows:
            assert same(texts.of(list(window)), encoding.give(window))
    assert len(encoding.threads) == len(windows)


def test_other_texts_under_the_same_keys_are_encoded_anew() -> None:
    texts = Texts(Encoding(lambda requests: [Encoded(np.full(1, len(r.text), np.int32), 0, False) for r in requests]),
                  kept=True)  # fmt: skip
    for text in ("a", "bb", "a"):
        assert texts.of([Request("key", 0, (), text)])[0].ids.tolist() == [len(text)]


def test_a_full_disk_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.scoring._texts.os.pwrite", full)
    encoding = Encoding()
    texts = Texts(encoding, kept=True)
    assert same(texts.of(conversation(2)), texts.of(conversation(2)))
    assert len(encoding.threads) == 2


def test_a_refusal_in_the_background_is_raised_where_the_texts_are_wanted() -> None:
    for begun in (True, False):
        texts, asked = Texts(Encoding(), kept=True), list[Request]()
        if begun:
            texts.ahead(asked)
        with pytest.raises(ScoringError, match="the template refuses"):
            texts.of(asked)


class Recorder:
    """A backend that notes what it is asked to prepare."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []

    def protocol(self) -> Mapping[str, Any]:
        return {}

    def prepare(self, requests: Sequence[Request]) -> None:
        self.heard.append(("prepare", requests[0].task, requests[0].example_id))

    def score(self, requests: Sequence[Request], done: Any) -> Any:  # noqa: ARG002
        self.heard.append(("score", requests[0].task, requests[0].example_id))
        return iter(())


class Ignored:
    """Runs that nobody keeps."""

    def start(self, *_: Any) -> int:
        return 4

    def done(self, *_: Any) -> frozenset[Any]:
        return frozenset()

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


def work(task: str, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Four examples, of which a window holds two."""
    monkeypatch.setattr("harness.executors._types.WINDOW", 20)
    return Work(dataset(task=task, examples=[example(i, prompt=[], responses=[f"{i}234567890"]) for i in range(4)]))


def test_what_comes_next_is_prepared_before_a_window_is_scored(
    family: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (work(task, monkeypatch) for task in ("first", "second"))
    one, other = candidate(family("llama")), candidate(family("mistral"))
    recorder = Recorder()
    jobs = [Job(one, first), Job(one, second), Job(other, first)]
    LocalExecutor(ExecutorOptions(), recorder).execute(jobs, Ignored())  # type: ignore[arg-type]
    assert recorder.heard == [
        ("prepare", "first", "2"), ("score", "first", "0"), ("prepare", "second", "0"), ("score", "first", "2"),
        ("prepare", "second", "2"), ("score", "second", "0"), ("score", "second", "2"),
        ("prepare", "first", "2"), ("score", "first", "0"), ("score", "first", "2"),
    ]  # fmt: skip


def test_prepared_texts_give_the_same_rewards(family: Callable[[str], Path]) -> None:
    asked, later = conversation(2), conversation(3)
    backend = hf.open_backend(candidate(family("llama")), ScoringOptions())
    plain = [
        list(hf.open_backend(candidate(family("llama")), ScoringOptions()).score(some, ())) for some in (asked, later)
    ]
    first = list(backend.score(asked, ()))
    backend.prepare(later)  # type: ignore[attr-defined]
    assert [first, list(backend.score(later, ()))] == plain


def test_vllm_is_the_usual_backend_on_a_gpu_where_it_suits(
    family: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    llama, other, usual = candidate(family("llama")), candidate(family("qwen3")), ScoringOptions()
    assert _backend.backend_name(llama, None, usual) == "hf"
    monkeypatch.setattr(_backend, "has_cuda", lambda: True)
    monkeypatch.setattr(_backend, "find_spec", lambda name: name == "vllm")
    assert _backend.backend_name(llama, None, usual) == "vllm"
    assert _backend.backend_name(other, None, usual) == "hf"
    for said in (ScoringOptions(device="cpu"), ScoringOptions(device="cuda:1"), ScoringOptions(attn="flex")):
        assert _backend.backend_name(llama, None, said) == "hf"
    assert _backend.backend_name(llama, "hf", usual) == "hf"
    monkeypatch.setattr(_backend, "find_spec", lambda _: None)
    assert _backend.backend_name(llama, None, usual) == "hf"
