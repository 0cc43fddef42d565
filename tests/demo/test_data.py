"""The demo's data: the published schemas, labels that are true, and the same bytes each time."""

import json
from collections import Counter

import pytest

from harness.demo import data, world
from harness.demo.programs import read_programs
from tasks import autoj

PROGRAMS = read_programs()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return data.write_data(tmp_path_factory.mktemp("demo")).folder


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def truth(prompt: str, answer: str) -> bool:
    """Whether an answer is right, judged anew from its text."""
    if prompt.startswith("calc "):
        return answer == " ".join(world.solve(tuple(prompt.split()[1:]))[0])
    return all(_fact_is_true(item.split()) for item in answer.split(" ; "))


def _fact_is_true(item: list[str]) -> bool:
    *left, _, digit = item
    if left[0] in world.TABLES:
        return world.TABLE[left[0]][left[1]] == digit
    if len(left) == 2:
        return (int(left[1]) + {"same": 0, "next": 1, "prev": 9}[left[0]]) % 10 == int(digit)
    a, relation, b = left
    return {"max": max(a, b), "min": min(a, b), "fst": a, "snd": b}[relation] == digit


def test_the_same_bytes_each_time(folder, tmp_path):
    again = data.write_data(tmp_path).folder
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for name in files:
        assert (folder / name).read_bytes() == (again / name).read_bytes()


class TestPreferencePairs:
    def test_columns_and_all_23_subsets(self, folder):
        table = rows(folder / "rewardbench" / "filtered.jsonl")
        columns = {"prompt", "chosen", "chosen_model", "rejected", "rejected_model", "subset", "id"}
        assert all(set(row) == columns for row in table)
        assert len({row["subset"] for row in table}) == 23
        assert len({row["id"] for row in table}) == len(table)

    def test_chosen_is_right_and_rejected_is_wrong(self, folder):
        for row in rows(folder / "rewardbench" / "filtered.jsonl"):
            assert truth(row["prompt"], row["chosen"])
            assert not truth(row["prompt"], row["rejected"])

    def test_reasoning_is_the_domain_held_out_and_without_repeats(self, folder):
        table = [r for r in rows(folder / "rewardbench" / "filtered.jsonl") if r["subset"].startswith(("math", "hep"))]
        prompts = [row["prompt"] for row in table]
        assert len(prompts) == len(set(prompts)) == 2004
        assert all(world.held_out(prompt.split()[1:]) for prompt in prompts)

    def test_maths_and_code_hold_equally_many_pairs(self, folder):
        count = Counter(row["subset"] for row in rows(folder / "rewardbench" / "filtered.jsonl"))
        assert count["math-prm"] == sum(n for subset, n in count.items() if subset.startswith("hep-"))


class TestAutoJ:
    def test_labels_say_which_response_is_right(self, folder):
        for row in rows(folder / "autoj" / "testdata_pairwise.jsonl"):
            right = [truth(row["prompt"], row[f"response {i}"]) for i in (1, 2)]
            assert right == {0: [True, False], 1: [False, True], 2: [False, False]}[row["label"]]
            assert row["response 1"] != row["response 2"]

    def test_every_kind_of_label_and_both_kinds_of_scenario(self, folder):
        table = rows(folder / "autoj" / "testdata_pairwise.jsonl")
        assert {row["label"] for row in table} == {0, 1, 2}
        chains = {row["scenario"] for row in table if row["prompt"].startswith("calc")}
        assert chains == {*data.MATH_SCENARIOS, *autoj.CODE}


class TestBestOfN:
    def test_gold_answers_end_the_way_gsm8k_does(self, folder):
        for row in rows(folder / "gsm8k" / "test.jsonl"):
            solution, gold = row["answer"].split("\n#### ")
            assert truth(row["question"], solution)
            assert solution.endswith(f"= {gold}")

    def test_sixteen_attempts_a_question_and_steps_wrong_four_times_in_ten(self, folder):
        questions = rows(folder / "gsm8k" / "test.jsonl")
        pool = {row["example_id"]: row["responses"] for row in rows(folder / "pools" / "gsm8k_bon.jsonl")}
        assert list(pool) == [str(i) for i in range(len(questions))]
        assert {len(responses) for responses in pool.values()} == {16}
        first = [(q, r) for i, q in enumerate(questions) for r in pool[str(i)]]
        wrong = sum(r["text"].split()[4] != q["answer"].split()[4] for q, r in first)
        assert abs(wrong / len(first) - 0.4) < 0.03

    def test_the_last_number_of_an_attempt_is_its_answer(self, folder):
        for row in rows(folder / "pools" / "gsm8k_bon.jsonl"):
            for response in row["responses"]:
                *_, equals, answer = response["text"].split()
                assert equals == "="
                assert answer in world.DIGITS


def passes(source: str, asserts: list[str]) -> bool:
    space: dict[str, object] = {}
    exec(source, space)
    try:
        for line in asserts:
            exec(line, space)
    except Exception:  # noqa: BLE001 - wrong programs may fail in any way
        return False
    return True


class TestPrograms:
    @pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
    def test_right_programs_pass_and_wrong_ones_fail(self, program):
        assert all(passes(program.source(body), program.asserts()) for body in program.right)
        assert not any(passes(program.source(body), program.asserts()) for body in program.wrong)

    def test_rows_have_the_published_fields_and_the_test_splits_ids(self, folder):
        table = rows(folder / "mbpp" / "mbpp.jsonl")
        fields = {"text", "code", "task_id", "test_setup_code", "test_list", "challenge_test_list"}
        assert all(set(row) == fields and 11 <= row["task_id"] <= 510 for row in table)
        pool = {row["example_id"]: len(row["responses"]) for row in rows(folder / "pools" / "mbpp_bon.jsonl")}
        assert pool == {str(row["task_id"]): 16 for row in table}

    def test_programs_do_not_repeat_a_name(self):
        assert len({program.name for program in PROGRAMS}) == len(PROGRAMS) == 24
