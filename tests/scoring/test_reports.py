"""What a run says while it runs: --log-json lines, the progress bar's words, and options that reach the backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.progress import Totals
from harness.scoring._types import BatchReport

TASK = [{"id": str(i), "prompt": "what is a " * (i + 1), "responses": ["it is", "not that"], "correct": [True, False]}
        for i in range(6)]  # fmt: skip


@pytest.fixture
def arguments(tmp_path: Path, family: Callable[[str], Path]) -> list[str]:
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, TASK)))
    return ["eval", "--model", str(family("llama")), "--task-file", "mine=t.jsonl", "--device", "cpu"]


def test_each_batch_is_a_json_line(tmp_path: Path, harness: Callable[..., object], arguments: list[str]) -> None:
    done = harness(*arguments, "--log-json", "log.jsonl", "--batch-tokens", "80", "--json")
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) > 1
    assert sum(line["responses"] for line in lines) == 12
    assert [line["left"] for line in lines] == sorted((line["left"] for line in lines), reverse=True)
    assert lines[-1]["left"] == 0
    assert {"tokens", "computed", "seconds", "budget", "memory"} <= set(lines[0])


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--batch-tokens", "many"], "neither a number of at least 1 nor auto"),
        (["--attn", "fast"], "--attn fast: known: cascade, flex, padded, varlen, whole"),
        (["--backend", "prm", "--backend-option", "fild=min"], "did you mean 'fold'?"),
        (["--log-json", "nowhere/log.jsonl"], "--log-json nowhere/log.jsonl: cannot be written"),
    ],
)
def test_options_that_do_not_fit(
    harness: Callable[..., object], arguments: list[str], extra: list[str], sentence: str
) -> None:
    done = harness(*arguments, *extra)
    assert (done.returncode, done.stdout) == (2, "")  # type: ignore[attr-defined]
    assert sentence in done.stderr  # type: ignore[attr-defined]
    assert len(done.stderr.splitlines()) == 1  # type: ignore[attr-defined]


def test_the_attention_is_recorded_as_another_protocol(harness: Callable[..., object], arguments: list[str]) -> None:
    rewards = []
    for attn in ("cascade", "padded"):
        done = harness(*arguments, "--attn", attn, "--json")
        assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
        rewards.append(json.loads(done.stdout)["runs"][0])  # type: ignore[attr-defined]
    assert rewards[0]["metrics"] == rewards[1]["metrics"]


def test_the_bars_words_are_sums_over_batches() -> None:
    totals = Totals()
    totals.add(BatchReport(2, 600, 400, 1.0, 4096, 1))
    assert totals.add(BatchReport(1, 400, 400, 1.0, 4096, 0, 3_200_000_000)) == "500 tokens/s, 20% saved, 3.2 GB"
    assert Totals().add(BatchReport(1, 10, 16, 0.5, 4096, 0)) == "20 tokens/s"
    busy = BatchReport(1, 10, 10, 0.5, 4096, 0, 2_000_000_000, gpu=93)
    assert Totals().add(busy) == "20 tokens/s, GPU 93%, 2.0 GB"
