"""Shards: what goes in comes out, files keep their limit, and no text can leave its string."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leaderboard import shards
from leaderboard.metrics import Measured
from results.queries_page import ExampleText


def example(i: int, *texts: str, prompt: str = "why?") -> ExampleText:
    labels = [1] + [0] * (len(texts) - 1)
    blank: list[Any] = [""] * len(texts)
    return ExampleText(str(i), [["user", prompt]], list(texts), labels, [None] * len(texts), blank, blank, "all")


def unpack(path: Path) -> Any:
    text = path.read_text(encoding="ascii")
    found = re.fullmatch(r'__shard\("([a-z0-9./-]+)","([A-Za-z0-9+/=]+)"\);\n', text)
    assert found is not None, text[:200]
    return json.loads(gzip.decompress(base64.b64decode(found[2])))


def written(folder: Path, *examples: ExampleText) -> list[dict[str, Any]]:
    found = shards.write_shards(folder, "toy", examples, {})
    assert found is not None
    rows = []
    for start, name in zip(found.starts, found.texts, strict=True):
        assert start == len(rows)
        rows += unpack(folder / name)
        assert (folder / name).stat().st_size <= shards.LIMIT
    return rows


def test_examples_come_back_in_order(tmp_path: Path) -> None:
    rows = written(tmp_path, *(example(i, f"yes {i}", "no") for i in range(1000)))
    assert [row["texts"][0] for row in rows] == [f"yes {i}" for i in range(1000)]
    index = unpack(tmp_path / "examples" / "toy-index.js")
    assert index["ids"] == [str(i) for i in range(1000)]
    assert set(index["labels"]) == {"10"}


def test_large_incompressible_data_is_split_within_the_limit(tmp_path: Path) -> None:
    noise = random.Random(0)
    texts = ["".join(map(chr, noise.choices(range(33, 9000), k=4000))) for _ in range(480)]
    rows = written(tmp_path, *(example(i, *texts[8 * i : 8 * i + 8]) for i in range(60)))
    assert len(rows) == 60
    assert len(list((tmp_path / "examples").glob("*-text-*"))) > 1


def test_one_enormous_example_is_cut_and_says_by_how_much(tmp_path: Path) -> None:
    noise = random.Random(0)
    text = "".join(map(chr, noise.choices(range(0x4E00, 0x9FFF), k=1_000_000)))
    (row,) = written(tmp_path, example(0, *([text] * 16)))
    assert all("more characters are in the database" in shown for shown in row["texts"])
    assert row["texts"][0].startswith(text[:1000])


@pytest.mark.parametrize(
    "text", ['</script><script>alert(1)</script>"', "\x00\u202e\u2028\ud800", "');//", "x" * 10**6]
)
def test_hostile_text_stays_inside(tmp_path: Path, text: str) -> None:
    (row,) = written(tmp_path, example(0, text, "b", prompt=text))
    assert row["texts"][0][:50] == text[:50]


def test_rewards_come_back_exactly(tmp_path: Path, make_run: Any) -> None:
    values = [[0.1, -1.5], [1 / 3, None], [float.fromhex("0x1.99999ap-4"), 1e30]]
    run = Measured(make_run(values, [[1, 0]] * 3, cut=[[True, False], [False] * 2, [False] * 2]))
    found = shards.write_shards(tmp_path, "toy", [example(i, "a", "b") for i in range(3)], {"c" * 64: run})
    assert found is not None
    (name,) = found.runs["c" * 64]
    stored = unpack(tmp_path / name)
    assert stored["rewards"] == [v for row in values for v in row]
    assert stored["cut"] == [0]


def test_float32_rewards_are_short_and_keep_their_order() -> None:
    logits = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    logits[:3] = [0.1, np.nextafter(np.float32(0.1), np.float32(1)), 0.1]
    short = np.array(shards.short_numbers(logits.astype(np.float64)))
    assert np.array_equal(short.astype(np.float32), logits)
    assert np.array_equal(np.argsort(short, kind="stable"), np.argsort(logits, kind="stable"))
    assert short[0] == short[2] == 0.1 < short[1]
    assert shards.short_numbers(np.array([0.1, np.nan, float(np.float32(0.1))]))[2] == float(np.float32(0.1))


def test_equal_content_gives_equal_files() -> None:
    assert shards.pack({"a": [1, 2]}) == shards.pack({"a": [1, 2]})


def test_no_example_means_no_shards(tmp_path: Path) -> None:
    assert shards.write_shards(tmp_path, "toy", [], {}) is None


def test_thousands_of_short_responses_are_kept(tmp_path: Path) -> None:
    noise = random.Random(0)
    texts = ["".join(map(chr, noise.choices(range(0x4E00, 0x9FFF), k=400))) for _ in range(1000)]
    found = shards.write_shards(tmp_path, "toy", [example(0, *texts)], {})
    assert found is not None
    assert unpack(tmp_path / found.texts[0])[0]["texts"] == texts
