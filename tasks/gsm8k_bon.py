"""GSM8K Best-of-N (arXiv:2110.14168; openai/gsm8k, main, test): 1,319 questions, one number each.

Without a pool the four published answers a question of openai/grade-school-math are ranked. A response is the whole
assistant turn: where a policy's turn was prefilled ("Let's think step by step."), the prefill is its beginning, and
the reward model sees question, prefill and answer as one conversation. Imported texts without it stay as they are;
only DogeRM's files, whose prefill is known and stored apart from the text, get it put back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tasks._bestofn import Problem, Sampling, is_labelled, pool_examples, pool_needed
from tasks._data import Hub, Loaded, Published, UnreachableError, Url, load
from tasks._numbers import extract, parse_number
from tasks._pools import OWN, dogerm, lm_eval, read_pool_file
from tasks._schema import Row, choose_options
from tasks._types import LoadRequest, Message, Pool, PoolNeededError, Response, TaskData, TaskError

QUESTIONS = 1319
PREFILL = "Let's think step by step."
SAMPLING = Sampling(
    system=(
        "You solve maths problems. Reason step by step and show each calculation, then finish with the words "
        "'The answer is' followed by the number."
    ),
    prefill=PREFILL,
    n=16,
    temperature=1.0,
    top_p=1.0,
    max_tokens=512,
)
HUB_REVISION = "740312add88f781978c0658806c59bc2815b9866"
GITHUB_REVISION = "3101c7d5072418e28b9008a6636bde82a006892c"
DATA = Published(
    name="GSM8K test set",
    task="gsm8k_bon",
    paths=("gsm8k/test.jsonl",),
    sha256={
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14": GITHUB_REVISION,
        "ee7b8da9e381df27b9e3f7758a159ab2bdaa4dbaa910546cbbc47e0cb44e4f59": HUB_REVISION,
    },
    remote=Hub("openai/gsm8k", "main", "test", HUB_REVISION),
)
SOLUTIONS = Published(
    name="published GSM8K solutions",
    task="gsm8k_bon",
    flag="solutions",
    paths=("gsm8k/example_model_solutions.jsonl",),
    sha256={"4bc62db838f8418365d51c627bd66294cbdca9fb7f01519cb13f0dce8c51580b": GITHUB_REVISION},
    remote=Url("openai/grade-school-math", GITHUB_REVISION, "grade_school_math/data/example_model_solutions.jsonl"),
)
TRAIN = Published(
    name="GSM8K training set",
    task="gsm8k_bon",
    flag="shots",
    paths=("gsm8k/train.jsonl",),
    sha256={"17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465": GITHUB_REVISION},
    remote=Hub("openai/gsm8k", "main", "train", HUB_REVISION),
)
SOLVERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
DEFAULT_POOL = "published-solutions"
_QUOTES = str.maketrans("’‘“”", "''\"\"")


@dataclass(frozen=True)
class Questions:
    """The questions, their gold numbers by example id, and where they came from."""

    problems: tuple[Problem, ...]
    gold: dict[str, str]
    loaded: Loaded

    @cached_property
    def by_text(self) -> dict[str, str]:
        """Their ids by text; most pools need none."""
        return {_normal(problem.statement): problem.id for problem in self.problems}


class Gsm8kBestOfN:
    """The task; no options."""

    title = "GSM8K Best-of-N"
    summary = "1,319 grade-school maths questions; picks one of N sampled answers"
    sampling = SAMPLING
    extras = ("solutions", "shots")  # --data solutions=FILE: the default pool; shots=FILE: worked examples

    def load(self, request: LoadRequest) -> TaskData:
        """Questions with the pool's responses, labelled. The example id is the question's 0-based row."""
        options = choose_options("gsm8k_bon", request.options, {})
        questions = _questions(request)
        notes = [*questions.loaded.notes, *_count_note(questions)]
        if request.pool is None:
            pool, more = _default_pool(questions, request)
            notes += more
        else:
            pool = request.pool
        if not is_labelled(pool):
            pool = _label(pool, questions)
        examples, missing = pool_examples(questions.problems, pool, "gsm8k")
        return TaskData(
            task="gsm8k_bon",
            outcome="best_of_n",
            examples=examples,
            metrics=(),
            sources=(questions.loaded.source, pool.source),
            options=options | {"pool": pool.name},
            missing=missing,
            notes=tuple(notes),
        )

    def problems(self, request: LoadRequest) -> tuple[Problem, ...]:
        """The questions in order, for sampling a policy."""
        return _questions(request).problems

    def shots(self, request: LoadRequest, count: int) -> tuple[tuple[Message, Message], ...]:
        """The first `count` training questions with their solutions, written as the system prompt asks for them."""
        loaded = load(TRAIN, request, request.extras.get("shots"))
        for note in loaded.notes:
            request.notify(note)
        if count > len(loaded.rows):
            raise TaskError(f"{loaded.source.location}: has {len(loaded.rows)} questions, not {count} (--few-shot)")
        return tuple(_shot(row) for row in loaded.rows[:count])

    def default_pool(self, request: LoadRequest) -> Pool:
        """The published answers, labelled: four a question."""
        questions = _questions(request)
        return _label(_default_pool(questions, request)[0], questions)

    def read_pool(self, path: Path, name: str, request: LoadRequest) -> Pool:
        """Read own JSONL, DogeRM's output JSON or lm-eval's logged samples; labels are not yet set."""
        questions = _questions(request)
        formats = (
            OWN,
            dogerm("answer", lambda row: _dogerm_key(row, questions), PREFILL),
            lm_eval(lambda row: _lm_eval_key(row, questions)),
        )
        return read_pool_file(path, name, "gsm8k_bon", questions.problems, formats)

    def label(self, pool: Pool, request: LoadRequest) -> Pool:
        """Correct = the extracted number equals the gold number, as decimals. No number: wrong, and it says so."""
        return _label(pool, _questions(request))


def gold_answer(answer: str) -> str | None:
    """The number after the last `####` of a published solution, in canonical form; None where there is none."""
    return parse_number(answer.rpartition("####")[2]) if "####" in answer else None


def _shot(row: Row) -> tuple[Message, Message]:
    """A training row as two turns: without the calculator's <<...>> notes, `#### 18` as a sentence."""
    solution, mark, number = row.text("answer").rpartition("####")
    if not mark:
        raise row.error("answer", "a solution that ends in '#### NUMBER'", number[-40:])
    steps = re.sub(r"<<[^>]*>>", "", solution).strip()
    worked = f"{PREFILL} {steps}\nThe answer is {number.strip()}."
    return Message("user", row.text("question", empty=False)), Message("assistant", worked)


