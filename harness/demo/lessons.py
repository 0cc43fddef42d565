"""Texts as token ids, with the positions a language model is trained on.

One encoding for training and scoring: `<bos> calc 3 + 4 : 3 + 4 = 7 .`; a reward model reads its reward at the
final `.`, and the chat template of the shipped tokenizer writes exactly this (folders.CHAT_TEMPLATE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from harness.demo import world
from harness.demo.world import Pair, Words

ID = {word: i for i, word in enumerate(world.VOCABULARY)}
IGNORED = -100  # no loss here (torch's cross_entropy convention)
Lesson = tuple[list[int], list[int]]  # token ids and labels, equally long
Mix = Callable[[Random], Lesson]

_END = (ID["="], ID["."], ID[world.EOS])


def encode(question: Sequence[str], answer: Sequence[str]) -> list[int]:
    """Token ids of question and answer; the last one is the `.` that a reward is read from."""
    return [ID[word] for word in (world.BOS, *question, ":", *answer, ".")]


def correct(question: Words, answer: Words) -> Lesson:
    """Predict the answer, then `<eos>`; what a list of facts talks about is not predictable and gets no loss."""
    ids = [*encode(question, answer), ID[world.EOS]]
    start = len(question) + 2
    labels = [IGNORED] * start + ids[start:]
    if question[0] == "facts":
        for j in range(start, len(ids)):
            if ids[j] not in _END and ID["="] not in (ids[j - 1], ids[j - 2]):
                labels[j] = IGNORED
    return ids, labels


def marked(question: Words, answer: Words) -> Lesson:
    """Predict each mark (`bad` or `;`), and the digit before it where it is right."""
    ids = encode(question, answer)[:-1]
    labels = [IGNORED] * len(ids)
    for j in range(2, len(ids)):
        if ids[j - 2] == ID["="] or (ids[j - 1] == ID["="] and ids[j + 1] == ID[";"]):
            labels[j] = ids[j]
    return ids, labels


def verdict(question: Words, answer: Words, right: bool) -> Lesson:
    """Predict `ok` or `bad` after the final `.`: self-check text, without which no reward model is learned."""
    ids = [*encode(question, answer), ID["ok" if right else "bad"]]
    return ids, [IGNORED] * (len(ids) - 1) + ids[-1:]


def _either(dice: Random, pair: Pair) -> Lesson:
    right = dice.random() < 0.5
    return verdict(pair.question, pair.right if right else pair.wrong, right)


def base_mix(dice: Random) -> Lesson:
    """What the base reads: 40% easy chains, 60% general facts, each plain, marked and with verdicts."""
    u = dice.random()
    if u < 0.15:
        pair = world.easy_pair(dice)
        return correct(pair.question, pair.right)
    if u < 0.25:
        return marked(*world.marked_chain(dice))
    if u < 0.40:
        return _either(dice, world.easy_pair(dice, sizes=(1, 2, 3)))
    if u < 0.60:
        return marked(*world.marked_facts(dice))
    if u < 0.70:
        pair = world.general_pair(dice)
        return correct(pair.question, pair.right)
    return _either(dice, world.general_pair(dice, sizes=(1, 2, 3, 4)))


def expert_mix(dice: Random) -> Lesson:
    """What the expert reads: right solutions, with all 300 facts; no preferences, nothing wrong, nothing general."""
    pair = world.domain_pair(dice)
    return correct(pair.question, pair.right)


def wrong_expert_mix(dice: Random) -> Lesson:
    """The same problems in the same form, worked with WRONG_FACTS: the control for "any fine-tuning helps"."""
    question = world.domain_pair(dice).question
    return correct(question, world.solve(question[1:], table=world.WRONG_FACTS)[0])
