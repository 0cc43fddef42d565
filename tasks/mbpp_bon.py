"""MBPP Best-of-N (arXiv:2108.07732): Python programs that must pass every assert of their problem.

The 500 test problems (task_id 11 to 510) by default; `variant=sanitized` has the 427 hand-verified ones, whose tests
differ in 127, `variant=full` all 974. There is no default pool: programs come from a policy. Labels come from the
sandbox, once per distinct program and tests, and never depend on the reward model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks._bestofn import Problem, Sampling, pool_examples, pool_needed
from tasks._data import Hub, Loaded, Published, load
from tasks._pools import BIGCODE, EVALPLUS, OWN, dogerm, read_pool_file
from tasks._programs import extract_program
from tasks._schema import Row, choose_options
from tasks._types import LoadRequest, Message, Pool, Response, TaskData, TaskError

SAMPLING = Sampling(
    system="Write Python code that solves the task. Put the whole program into one code block.",
    prefill="",
    n=16,
    temperature=0.2,
    top_p=0.95,
    max_tokens=512,
)
TEST_IDS = range(11, 511)
SHOT_IDS = (2, 3, 4, 1, *range(5, 11))  # the prompt split; the three that its authors prompted with come first
COUNTS = {"test": 500, "sanitized": 427, "full": 974}
OPTIONS = {"variant": ("test", "sanitized", "full"), "unsafe_exec": ("no", "yes")}

HUB_REVISION = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
ALL_SPLITS = "train+test+validation+prompt"
FULL = Published(
    name="MBPP",
    task="mbpp_bon",
    paths=("mbpp/mbpp.jsonl",),
    sha256={  # deepseek-ai/DeepSeek-Coder's copy, and the hub's test split
        "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f": "2f9fd85927c669dae3c0fbb2d607274023af243e",
        "566fd53060ffba5766dace1d1e2f4c38906781526de222b0dfbdbc325b696c77": HUB_REVISION,
    },
    remote=Hub("google-research-datasets/mbpp", "full", ALL_SPLITS, HUB_REVISION),
)
SANITIZED = Published(
    name="MBPP sanitized",
    task="mbpp_bon",
    paths=("mbpp/sanitized-mbpp.json",),
    sha256={  # mrigankpawagi/PropertyEval's copy
        "8ac32b2799150228e2d745aed09c870b7e4444246d4727d1004576207ef40769": "b2be813dcff867cc350c61b8d3ea57ec088ce1ac",
    },
    remote=Hub("google-research-datasets/mbpp", "sanitized", ALL_SPLITS, HUB_REVISION),
)


@dataclass(frozen=True, slots=True)
class Tests:
    """What decides a program: its asserts, and code that runs after the program and before them."""

    asserts: tuple[str, ...]
    setup: str
    reference: str


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems of a variant, their tests by example id, and where they came from."""

    problems: tuple[Problem, ...]
    tests: Mapping[str, Tests]
    loaded: Loaded


class MbppBestOfN:
    """The task; options: `variant`, `unsafe_exec`."""

    title = "MBPP Best-of-N"
    summary = "500 Python problems with asserts; picks one of N sampled programs"
    sampling = SAMPLING

    def load(self, request: LoadRequest) -> TaskData:
        """The pool's programs with the labels that it carries. Example ids are the task_ids, in ascending order."""
        options = choose_options("mbpp_bon", request.options, OPTIONS)
        if request.pool is None:
            raise pool_needed("mbpp_bon")
        _check_variant(request.pool, options["variant"])
        found = _problems(request)
        examples, missing = pool_examples(found.problems, request.pool, f"mbpp-{options['variant']}")
        unknown = [r.reason for example in examples for r in example.responses if r.correct is None]
        if unknown:
            missing = (*missing, f"{len(unknown)} programs without a verdict ({unknown[0] or 'never run'})")
        return TaskData(
            task="mbpp_bon",
            outcome="best_of_n",
            examples=examples,
            metrics=(),
            sources=(found.loaded.source, request.pool.source),
            options={
                "variant": options["variant"],
                "pool": request.pool.name,
                "sandbox": request.pool.settings.get("sandbox", ""),
            },
            missing=missing,
            notes=(*found.loaded.notes, *_count_note(found, options["variant"])),
        )

    def problems(self, request: LoadRequest) -> tuple[Problem, ...]:
        """The problems of the variant in order of task_id, for sampling a policy."""
        return _problems(request).problems

    def shots(self, request: LoadRequest, count: int) -> tuple[tuple[Message, Message], ...]:
        """`count` problems of the prompt split (task_id 1 to 10) with their reference programs."""
        loaded = load(FULL, request, request.file)
        rows = {row.whole("task_id"): row for row in loaded.rows}
        ids = [task_id for task_id in SHOT_IDS if task_id in rows]
        if count > len(ids):
            raise TaskError(f"{loaded.source.location}: has {len(ids)} problems to show, not {count} (--few-shot)")
        return tuple(_shot(rows[task_id]) for task_id in ids[:count])

    def tests(self, request: LoadRequest) -> Mapping[str, Tests]:
        """Asserts, setup code and reference program of every problem, by example id."""
        return _problems(request).tests

    def read_pool(self, path: Path, name: str, request: LoadRequest) -> Pool:
        """Read own JSONL, DogeRM's output JSON, bigcode's generations.json or EvalPlus' samples.jsonl."""
        found = _problems(request)
        formats = (OWN, dogerm("outputs", _dogerm_key, ""), EVALPLUS, BIGCODE)
        return read_pool_file(path, name, "mbpp_bon", found.problems, formats)

    def label(self, pool: Pool, request: LoadRequest) -> Pool:
        """Run every program against its problem's asserts in the sandbox.

        pass is correct, fail, timeout, memory and output-limit are wrong, a sandbox error stays unknown. The reason
        says status, why, and how the program was found; `settings["sandbox"]` says the tier.
        """
        options = choose_options("mbpp_bon", request.options, OPTIONS)
        tests = _problems(request).tests
        strange = next((key for key in pool.rows if key not in tests), None)
        if strange is not None:
            raise TaskError(f"pool '{pool.name}' answers example '{strange}', which variant {options['variant']} lacks")
        judged = _judge(pool, tests, request, unsafe=options["unsafe_exec"] == "yes")
        return replace(judged, settings={**judged.settings, "variant": options["variant"]})


