"""Writes the demo's made-up data in the schemas of the published benchmarks, laid out like a data directory.

Nothing in it comes from RewardBench, Auto-J, GSM8K or MBPP but the column names and the names of the subsets and
scenarios. All problems are held out from training (world.held_out). The same bytes on every call and machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from harness.demo import world
from harness.demo.programs import Program, read_programs
from harness.demo.world import Pair, Words
from tasks import autoj

CHAT = ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med")
CHAT_HARD = ("mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst",
             "llmbar-adver-GPTOut", "llmbar-adver-manual")  # fmt: skip
SAFETY = ("refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond", "donotanswer")
CODE = ("hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust")
GENERAL_PER_SUBSET = 45
MATH_PAIRS, CODE_PAIRS = 1002, 167  # maths weighs as much as all code in RewardBench: 1,002 = 6 x 167

MATH_SCENARIOS = dict.fromkeys(autoj.MATH, 60)
OTHER_SCENARIOS = tuple(name for name in autoj.SCENARIOS if name not in (*autoj.MATH, *autoj.CODE))
CODE_ROWS, OTHER_ROWS, TIE_RATE = 12, 4, 0.2

QUESTIONS, SAMPLES, ERROR_RATE = 80, 16, 0.4
MBPP_IDS = 11  # the first task_id of the published test split


@dataclass(frozen=True, slots=True)
class DemoData:
    """Where everything was written: `folder` serves as --data-dir, `pools` are files for `harness pool import`."""

    folder: Path
    pools: Mapping[str, Path]


def _distinct(make: Callable[[], Pair]) -> Iterator[Pair]:
    seen: set[tuple[Words, Words]] = set()
    while True:
        pair = make()
        key = (pair.question, pair.right if pair.question == ("facts",) else ())
        if key not in seen:
            seen.add(key)
            yield pair


def _general_by_subset() -> dict[str, list[Pair]]:
    dice = Random("demo general pairs")
    kinds: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (CHAT, {"sizes": (2, 3)}),
        (CHAT_HARD, {"sizes": (2, 3, 4), "hard": True}),
        (SAFETY, {"sizes": (5, 6)}),
    ]
    out = {}
    for subsets, kind in kinds:
        pairs = _distinct(lambda kind=kind: world.general_pair(dice, held=True, **kind))  # type: ignore[misc]
        out.update({subset: list(islice(pairs, GENERAL_PER_SUBSET)) for subset in subsets})
    return out


def _domain_by_subset() -> dict[str, list[Pair]]:
    dice = Random("demo domain pairs")
    pairs = _distinct(lambda: world.domain_pair(dice, held=True))
    sizes = {"math-prm": MATH_PAIRS} | dict.fromkeys(CODE, CODE_PAIRS)
    return {subset: list(islice(pairs, size)) for subset, size in sizes.items()}


def general_pairs() -> list[Pair]:
    """All general pairs of the RewardBench-like file, in its order: Chat, Chat Hard, Safety."""
    return [pair for pairs in _general_by_subset().values() for pair in pairs]


def domain_pairs() -> list[Pair]:
    """All domain pairs of the RewardBench-like file (its Reasoning subsets), in its order; no problem twice."""
    return [pair for pairs in _domain_by_subset().values() for pair in pairs]


def _text(words: Words) -> str:
    return " ".join(words)


def _rewardbench() -> Iterator[dict[str, Any]]:
    number = 0
    for subset, pairs in (_general_by_subset() | _domain_by_subset()).items():
        for pair in pairs:
            yield {
                "prompt": _text(pair.question),
                "chosen": _text(pair.right),
                "chosen_model": "made-up: right",
                "rejected": _text(pair.wrong),
                "rejected_model": "made-up: one mistake",
                "subset": subset,
                "id": number,
            }
            number += 1


def _equally_wrong(dice: Random, pair: Pair) -> str:
    """Another answer with one mistake in the same place: neither is better."""
    used = (pair.right[pair.mistake], pair.wrong[pair.mistake])
    digit = dice.choice([d for d in world.DIGITS if d not in used])
    if pair.question[0] == "calc":
        return _text(world.solve(pair.question[1:], {pair.mistake // 6: digit})[0])
    return _text((*pair.wrong[: pair.mistake], digit, *pair.wrong[pair.mistake + 1 :]))


def _autoj() -> Iterator[dict[str, Any]]:
    dice = Random("demo auto-j")
    general = _distinct(lambda: world.general_pair(dice, held=True))
    domain = _distinct(lambda: world.domain_pair(dice, held=True))
    sizes = MATH_SCENARIOS | dict.fromkeys(autoj.CODE, CODE_ROWS) | dict.fromkeys(OTHER_SCENARIOS, OTHER_ROWS)
    for scenario, size in sizes.items():
        for pair in islice(general if scenario in OTHER_SCENARIOS else domain, size):
            if dice.random() < TIE_RATE:
                label, responses = 2, (_text(pair.wrong), _equally_wrong(dice, pair))
            else:
                label = dice.randrange(2)
                responses = (_text(pair.right), _text(pair.wrong))
                responses = responses if label == 0 else responses[::-1]
            yield {
                "scenario": scenario,
                "label": label,
                "prompt": _text(pair.question),
                "response 1": responses[0],
                "response 2": responses[1],
            }


def questions() -> list[Words]:
    """The problems of the GSM8K-like file, held out, in its order."""
    dice = Random("demo gsm8k")
    pairs = _distinct(lambda: world.domain_pair(dice, held=True))
    return [pair.question[1:] for pair in islice(pairs, QUESTIONS)]


def _gsm8k() -> Iterator[dict[str, Any]]:
    for question in questions():
        solution = world.solve(question)[0]
        yield {"question": _text(("calc", *question)), "answer": f"{_text(solution)}\n#### {solution[-1]}"}


def attempts() -> list[list[Words]]:
    """The pool of the GSM8K-like file: 16 attempts at each of `questions()`."""
    dice = Random("demo gsm8k pool")
    return [[world.attempt(dice, q, ERROR_RATE) for _ in range(SAMPLES)] for q in questions()]


def _gsm8k_pool() -> Iterator[dict[str, Any]]:
    for i, samples in enumerate(attempts()):
        responses = [{"text": _text(words), "source": "made-up: careless solver"} for words in samples]
        yield {"example_id": str(i), "responses": responses}


def _mbpp() -> Iterator[dict[str, Any]]:
    for i, program in enumerate(read_programs()):
        yield {
            "text": program.text,
            "code": program.source(program.right[0]),
            "task_id": MBPP_IDS + i,
            "test_setup_code": "",
            "test_list": program.asserts(),
            "challenge_test_list": [],
        }


def _sample_program(dice: Random, program: Program) -> dict[str, str]:
    body = dice.choice(program.right if dice.random() < 0.5 else program.wrong)
    source = program.source(body)
    text = source if dice.random() < 0.5 else f"```python\n{source}\n```"
    return {"text": text, "source": "made-up: careless programmer"}


def _mbpp_pool() -> Iterator[dict[str, Any]]:
    dice = Random("demo mbpp pool")
    for i, program in enumerate(read_programs()):
        responses = [_sample_program(dice, program) for _ in range(SAMPLES)]
        yield {"example_id": str(MBPP_IDS + i), "responses": responses}


README = """# Made-up data

