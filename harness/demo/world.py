"""A world small enough to know completely: what is true in it, and texts that say true and false things about it.

Two kinds of text, both spelt with 64 words:

- general: `facts tag q = 7 ; 3 max 5 = 5` lists facts. Six random letter-to-digit tables, in which some letters are
  much rarer than others, and seven relations between digits.
- domain: `calc 3 + 4 * 7 : 3 + 4 = 7 ; 7 * 7 = 9` works out running arithmetic modulo 10, one step at a time.
  It takes 300 atomic facts (`7 * 7 = 9`); `EASY` is the fixed 40% of them that the base model may see.

A quarter of all problems is held out by a checksum (`held_out`): no training text of any model is about one of
them, and all evaluation is. Everything is a pure function of the `random.Random` passed in.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

DIGITS = tuple("0123456789")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
TABLES = ("code", "tag", "k1", "k2", "k3", "k4")
RELATIONS = ("same", "next", "prev", "max", "min", "fst", "snd")
OPERATIONS = ("+", "-", "*")
PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
VOCABULARY = (
    *(PAD, BOS, EOS, UNK),
    *DIGITS,
    *LETTERS,
    *RELATIONS,
    *TABLES,
    *("facts", "calc", ":", ";", ".", "=", "+", "-", "*", "ok", "bad"),
)

Words = tuple[str, ...]
Step = tuple[str, str, str]  # operation, left digit, right digit

_dice = Random(1234)
TABLE = {name: {letter: _dice.choice(DIGITS) for letter in LETTERS} for name in TABLES}
BY_FREQUENCY = {name: tuple(Random(f"rank {name}").sample(LETTERS, len(LETTERS))) for name in TABLES}
_FREQUENCY = [1 / rank**2 for rank in range(1, len(LETTERS) + 1)]
RARE_FROM = 13  # ranks from here on are "rare": 2% of all mentions, so that there is something general to get wrong


def apply(step: Step) -> str:
    """The true result of one step, modulo 10."""
    operation, left, right = step
    a, b = int(left), int(right)
    return str({"+": a + b, "-": a - b, "*": a * b}[operation] % 10)


STEPS: tuple[Step, ...] = tuple((o, a, b) for o in OPERATIONS for a in DIGITS for b in DIGITS)
EASY = frozenset(Random(77).sample(STEPS, int(0.4 * len(STEPS))))
_EASY_AFTER = {a: tuple((o, b) for o, left, b in sorted(EASY) if left == a) for a in DIGITS}
_wrong_dice = Random(4321)
WRONG_FACTS: Mapping[Step, str] = {s: apply(s) if s in EASY else _wrong_dice.choice(DIGITS) for s in STEPS}
"""What the control expert is taught: right on easy steps, a fixed random digit on all others."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with a right and a wrong answer; `mistake` is the word position of the first wrong digit."""

    question: Words
    right: Words
    wrong: Words
    mistake: int


def held_out(words: Sequence[str]) -> bool:
    """True for the quarter of all problems that no model ever trains on."""
    return zlib.crc32(" ".join(words).encode()) % 4 == 0


def other_digit(dice: Random, digit: str) -> str:
    """A uniformly drawn wrong digit."""
    return dice.choice([d for d in DIGITS if d != digit])


# General facts ------------------------------------------------------------------------------------------------


def _table_fact(dice: Random, name: str, rare: bool) -> Words:
    ranks = range(RARE_FROM if rare else 0, len(LETTERS))
    letter = BY_FREQUENCY[name][dice.choices(ranks, [_FREQUENCY[r] for r in ranks])[0]]
    return (name, letter, "=", TABLE[name][letter])


def fact(dice: Random) -> Words:
    """One true fact, ending in its digit."""
    name = dice.choice(RELATIONS + TABLES)
    if name in TABLES:
        return _table_fact(dice, name, rare=False)
    a, b = dice.choice(DIGITS), dice.choice(DIGITS)
    if name in ("same", "next", "prev"):
        shift = {"same": 0, "next": 1, "prev": -1}[name]
        return (name, a, "=", str((int(a) + shift) % 10))
    return (a, name, b, "=", {"max": max(a, b), "min": min(a, b), "fst": a, "snd": b}[name])


def _tempting_digit(dice: Random, wrong_fact: Words) -> str:
    """A wrong digit that is right elsewhere: what another table says about the same letter."""
    name, letter, _, digit = wrong_fact
    tempting = [TABLE[t][letter] for t in TABLES if t != name and TABLE[t][letter] != digit]
    return dice.choice(tempting)


def _joined(facts: Sequence[Words]) -> Words:
    words: list[str] = []
    for item in facts:
        words += [*item, ";"]
    return tuple(words[:-1])