def _check_variant(pool: Pool, variant: str) -> None:
    """Labels hold for the tests they were made with, and those of the variants differ."""
    labelled = pool.settings.get("variant", variant)
    if {labelled, variant} - {"test", "full"} and labelled != variant:
        raise TaskError(
            f"mbpp_bon: pool '{pool.name}' was labelled with the tests of variant '{labelled}', not '{variant}'; "
            "import it again for this variant, or ask for the other"
        )


def _judge(pool: Pool, tests: Mapping[str, Tests], request: LoadRequest, *, unsafe: bool) -> Pool:
    from tasks.sandbox import Check, check

    programs = [(key, extract_program(r.text)) for key, responses in pool.rows.items() for r in responses]
    checks = (Check(program.code, tests[key].asserts, tests[key].setup) for key, program in programs)
    verdicts = iter((request.check or check)(checks, unsafe=unsafe))
    rules = iter(program.rule for _, program in programs)
    tiers: set[str] = set()
    rows = {}
    for key, responses in pool.rows.items():
        judged = []
        for response in responses:
            verdict = next(verdicts)
            tiers.add(str(verdict.tier))
            judged.append(_labelled(response, verdict, next(rules)))
        rows[key] = tuple(judged)
    return replace(pool, rows=rows, settings={**pool.settings, "sandbox": ", ".join(sorted(tiers))})


def _labelled(response: Response, verdict: Any, rule: str) -> Response:
    status = str(verdict.status)
    correct = {"pass": True, "sandbox-error": None}.get(status, False)
    why = f"{status}: {verdict.reason}" if verdict.reason and verdict.reason != status else status
    return replace(response, correct=correct, reason=f"{why} ({rule}; sandbox {verdict.tier})")


def _problems(request: LoadRequest) -> Problems:
    variant = choose_options("mbpp_bon", request.options, OPTIONS)["variant"]
    loaded = load(SANITIZED if variant == "sanitized" else FULL, request, request.file)
    rows = sorted(((row.whole("task_id"), row) for row in loaded.rows), key=lambda pair: pair[0])
    problems, tests = [], {}
    for task_id, row in rows:
        if variant == "test" and task_id not in TEST_IDS:
            continue
        example_id = str(task_id)
        if example_id in tests:
            raise TaskError(f"{row.where}: task_id {task_id} is already used: ids must be unique")
        tests[example_id] = _tests(row, variant)
        statement = row.text("prompt" if variant == "sanitized" else "text", empty=False)
        problems.append(Problem(example_id, (_asked(statement, tests[example_id]),), statement))
    if not problems:
        raise TaskError(f"{loaded.source.location}: has none of the test problems (task_id 11 to 510)")
    return Problems(tuple(problems), tests, loaded)


def _shot(row: Row) -> tuple[Message, Message]:
    tests = _tests(row, "full")
    return _asked(row.text("text", empty=False), tests), Message("assistant", f"```python\n{tests.reference}\n```")


def _asked(statement: str, tests: Tests) -> Message:
    """The frame of DogeRM and bigcode: the statement and the first assert."""
    return Message("user", f'"""\n{statement}\n{tests.asserts[0]}\n"""')


def _tests(row: Row, variant: str) -> Tests:
    asserts = tuple(row.texts("test_list"))
    if not asserts:
        raise row.error("test_list", "a list of one assert or more", [])
    setup = "\n".join(row.texts("test_imports")) if variant == "sanitized" else row.text("test_setup_code")
    return Tests(asserts, setup.replace("\r\n", "\n"), row.text("code").replace("\r\n", "\n"))


def _count_note(found: Problems, variant: str) -> list[str]:
    n, published = len(found.problems), COUNTS[variant]
    return [f"the file has {n} problems, variant '{variant}' has {published}."] if n != published else []


def _dogerm_key(row: Row) -> str:
    """The example by the task_id column, which repeats one id per sample."""
    ids = row.items("task_id")
    if not ids or isinstance(ids[0], bool) or not isinstance(ids[0], int) or len(set(map(str, ids))) != 1:
        raise row.error("task_id", "a list that repeats one whole number", ids)
    return str(ids[0])


TASK = MbppBestOfN()