Written by the demo. The files have the columns, and the names of subsets and scenarios, of RewardBench, Auto-J Eval,
GSM8K and MBPP, so that the same code reads them. Every text is generated: lists of invented facts ("general"),
running arithmetic modulo 10 ("domain"), and two dozen one-line programs. Scores on them are not scores on those
benchmarks.

- rewardbench/filtered.jsonl: Chat, Chat Hard and Safety hold lists of facts (in Chat Hard the mistake is in a rarely
  mentioned entry and is another table's answer; Safety's lists are longer than any in training); Reasoning holds
  2,004 arithmetic chains with one step wrong in the rejected one.
- autoj/testdata_pairwise.jsonl: arithmetic chains in the maths and code scenarios, lists of facts in the others;
  label 2 means that both are wrong in the same place.
- gsm8k/test.jsonl and pools/gsm8k_bon.jsonl: arithmetic chains, and 16 attempts each by a solver that gets 40% of
  its steps wrong.
- mbpp/mbpp.jsonl and pools/mbpp_bon.jsonl: small programs, and 16 attempts each, about half of them right.
"""


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def write_data(folder: Path) -> DemoData:
    """Write everything under `folder` (created where missing; about 1.5 MB, under a second)."""
    _write(folder / "rewardbench" / "filtered.jsonl", _rewardbench())
    _write(folder / "autoj" / "testdata_pairwise.jsonl", _autoj())
    _write(folder / "gsm8k" / "test.jsonl", _gsm8k())
    _write(folder / "mbpp" / "mbpp.jsonl", _mbpp())
    pools = {
        "gsm8k_bon": _write(folder / "pools" / "gsm8k_bon.jsonl", _gsm8k_pool()),
        "mbpp_bon": _write(folder / "pools" / "mbpp_bon.jsonl", _mbpp_pool()),
    }
    (folder / "README.md").write_text(README, encoding="utf-8", newline="\n")
    return DemoData(folder, pools)