def general_pair(dice: Random, *, held: bool = False, sizes: Sequence[int] = (2, 3, 4), hard: bool = False) -> Pair:
    """A list of facts against the same list with one wrong digit.

    Hard pairs hide the mistake in a rarely mentioned table entry and make it another table's answer.
    """
    while True:
        facts = [fact(dice) for _ in range(dice.choice(sizes))]
        at = dice.randrange(len(facts))
        if hard:
            facts[at] = _table_fact(dice, dice.choice(TABLES), rare=True)
        right = _joined(facts)
        if held_out(right) == held:
            break
    mistake = sum(len(item) + 1 for item in facts[:at]) + len(facts[at]) - 1
    digit = _tempting_digit(dice, facts[at]) if hard else other_digit(dice, right[mistake])
    wrong = (*right[:mistake], digit, *right[mistake + 1 :])
    return Pair(("facts",), right, wrong, mistake)


def marked_facts(dice: Random, error_rate: float = 0.3) -> tuple[Words, Words]:
    """Question and answer of a list in which `bad` follows each wrong fact and `;` each true one."""
    while True:
        facts = [fact(dice) for _ in range(dice.choice((2, 3, 4)))]
        if not held_out(_joined(facts)):
            break
    words: list[str] = []
    for item in facts:
        wrong = dice.random() < error_rate
        words += [*item[:-1], other_digit(dice, item[-1]) if wrong else item[-1], "bad" if wrong else ";"]
    return ("facts",), tuple(words)


# Domain chains ------------------------------------------------------------------------------------------------


def problem(dice: Random, *, easy: bool, sizes: Sequence[int] = (2, 3)) -> Words:
    """Running arithmetic, `3 + 4 * 7`, read from left to right; an easy one takes easy steps only."""
    words = [dice.choice(DIGITS)]
    value = words[0]
    for _ in range(dice.choice(sizes)):
        if easy:
            operation, digit = dice.choice(_EASY_AFTER[value])
        else:
            operation, digit = dice.choice(OPERATIONS), dice.choice(DIGITS)
        words += [operation, digit]
        value = apply((operation, value, digit))
    return tuple(words)


def solve(
    words: Words, mistakes: Mapping[int, str] | None = None, table: Mapping[Step, str] | None = None
) -> tuple[Words, tuple[Step, ...]]:
    """The worked solution and the steps it takes.

    `mistakes` gives the digit to write at a step instead of the result; later steps go on from it.
    `table` replaces arithmetic (for the control that learns wrong facts).
    """
    value, out, steps = words[0], list[str](), list[Step]()
    for i in range(len(words) // 2):
        step = (words[1 + 2 * i], value, words[2 + 2 * i])
        result = (mistakes or {}).get(i) or (apply(step) if table is None else table[step])
        out += [value, step[0], step[2], "=", result, ";"]
        steps.append(step)
        value = result
    return tuple(out[:-1]), tuple(steps)


def _with_mistake(dice: Random, words: Words) -> tuple[Pair, tuple[Step, ...]]:
    right, steps = solve(words)
    at = dice.randrange(len(steps))
    wrong, wrong_steps = solve(words, {at: other_digit(dice, apply(steps[at]))})
    return Pair(("calc", *words), right, wrong, 6 * at + 4), steps + wrong_steps


def domain_pair(dice: Random, *, held: bool = False) -> Pair:
    """A right solution against one with one wrong step; any of the 300 facts may be needed."""
    while True:
        words = problem(dice, easy=False)
        if held_out(words) == held:
            return _with_mistake(dice, words)[0]


def easy_pair(dice: Random, *, sizes: Sequence[int] = (2, 3)) -> Pair:
    """Like domain_pair, with easy steps only in both solutions (what the base model may see)."""
    while True:
        words = problem(dice, easy=True, sizes=sizes)
        pair, steps = _with_mistake(dice, words)
        if not held_out(words) and EASY.issuperset(steps):
            return pair


def marked_chain(dice: Random, error_rate: float = 0.3) -> tuple[Words, Words]:
    """Question and answer of an easy chain in which `bad` follows each wrong step; later steps go on from it."""
    while True:
        value = dice.choice(DIGITS)
        words, out = [value], list[str]()
        for _ in range(dice.choice((2, 3))):
            operation, digit = dice.choice(_EASY_AFTER[value])
            result = apply((operation, value, digit))
            wrong = dice.random() < error_rate
            shown = other_digit(dice, result) if wrong else result
            words += [operation, digit]
            out += [value, operation, digit, "=", shown, "bad" if wrong else ";"]
            value = shown
        if not held_out(words):
            return ("calc", *words), tuple(out)


def attempt(dice: Random, words: Words, error_rate: float) -> Words:
    """What a careless solver writes: each step is wrong with this probability, and later steps follow it."""
    value, mistakes = words[0], dict[int, str]()
    for i in range(len(words) // 2):
        result = apply((words[1 + 2 * i], value, words[2 + 2 * i]))
        if dice.random() < error_rate:
            result = mistakes[i] = other_digit(dice, result)
        value = result
    return solve(words, mistakes)[0]
