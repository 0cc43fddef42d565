"""`harness compare A B`: what it says, in which format, and with which exit code."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from stored import dataset

from harness.cli.main import main
from results.records import CandidateRecord, ProtocolRecord, RewardRecord
from results.store import open_store

Compare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Compare]:
    """compare("A", "B", ...) -> (exit code, stdout, stderr), on h.duckdb in the working folder."""
    monkeypatch.chdir(tmp_path)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["compare", *arguments, "--db", "h.duckdb"])
        done = capsys.readouterr()
        return int(stop.value.code or 0), done.out, done.err

    yield run
    for number, handler in kept.items():
        signal.signal(number, handler)


def put(db: Path, name: str, wrong: range | list[int], *, task: str = "pairs", n: int = 400, **more: Any) -> str:
    """A complete run that gets every pair right but those in `wrong`; returns the candidate's id."""
    data = dataset(n, task=task)
    identity = more.get("id", f"id-of-{name}")
    with open_store(db) as store:
        candidate = store.add_candidate(CandidateRecord(identity, name, "checkpoint", more.get("detail", {})))
        protocol = store.add_protocol(ProtocolRecord(more.get("protocol", {"backend": "hf", "dtype": "float32"})))
        run = store.start_run(
            candidate, protocol, store.add_dataset(data), store.add_environment({}), seed=0, command=""
        )
        scale = more.get("scale", 1.0)
        rewards = [
            RewardRecord(e.key, r, scale * float((r == 0) != (i in wrong)))
            for i, e in enumerate(data.examples)
            for r in (0, 1)
        ]
        store.add_rewards(candidate, protocol, rewards)
        store.finish_run(run, more.get("status", "complete"), more.get("reason", ""))
    return identity


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """base has 40 of 400 wrong; worse 40 more (-10 points), twin the same, noisy 6 others (0 points)."""
    path = tmp_path / "h.duckdb"
    put(path, "base", range(40))
    put(path, "worse", range(80))
    put(path, "twin", range(40))
    put(path, "noisy", range(6, 46))
    return path


@pytest.mark.usefixtures("db")
def test_a_minus_b_and_the_baseline_is_b(compare: Compare) -> None:
    code, out, _ = compare("worse", "base")
    assert code == 0  # no question, no gate
    assert "B: base [id-of-base], the baseline" in out
    line = next(line for line in out.splitlines() if line.split()[:1] == ["pairs"])
    assert line.split()[1:4] == ["80.00", "90.00", "−10.00"]
    assert "+0 −40 of 400" in line
    assert "A does worse on 40, 41, 42 and 37 more" in out


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["worse", "base", "--fail-if-worse"], 1, "regression: worse by more than 0.5 points on pairs"),
        (["worse", "base", "--non-inferior"], 1, "regression"),
        (["base", "worse", "--fail-if-worse", "--strict"], 0, "not worse: a loss of 0.5 points or more is ruled out"),
        (["worse", "base", "--fail-if-worse", "--margin", "15", "--strict"], 0, "not worse"),
        (["noisy", "base", "--fail-if-worse"], 0, "inconclusive"),
        (["noisy", "base", "--fail-if-worse", "--strict"], 4, "inconclusive"),
        (["noisy", "base", "--non-inferior", "--strict"], 4, "inconclusive"),
        (["noisy", "base", "--non-inferior", "--strict", "--margin", "3"], 0, "not worse"),
        (["base", "base", "--fail-if-worse", "--strict"], 0, "identical: the same content, so the same rewards"),
    ],
)
def test_exit_codes(compare: Compare, arguments: list[str], code: int, words: str) -> None:
    found, out, err = compare(*arguments)
    assert (found, err) == (code, "")
    assert words in out


