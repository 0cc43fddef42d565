"""A generative judge behind an OpenAI-compatible server: pairs of responses, each pair in both orders.

    harness eval --backend judge --model NAME --backend-option url=http://localhost:8000/v1 ...

The reward of a response is its mean win rate over the other responses of its example: 1 for a verdict in its favour,
0 against it, one half for a tie or when the two orders disagree in full. NAME is what the server calls the model;
a candidate of this backend is that name. OPENAI_API_KEY is sent when it is set, and never stored.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

from harness.candidate import Candidate
from harness.errors import RunFailed, ScoringError
from harness.scoring._options import backend_options, number
from harness.scoring._types import Backend, BatchReport, Request, ScoringOptions
from results.records import RewardRecord

PROMPT = """Which of two responses to the same conversation is better: more correct, more helpful, safer?
Do not let their order or their length decide.

<conversation>
{conversation}
</conversation>

<response_a>
{a}
</response_a>

<response_b>
{b}
</response_b>

End with exactly one of [[A]], [[B]] or [[C]]; [[C]] is a tie."""
TRIES, PAUSE = 4, 0.5  # seconds before the second try, doubled each time
_VERDICT = re.compile(r"\[\[([ABC])\]\]")
_POINTS = {"A": 1.0, "B": 0.0, "C": 0.5}


class Server:
    """Chat completions of one model."""

    def __init__(self, url: str, model: str, timeout: float) -> None:
        if not url.startswith(("http://", "https://")):
            raise ScoringError(f"--backend-option url={url}: expected http://HOST:PORT/v1")
        self._url, self._model, self._timeout = url.rstrip("/") + "/chat/completions", model, timeout

    def ask(self, prompt: str) -> str:
        """The model's answer at temperature 0. Raises RunFailed when the server does not give one."""
        body = {"model": self._model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "seed": 0}
        reason = ""
        for attempt in range(TRIES):
            try:
                return self._post(body)
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code}"
                if error.code < 500 and error.code != 429:
                    break
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            except (KeyError, IndexError, TypeError, ValueError):
                reason = "its answer is not a chat completion"
                break
            if attempt + 1 < TRIES:
                time.sleep(PAUSE * 2**attempt)
        raise RunFailed(f"the judge at {self._url} does not answer: {reason}")

    def _post(self, body: Mapping[str, Any]) -> str:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=self._timeout) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])


def points(answer: str) -> float | None:
    """1 for A, 0 for B, one half for a tie, by the last verdict of an answer; None without one."""
    found = _VERDICT.findall(answer)
    return _POINTS[found[-1]] if found else None


class JudgeBackend:
    """Mean win rates within an example."""

    def __init__(self, candidate: Candidate, options: ScoringOptions) -> None:
        known = {"url": None, "parallel": "8", "timeout": "120", "prompt": ""}
        given = backend_options("judge", options.extra, known)
        self._model, self._on_batch = candidate.name, options.on_batch
        self._server = Server(given["url"], candidate.name, number("judge", "timeout", given["timeout"]))
        self._parallel = max(1, int(number("judge", "parallel", given["parallel"])))
        self._prompt = _read_prompt(given["prompt"]) if given["prompt"] else PROMPT

    def protocol(self) -> Mapping[str, Any]:
        """Where the server stands does not change what the model says; its name and the prompt do."""
        settings = {"model": self._model, "prompt": self._prompt, "temperature": 0, "orders": "both"}
        return {"backend": "judge", **settings}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        examples: dict[str, list[Request]] = {}
        for r in requests:
            examples.setdefault(r.example_key, []).append(r)
        left = [rs for rs in examples.values() if not all((r.example_key, r.response) in done for r in rs)]
        waiting = sum(map(len, left))
        with ThreadPoolExecutor(self._parallel) as pool:
            for responses in left:
                begun = time.perf_counter()
                found = self._example(responses, pool)
                waiting -= len(found)
                self._on_batch(BatchReport(len(found), 0, 0, time.perf_counter() - begun, 0, waiting))  # no tokens seen
                yield found

    def _example(self, responses: Sequence[Request], pool: ThreadPoolExecutor) -> list[RewardRecord]:
        pairs = [
            (a, b) for one, other in combinations(range(len(responses)), 2) for a, b in ((one, other), (other, one))
        ]
        answers = list(pool.map(lambda ab: self._server.ask(self._text(responses[ab[0]], responses[ab[1]])), pairs))
        won: dict[int, list[float]] = {i: [] for i in range(len(responses))}
        for (a, b), answer in zip(pairs, answers, strict=True):
            verdict = points(answer)
            if verdict is None:
                return [_unscored(r, "the judge gave no verdict ([[A]], [[B]] or [[C]])") for r in responses]
            won[a].append(verdict)
            won[b].append(1 - verdict)
        if len(responses) == 1:
            return [_unscored(responses[0], "a judge compares responses, and this example has one")]
        return [RewardRecord(r.example_key, r.response, sum(won[i]) / len(won[i])) for i, r in enumerate(responses)]

    def _text(self, a: Request, b: Request) -> str:
        said = "\n".join(f"{message.role}: {message.content}" for message in a.prompt)
        found = {"conversation": said, "a": a.text, "b": b.text}
        return re.sub(r"\{(conversation|a|b)\}", lambda match: found[match[1]], self._prompt)


def _unscored(request: Request, reason: str) -> RewardRecord:
    return RewardRecord(request.example_key, request.response, None, reason=reason)


def _read_prompt(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScoringError(f"--backend-option prompt={path}: cannot be read ({error})") from None
    lacking = [name for name in ("{conversation}", "{a}", "{b}") if name not in text]
    if lacking:
        raise ScoringError(f"{path}: a judge's prompt needs {', '.join(lacking)}")
    return text


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    return JudgeBackend(candidate, options)