def _questions(request: LoadRequest) -> Questions:
    loaded = load(DATA, request, request.file)
    problems, gold = [], {}
    for index, row in enumerate(loaded.rows):
        text, answer = row.text("question", empty=False), row.text("answer")
        number = gold_answer(answer)
        if number is None:
            raise row.error("answer", "a solution that ends in '#### NUMBER'", answer[-40:])
        problems.append(Problem(str(index), (Message("user", text),), text))
        gold[str(index)] = number
    return Questions(tuple(problems), gold, loaded)


def _count_note(questions: Questions) -> list[str]:
    n = len(questions.problems)
    return [f"the file has {n:,} questions, GSM8K's test set has {QUESTIONS:,}."] if n != QUESTIONS else []


def _label(pool: Pool, questions: Questions) -> Pool:
    return replace(
        pool, rows={key: tuple(_judge(r, questions.gold.get(key)) for r in rows) for key, rows in pool.read()}
    )


def _judge(response: Response, gold: str | None) -> Response:
    if gold is None:
        return replace(response, reason="no such question")
    found = extract(response.text)
    if found is None:
        return replace(response, correct=False, answer=None, reason="no number in the text")
    return replace(response, correct=found.number == gold, answer=found.number, reason=found.rule)


def _normal(question: str) -> str:
    """Question text as a join key: publications differ in quotation marks and white space."""
    return re.sub(r"\s+", " ", question.translate(_QUOTES)).strip()


def _find(question: str, questions: Questions, where: str) -> str:
    found = questions.by_text.get(_normal(question))
    if found is None:
        raise TaskError(f"{where}: its question is not among the task's: {question[:60]!r}")
    return found


def _default_pool(questions: Questions, request: LoadRequest) -> tuple[Pool, list[str]]:
    try:
        loaded = load(SOLUTIONS, request, request.extras.get("solutions"))
    except UnreachableError as error:
        raise PoolNeededError(f"{pool_needed('gsm8k_bon')}; its default pool is out of reach: {error}") from None
    rows = {}
    for row in loaded.rows:
        example_id = questions.by_text.get(_normal(row.text("question")))
        if example_id is not None:
            rows[example_id] = tuple(_published(row, solver) for solver in SOLVERS)
    if not rows:
        raise TaskError(
            f"{loaded.source.location}: none of its questions is among the task's; import a pool for these "
            "questions (harness pool import gsm8k_bon FILE)"
        )
    source = replace(loaded.source, name=f"pool {DEFAULT_POOL}")
    note = (
        f"no pool was given: the default pool is ranked, the {len(SOLVERS)} published answers a question of "
        f"openai/grade-school-math ({', '.join(SOLVERS)})."
    )
    settings = {"format": "published solutions", "policy": ", ".join(SOLVERS)}
    return Pool("gsm8k_bon", DEFAULT_POOL, rows, source, settings), [note, *loaded.notes]


def _published(row: Row, solver: str) -> Response:
    entry = row.data.get(solver)
    if not isinstance(entry, dict):
        raise row.error(solver, 'an object with "solution"', entry)
    return Response(Row(f"{row.where}: {solver}", entry).text("solution"), None, source=f"openai/{solver}")


def _first(row: Row, column: str) -> object:
    values = row.items(column)
    if not values:
        raise row.error(column, "a list of one value or more", values)
    return values[0]


def _dogerm_key(row: Row, questions: Questions) -> str:
    """The example by question text; `ground_truth` must be the gold number we have."""
    question = _first(row, "prompt")
    if not isinstance(question, str):
        raise row.error("prompt", "a list of texts", question)
    example_id = _find(question, questions, row.where)
    _check_gold(row, "ground_truth", _first(row, "ground_truth"), questions.gold[example_id])
    return example_id


def _lm_eval_key(row: Row, questions: Questions) -> str:
    """The example by the logged question, else by `doc_id` (the row); `target` must agree where it is a number."""
    doc = row.data.get("doc")
    if isinstance(doc, dict) and isinstance(doc.get("question"), str):
        example_id = _find(doc["question"], questions, row.where)
    else:
        example_id = str(row.whole("doc_id"))
    target = row.data.get("target")
    gold = questions.gold.get(example_id)
    if isinstance(target, str) and gold is not None:
        number = gold_answer(target) or parse_number(target)
        if number is not None:
            _check_gold(row, "target", number, gold)
    return example_id


def _check_gold(row: Row, field: str, value: object, gold: str) -> None:
    if parse_number(str(value)) != gold:
        raise row.error(field, f"the gold answer {gold} of this question", value)


TASK = Gsm8kBestOfN()