@pytest.mark.usefixtures("db")
def test_names_ids_and_starts_of_ids(compare: Compare) -> None:
    assert compare("id-of-worse", "id-of-base")[1] == compare("worse", "id-of-b")[1]


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bsae", "base"], "bsae: there is no such candidate: did you mean 'base'?"),
        (["base", "id-of-"], "several candidates are called so"),
        (["base", "twin", "--task", "pears"], "--task pears: no run of it in h.duckdb: did you mean 'pairs'?"),
        (["base", "twin", "--metric", "section/Chat"], "'section/Chat' is not a metric of pairs"),
        (["base", "twin", "--format", "xml"], "unknown format 'xml': known: json, junit, markdown, text"),
        (["base", "twin", "--strict"], "--strict needs a question"),
        (["base", "twin", "--fail-if-worse", "--non-inferior"], "two questions"),
        (["base", "twin", "--non-inferior", "--margin", "0"], "needs a --margin above 0"),
        (["base", "twin", "--fail-if-worse", "--margin", "-1"], "give at least 0"),
        (["base", "twin", "--fail-if-worse", "--alpha", "5"], "alpha 5: give a level above 0 and below .5"),
        (["base", "nowhere.yaml"], "nowhere.yaml"),
        (["base", "twin", "-o", "no/such/folder"], "cannot be written"),
    ],
)
def test_mistakes_are_one_sentence(compare: Compare, arguments: list[str], words: str) -> None:
    code, out, err = compare(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_runs_that_cannot_be_compared_say_why(db: Path, compare: Compare) -> None:
    put(db, "short", range(4), n=300)
    put(db, "half", range(4), status="partial", reason="--limit 9")
    put(db, "bf16", range(40), protocol={"backend": "hf", "dtype": "bfloat16", "template": "other"})
    put(db, "elsewhere", range(4), task="other")
    for name, words in {
        "short": "were measured on other data of pairs",
        "half": "half's run of pairs is partial (--limit 9): only complete runs are compared",
        "bf16": "under other protocols (dtype: bfloat16 and float32)",
        "elsewhere": "elsewhere has no run of pairs (and 1 more)",
    }.items():
        code, out, err = compare(name, "base")
        assert (code, out) == (2, "")
        assert words in err


def test_one_task_of_two_compared_is_open_with_strict(db: Path, compare: Compare) -> None:
    put(db, "base", range(40), task="other")
    code, out, _ = compare("base", "twin", "--fail-if-worse", "--margin", "5")
    assert code == 0
    assert "not compared: twin has no run of other" in out
    assert compare("base", "twin", "--fail-if-worse", "--margin", "5", "--strict")[0] == 4
    assert compare("base", "twin", "--fail-if-worse", "--margin", "5", "--strict", "--task", "pairs")[0] == 0


def test_a_rule_is_compared_with_a_model_whatever_its_protocol(db: Path, compare: Compare) -> None:
    put(db, "rule", range(200), protocol={"backend": "baseline", "rule": "length"})
    assert compare("base", "rule", "--fail-if-worse", "--strict")[0] == 0


def test_equal_weights_must_give_equal_rewards(db: Path, compare: Compare) -> None:
    put(db, "one", range(40), detail={"weights": "w"})
    put(db, "copy", range(40), detail={"weights": "w"})
    put(db, "odd", range(42), detail={"weights": "w"})
    assert "one and copy on pairs: the same weights, and the same rewards" in compare("one", "copy")[1]
    out = compare("odd", "one")[1]
    assert (
        "odd and one on pairs: the same weights and the same protocol, yet 4 of 800 rewards differ, by up to 1" in out
    )
    assert "weights" not in compare("odd", "base")[1]


def test_several_runs_of_one_candidate_that_differ_are_told(db: Path, compare: Compare) -> None:
    put(db, "base", range(40), protocol={"backend": "hf", "dtype": "bfloat16"}, scale=1.001)
    out = compare("base", "twin")[1]
    assert (
        "base has several runs of pairs, whose protocols differ in dtype: 400 of 800 rewards differ, by up to 0.001"
        in out
    )


def test_merged_databases_that_disagree_are_told(db: Path, compare: Compare) -> None:
    with open_store(db) as store:
        store.sql.execute(
            "INSERT INTO other_rewards SELECT candidate, protocol, example, response, reward + 1 FROM rewards"
            " WHERE candidate = 1 LIMIT 3"
        )
    assert "base: 3 rewards differ between merged databases" in compare("base", "twin")[1]


@pytest.mark.usefixtures("db")
def test_json_has_everything(compare: Compare) -> None:
    code, out, _ = compare("worse", "base", "--fail-if-worse", "--format", "json")
    found = json.loads(out)
    assert (code, found["exit_code"], found["verdict"]) == (1, 1, "regression")
    (row,) = found["rows"]
    assert (row["a"]["score"], row["b"]["score"]) == pytest.approx((0.8, 0.9))
    assert row["difference"] == pytest.approx(-0.1)
    assert row["p"] == pytest.approx(2 * 0.5**40)  # McNemar exact, 0 against 40
    assert row["worse"] == [str(i) for i in range(40, 80)]
    assert row["better"] == []
    assert json.loads(compare("base", "base", "--format", "json")[1])["rows"][0]["p_worse"] is None


def test_holm_over_the_tasks(db: Path, compare: Compare) -> None:
    for task in ("second", "third"):
        put(db, "base", range(40), task=task)
        put(db, "worse", range(40, 80), task=task)
    rows = json.loads(compare("worse", "base", "--fail-if-worse", "--format", "json")[1])["rows"]
    assert [row["task"] for row in rows] == ["pairs", "second", "third"]
    assert rows[0]["p_holm"] == pytest.approx(3 * rows[0]["p"])
    assert rows[0]["p_worse_holm"] == pytest.approx(3 * rows[0]["p_worse"])


def test_junit_as_readers_expect_it(db: Path, compare: Compare) -> None:
    put(db, "bad\x1b[31m<&\"'name", range(80), id="hostile-id")
    put(db, "base", range(40), task="other")
    code, out, _ = compare("worse", "base", "--fail-if-worse", "--format", "junit")
    root = ET.fromstring(out.encode())
    suites = root.findall("testsuite")
    assert (code, root.tag, len(suites)) == (1, "testsuites", 1)
    cases = suites[0].findall("testcase")
    assert {(case.get("classname"), case.get("name")) for case in cases} == {
        ("worse against base", "pairs"), ("worse against base", "other")
    }  # fmt: skip
    for element in (root, suites[0]):
        assert {k: element.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
            "tests": "2", "failures": "1", "errors": "0", "skipped": "1"
        }  # fmt: skip
    failure = next(case.find("failure") for case in cases if case.get("name") == "pairs")
    assert failure is not None
    assert failure.get("type") == "regression"
    assert {"properties", "testcase", "system-out"} == {child.tag for child in suites[0]}
    strict = ET.fromstring(compare("worse", "base", "--fail-if-worse", "--strict", "--format", "junit")[1].encode())
    assert strict.get("failures") == "2"
    hostile = ET.fromstring(compare("hostile-id", "base", "--format", "junit")[1].encode())
    assert next(case.get("classname") for case in hostile.iter("testcase")) == "bad␛[31m<&\"'name against base"


@pytest.mark.usefixtures("db")
def test_every_format_says_the_verdict_and_keeps_the_exit_code(compare: Compare) -> None:
    from harness import plugins

    found = plugins.known(plugins.Kind("format", "harness.comparing"))
    assert {"text", "markdown", "junit", "json"} <= found.keys()
    for name in found:
        code, out, _ = compare("worse", "base", "--fail-if-worse", "--format", name)
        assert (code, "regression" in out, out.endswith("\n")) == (1, True, True), name


def test_markdown_that_names_cannot_break_out_of(db: Path, compare: Compare) -> None:
    name = "a|b `x` <img src=x> @team [l](u)\n# h"
    put(db, name, range(80), id="hostile-id")
    _, out, _ = compare("hostile-id", "base", "--fail-if-worse", "--format", "markdown")
    assert out.startswith("### ✗ regression: worse by more than 0.5 points on pairs")
    assert "`a\\|b ˋxˋ <img src=x> @team [l](u) # h`" in out
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "`pairs`" in table[2]


@pytest.mark.usefixtures("db")
def test_a_file_is_written_whole(compare: Compare, tmp_path: Path) -> None:
    code, out, _ = compare("worse", "base", "--format", "markdown", "-o", "summary.md")
    assert (code, out) == (0, "")
    assert (tmp_path / "summary.md").read_text().startswith("### Comparison")
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_two_recipes_show_what_differs_first(harness: Any, tiny: Path, tmp_path: Path) -> None:
    rows = [{"id": str(i), "prompt": f"what is {i}", "responses": [f"it is {i}", "it is not"], "correct": [True, False]}
            for i in range(20)]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {"rm": str(tiny / "rm"), "experts": [{"model": str(tiny / "sft")}]}
    (tmp_path / "a.yaml").write_text(json.dumps({**recipe, "sweep": [0.1, 0.3]}))
    (tmp_path / "b.yaml").write_text(json.dumps({**recipe, "sweep": [0.3, 0.5], "formula": "weighted_sum"}))
    first = harness("compare", "a.yaml", "b.yaml")
    assert first.returncode == 2
    for name in ("a", "b"):
        assert harness("sweep", f"{name}.yaml", "--task-file", "mine=t.jsonl").returncode == 0
    done = harness("compare", "a.yaml", "b.yaml", "--fail-if-worse")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[:3] == [
        ["setting", "A", "B"],
        ["sweep", "0.1,", "0.3", "0.3,", "0.5"],
        ["formula", "lerp", "weighted_sum"],
    ]
    assert ["A:", "rm", "+", "0.3", "sft"] in [line[:5] for line in lines]
    assert "1 pair of equal lambda is compared; 2 merges have no partner" in done.stdout
    alone = harness("compare", "a.yaml", "rm + 0.3 sft")
    assert "2 pairs are compared: every merge of a.yaml with the other side" in alone.stdout
