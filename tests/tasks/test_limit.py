"""--limit: even over subsets, seeded, in order, the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tasks._limit import limit_examples
from tasks._types import Example, Message, Response, TaskData, TaskError

SIZES = {"small": 2, "middle": 20, "large": 300}


def data() -> TaskData:
    pair = (Response("a", True), Response("b", False))
    examples = [
        Example(f"{subset}-{i}", (Message("user", "q"),), pair, subset) for subset, n in SIZES.items() for i in range(n)
    ]
    return TaskData("t", "accuracy", tuple(examples), (), ())


def test_spread_evenly_and_small_subsets_run_out_first() -> None:
    chosen = limit_examples(data(), 31, seed=0)
    assert Counter(example.subset for example in chosen.examples) == {"small": 2, "middle": 15, "large": 14}


def test_original_order_is_kept() -> None:
    everything = [example.id for example in data().examples]
    chosen = [example.id for example in limit_examples(data(), 40, seed=3).examples]
    assert chosen == sorted(chosen, key=everything.index)


def test_a_larger_limit_only_adds() -> None:
    ids = [{example.id for example in limit_examples(data(), n, seed=1).examples} for n in (5, 50, 200)]
    assert ids[0] < ids[1] < ids[2]
    assert [len(chosen) for chosen in ids] == [5, 50, 200]


def test_seeds_differ_and_repeat() -> None:
    runs = [[example.id for example in limit_examples(data(), 30, seed).examples] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_enough_is_everything() -> None:
    assert limit_examples(data(), 322, seed=0) == data()
    assert limit_examples(data(), 10_000, seed=0) == data()


@pytest.mark.parametrize("limit", [0, -3])
def test_nothing_is_refused(limit: int) -> None:
    with pytest.raises(TaskError, match="at least 1"):
        limit_examples(data(), limit, seed=0)


def test_independent_of_the_hash_seed() -> None:
    code = (
        "from tasks._limit import limit_examples as f\n"
        "from tasks._types import *\n"
        "e = [Example(str(i), (), (), 'ab'[i % 2]) for i in range(100)]\n"
        "print([x.id for x in f(TaskData('t', 'accuracy', tuple(e), (), ()), 9, 5).examples])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(runs) == 1
