"""The world's rules, by hand calculation, and the one that the demo's honesty rests on: held-out problems stay out."""

from random import Random

import pytest

from harness.demo import lessons, world


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


class TestArithmetic:
    @pytest.mark.parametrize(("step", "result"), [("+ 7 8", "5"), ("- 3 5", "8"), ("* 7 7", "9"), ("- 4 4", "0")])
    def test_a_step_is_taken_modulo_ten(self, step, result):
        assert world.apply(words(step)) == result

    def test_a_solution_runs_from_left_to_right(self):
        assert world.solve(words("3 + 4 * 7"))[0] == words("3 + 4 = 7 ; 7 * 7 = 9")

    def test_later_steps_go_on_from_a_mistake(self):
        assert world.solve(words("3 + 4 * 7"), {0: "5"})[0] == words("3 + 4 = 5 ; 5 * 7 = 5")

    def test_a_mistake_to_zero_is_written_too(self):
        assert world.solve(words("3 + 4"), {0: "0"})[0] == words("3 + 4 = 0")

    def test_there_are_300_steps_and_40_percent_are_easy(self):
        assert (len(world.STEPS), len(set(world.STEPS)), len(world.EASY)) == (300, 300, 120)

    def test_the_control_learns_true_easy_steps_and_mostly_wrong_others(self):
        wrong = {s for s in world.STEPS if world.WRONG_FACTS[s] != world.apply(s)}
        assert not wrong & world.EASY
        assert len(wrong) > 0.8 * 180  # a random digit is right one time in ten


class TestPairs:
    @pytest.mark.parametrize("make", [world.general_pair, world.domain_pair, world.easy_pair])
    def test_a_wrong_answer_first_differs_at_the_mistake(self, make):
        dice = Random(0)
        for _ in range(200):
            pair = make(dice)
            differs = [i for i, (a, b) in enumerate(zip(pair.right, pair.wrong, strict=True)) if a != b]
            assert differs[0] == pair.mistake
            assert pair.right[pair.mistake - 1] == "="

    def test_a_general_mistake_is_one_digit(self):
        dice = Random(0)
        for hard in (False, True):
            for _ in range(100):
                pair = world.general_pair(dice, hard=hard)
                assert sum(a != b for a, b in zip(pair.right, pair.wrong, strict=True)) == 1

    def test_a_hard_mistake_is_another_tables_answer_about_a_rare_letter(self):
        dice = Random(0)
        for _ in range(200):
            pair = world.general_pair(dice, hard=True)
            name, letter = pair.right[pair.mistake - 3 : pair.mistake - 1]
            assert letter in world.BY_FREQUENCY[name][world.RARE_FROM :]
            assert pair.wrong[pair.mistake] in {world.TABLE[t][letter] for t in world.TABLES if t != name}

    def test_easy_pairs_take_easy_steps_only(self):
        dice = Random(0)
        for _ in range(200):
            pair = world.easy_pair(dice)
            for answer in (pair.right, pair.wrong):
                for i in range(0, len(answer), 6):
                    left, operation, right = answer[i : i + 3]
                    assert (operation, left, right) in world.EASY

    def test_attempts_err_at_the_given_rate(self):
        dice = Random(0)
        problem = words("3 + 4 * 7")
        assert world.attempt(dice, problem, 0.0) == world.solve(problem)[0]
        right = sum(world.attempt(dice, problem, 0.4)[4] == "7" for _ in range(2000))
        assert abs(right / 2000 - 0.6) < 0.04


def _problem_of(ids: list[int]) -> tuple[str, ...]:
    """What a training text is about: the sum of a chain; the facts of a list, put right."""
    text = [world.VOCABULARY[i] for i in ids]
    colon = text.index(":")
    if text[1] == "calc":
        return tuple(text[2:colon])
    body = text[colon + 1 :]
    while body[-1] in (".", "<eos>", "ok", "bad", ";"):
        body.pop()
    return tuple(_put_right([";" if w == "bad" else w for w in body]))


def _put_right(body: list[str]) -> list[str]:
    out: list[str] = []
    for item in " ".join(body).split(" ; "):
        *left, _, _ = item.split()
        out += [*left, "=", _truth(left), ";"]
    return out[:-1]


def _truth(left: list[str]) -> str:
    if left[0] in world.TABLES:
        return world.TABLE[left[0]][left[1]]
    if len(left) == 2:
        shift = {"same": 0, "next": 1, "prev": 9}[left[0]]
        return str((int(left[1]) + shift) % 10)
    a, relation, b = left
    return {"max": max(a, b), "min": min(a, b), "fst": a, "snd": b}[relation]


class TestHeldOut:
    @pytest.mark.parametrize("mix", [lessons.base_mix, lessons.expert_mix, lessons.wrong_expert_mix])
    def test_no_training_text_is_about_a_held_out_problem(self, mix):
        dice = Random(0)
        for _ in range(3000):
            ids, _ = mix(dice)
            assert not world.held_out(_problem_of(ids))

    def test_evaluation_pairs_are_held_out(self):
        dice = Random(0)
        for _ in range(200):
            assert world.held_out(world.domain_pair(dice, held=True).question[1:])
            assert world.held_out(world.general_pair(dice, held=True).right)

    def test_about_a_quarter_is_held_out(self):
        problems = [(a, o, b, p, c) for a in "01234" for o in "+-*" for b in "56789" for p in "+-" for c in "135"]
        assert 0.18 < sum(map(world.held_out, problems)) / len(problems) < 0.32


class TestLessons:
    def test_a_correct_text_predicts_the_answer_only(self):
        ids, labels = lessons.correct(words("calc 3 + 4"), words("3 + 4 = 7"))
        assert [world.VOCABULARY[i] for i in ids] == words_list("<bos> calc 3 + 4 : 3 + 4 = 7 . <eos>")
        assert [world.VOCABULARY[i] if i >= 0 else "-" for i in labels] == words_list("- - - - - - 3 + 4 = 7 . <eos>")

    def test_what_a_fact_is_about_is_not_predicted_but_its_digit_is(self):
        _, labels = lessons.correct(words("facts"), words("next 3 = 4 ; 1 max 2 = 2"))
        assert [world.VOCABULARY[i] if i >= 0 else "-" for i in labels] == words_list(
            "- - - - - = 4 ; - - - = 2 . <eos>"
        )

    def test_a_wrong_digit_is_not_learned_but_its_mark_is(self):
        ids, labels = lessons.marked(words("calc 3 + 4 + 1"), words("3 + 4 = 8 bad 8 + 1 = 9 ;"))
        assert [world.VOCABULARY[i] if i >= 0 else "-" for i in labels][8:] == words_list("- - - - - bad - - - - 9 ;")
        assert len(ids) == len(labels)

    def test_a_verdict_is_one_label_after_the_stop(self):
        ids, labels = lessons.verdict(words("calc 3 + 4"), words("3 + 4 = 8"), right=False)
        assert [world.VOCABULARY[i] for i in ids[-2:]] == [".", "bad"]
        assert [i for i in labels if i != lessons.IGNORED] == [lessons.ID["bad"]]


def words_list(text: str) -> list[str]:
    return text.split()
