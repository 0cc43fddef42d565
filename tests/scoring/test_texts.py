"""What is prepared while the model is busy: tokenised once, in another thread; and which backend is the usual one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring_models import candidate, conversation

from harness.errors import ScoringError
from harness.executors import _backend
from harness.executors._types import ExecutorOptions, Job, Work
from harness.executors.local import LocalExecutor
from harness.scoring import hf
from harness.scoring._batching import Encoded
from harness.scoring._texts import Texts
from harness.scoring._types import Request, ScoringOptions


class Encoding:
    """Counts what is encoded, and where."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def __call__(self, requests: Sequence[Request]) -> list[Encoded]:
        self.threads.append(threading.current_thread())
        if not requests:
            raise ScoringError("the template refuses")
        return [Encoded(np.arange(3, dtype=np.int32), 1, cut=False) for _ in requests]


def test_what_was_begun_ahead_is_not_encoded_again() -> None:
    encoding = Encoding()
    texts, asked = Texts(encoding), conversation(2)
    texts.ahead(asked)
    assert texts.of(asked) is texts.of(asked)
    assert len(encoding.threads) == 1
    assert encoding.threads[0] is not threading.current_thread()
    texts.of(conversation(2))  # equal, but another list: nobody promised that it stays equal
    assert len(encoding.threads) == 2


def test_a_refusal_in_the_background_is_raised_where_the_texts_are_wanted() -> None:
    for begun in (True, False):
        texts, asked = Texts(Encoding()), list[Request]()
        if begun:
            texts.ahead(asked)
        with pytest.raises(ScoringError, match="the template refuses"):
            texts.of(asked)


class Recorder:
    """A backend that notes what it is asked to prepare."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def protocol(self) -> Mapping[str, Any]:
        return {}

    def prepare(self, requests: Sequence[Request]) -> None:
        self.heard.append(("prepare", requests[0].task))

    def score(self, requests: Sequence[Request], done: Any) -> Any:  # noqa: ARG002
        self.heard.append(("score", requests[0].task))
        return iter(())


class Ignored:
    """Runs that nobody keeps."""

    def start(self, *_: Any) -> Mapping[Any, float]:
        return {}

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


def test_the_next_task_of_a_candidate_is_prepared_before_this_one_is_scored(family: Callable[[str], Path]) -> None:
    works = []
    for task in ("first", "second"):
        work = Work.__new__(Work)
        work.__dict__["data"], work.__dict__["requests"] = None, [Request("k", 0, (), "text", task, "0")]
        works.append(work)
    one, other = candidate(family("llama")), candidate(family("mistral"))
    recorder = Recorder()
    jobs = [Job(one, works[0]), Job(one, works[1]), Job(other, works[0])]
    LocalExecutor(ExecutorOptions(), recorder).execute(jobs, Ignored())  # type: ignore[arg-type]
    assert recorder.heard == [("prepare", "second"), ("score", "first"), ("score", "second"), ("score", "first")]


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
