"""A generative judge behind a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from scoring_models import opened, refused, request, rewards

from harness.candidate import named
from harness.errors import RunFailed
from harness.scoring import judge
from harness.scoring._types import BatchReport, ScoringOptions


class Judge(BaseHTTPRequestHandler):
    """Prefers the longer response, but says A whenever either contains 'biased'."""

    failures = 0
    seen: ClassVar[list[dict[str, Any]]] = []
    keys: ClassVar[set[str | None]] = set()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Judge.seen.append(body)
        Judge.keys.add(self.headers["Authorization"])
        if Judge.failures:
            Judge.failures -= 1
            self.send_error(503)
            return
        text = body["messages"][0]["content"]
        a = text.split("<response_a>\n")[1].split("\n</response_a>")[0]
        b = text.split("<response_b>\n")[1].split("\n</response_b>")[0]
        verdict = "A" if len(a) > len(b) or "biased" in a + b else "B" if len(b) > len(a) else "C"
        said = "I cannot say" if "silent" in a + b else f"[[A]] would be rash. [[{verdict}]]"
        reply = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: Any) -> None:
        """Silence."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(judge, "PAUSE", 0.001)
    Judge.failures, Judge.seen, Judge.keys = 0, [], set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Judge) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}/v1"
        made.shutdown()
        thread.join()


def judged(server: str, *texts: str, **extra: str) -> list[float | None]:
    backend = opened(judge, named("m", "judge"), url=server, **extra)
    found = rewards(backend, [request("k", i, "a", text) for i, text in enumerate(texts)])
    return [found["k", i] for i in range(len(texts))]


def test_a_judge_is_asked_in_both_orders(server: str) -> None:
    assert judged(server, "long response", "short") == [1.0, 0.0]
    assert len(Judge.seen) == 2
    assert {body["model"] for body in Judge.seen} == {"m"}
    assert judged(server, "equal", "taste") == [0.5, 0.5]
    assert judged(server, "biased {b}", "short {a}") == [0.5, 0.5]  # braces in a response are text


def test_of_several_responses_each_gets_its_mean_win_rate(server: str) -> None:
    assert judged(server, "aaa", "a", "aa") == [1.0, 0.0, 0.5]
    assert len(Judge.seen) == 6


def test_an_example_without_a_verdict_is_unscored_with_a_reason(server: str) -> None:
    backend = opened(judge, named("m", "judge"), url=server)
    records = [
        r for b in backend.score([request("k", i, "a", t) for i, t in enumerate(["silent", "b"])], ()) for r in b
    ]
    assert {(r.reward, r.reason) for r in records} == {(None, "the judge gave no verdict ([[A]], [[B]] or [[C]])")}


def test_a_server_that_stumbles_is_asked_again_and_one_that_is_gone_stops_the_run(server: str) -> None:
    Judge.failures = 3
    assert judged(server, "aa", "a", parallel="1") == [1.0, 0.0]
    with pytest.raises(RunFailed, match="does not answer: "):
        judged("http://127.0.0.1:9", "aa", "a")
    assert "expected http" in refused(judge, named("m", "judge"), url="localhost")


def test_the_api_key_is_sent_and_not_recorded(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    judged(server, "aa", "a")
    assert Judge.keys == {"Bearer sk-very-secret"}
    assert "secret" not in json.dumps(dict(opened(judge, named("m", "judge"), url=server).protocol()))


def test_finished_examples_are_not_asked_about_again(server: str) -> None:
    asked = [request("k", i, "a", "b" * i) for i in range(2)]
    backend = opened(judge, named("m", "judge"), url=server)
    assert list(backend.score(asked, {("k", 0), ("k", 1)})) == []
    assert not Judge.seen


def test_a_prompt_of_ones_own_is_used_and_recorded(server: str, tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("mine {conversation} <response_a>\n{a}\n</response_a> <response_b>\n{b}\n</response_b>")
    judged(server, "aa", "a", prompt=str(path))
    assert Judge.seen[0]["messages"][0]["content"].startswith("mine user: a")
    assert opened(judge, named("m", "judge"), url=server, prompt=str(path)).protocol()["prompt"] == path.read_text()
    path.write_text("{a}")
    assert "needs {conversation}, {b}" in refused(judge, named("m", "judge"), url=server, prompt=str(path))


def test_each_example_is_reported_as_a_batch(server: str) -> None:
    seen: list[BatchReport] = []
    options = ScoringOptions(extra={"url": server}, on_batch=seen.append)
    asked = [request(f"k{i}", j, "a", "b" * (j + 1)) for i in range(2) for j in range(2)]
    rewards(judge.open_backend(named("m", "judge"), options), asked)
    assert [(report.responses, report.left) for report in seen] == [(2, 2), (2, 0)]
