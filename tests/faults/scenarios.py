"""The commands that the campaign kills: how to prepare each, and what must hold after a kill and at the end."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiny import write_models

from results import migrations
from results.digest import digest
from results.store import Store, open_store

DB = "h.duckdb"
Run = Callable[[list[str]], int]


def _nothing(_folder: Path) -> None:
    """No condition of its own."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command on a prepared folder. After every kill the database opens; at the end it equals an undisturbed one."""

    name: str
    command: tuple[str, ...]
    prepare: Callable[[Path, Run], None]
    check_between: Callable[[Path], None] = _nothing
    check_end: Callable[[Path, Path], None] = lambda _work, _whole: None
    opens_between: bool = True
    content: Callable[[Path], str | None] | None = None  # the digest, where the usual one cannot be taken


def _lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)))


def _pairs(folder: Path, count: int = 600) -> None:
    rows: list[dict[str, object]] = [
        {"id": str(i), "prompt": f"question {i}", "responses": [f"right {i}", f"wrong {i}"], "correct": [True, False],
         "subset": f"s{i % 3}"} for i in range(count)
    ]  # fmt: skip
    _lines(folder / "pairs.jsonl", rows)


EVAL = ("eval", "--backend", "fake", "--task-file", "pairs=pairs.jsonl", "--db", DB)


def _eval(folder: Path, _run: Run) -> None:
    _pairs(folder)


def _scores(folder: Path, _run: Run) -> None:
    _pairs(folder, 3000)
    rng = random.Random(0)
    rows = [{"problem": f"question {i}", "solution_reference": ["chosen", "rejected"],
             "score": [rng.gauss(1, 1), rng.gauss(0, 1)]} for i in range(3000)]  # fmt: skip
    rng.shuffle(rows)
    (folder / "scores.json").write_text(json.dumps(rows))


def _sweep(folder: Path, _run: Run) -> None:
    write_models(folder / "models")
    _pairs(folder, 300)
    recipe = {"rm": "models/rm", "experts": ["models/sft"], "sweep": [0.2, 0.4, 0.6], "baselines": ["rm"]}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))


def _policy(folder: Path, run: Run) -> None:
    write_models(folder / "models")
    _pool(folder, run)


def _pool(folder: Path, _run: Run) -> None:
    data = folder / "data" / "gsm8k"
    data.mkdir(parents=True)
    rng = random.Random(0)
    answers = [rng.randrange(100) for _ in range(600)]
    _lines(
        data / "test.jsonl", [{"question": f"question {i}?", "answer": f"so\n#### {a}"} for i, a in enumerate(answers)]
    )
    _lines(
        folder / "pool.jsonl",
        [{"example_id": str(i), "responses": [{"text": f"The answer is {rng.choice((a, a + 1))}.", "source": "policy"}
                                              for _ in range(4)]} for i, a in enumerate(answers)],
    )  # fmt: skip


def _board(folder: Path, run: Run) -> None:
    _pairs(folder)
    assert run([*EVAL, "--model", "a", "--model", "b", "--model", "c"]) == 0


def _site_is_whole(folder: Path) -> None:
    site = folder / "site"
    if site.exists():
        page = (site / "index.html").read_text()
        assert "</html>" in page, "half a page"


def _site_at_end(work: Path, whole: Path) -> None:
    names = [sorted(str(p.relative_to(f)) for p in f.rglob("*")) for f in (work / "site", whole / "site")]
    assert names[0] == names[1], "other files than an undisturbed build"
    assert not list(work.glob(".site*")), "leftovers of a killed build"


def _merge(folder: Path, run: Run) -> None:
    _board(folder, run)
    assert run([*EVAL[:-1], "other.duckdb", "--model", "c", "--model", "d", "--model", "e"]) == 0


def _repair(folder: Path, run: Run) -> None:
    _board(folder, run)
    with open_store(folder / DB) as store:
        store.sql.execute("INSERT INTO rewards SELECT * FROM rewards WHERE example % 3 = 0")
        store.sql.execute("DELETE FROM rewards WHERE example % 7 = 1")
        store.sql.execute("UPDATE examples SET prompt = '[]' WHERE key = 5")


def _export_is_whole(folder: Path) -> None:
    import pyarrow.parquet as pq

    for path in (folder / "export").rglob("*.parquet"):
        pq.read_metadata(path)


def _export_at_end(work: Path, whole: Path) -> None:
    files = [sorted(p.relative_to(f) for p in (f / "export").rglob("*.parquet")) for f in (work, whole)]
    assert files[0] == files[1]
    for name in files[0]:
        assert (work / name).read_bytes() == (whole / name).read_bytes(), f"{name} differs"


def _next_version() -> None:
    """A migration as a later release may bring it: a table is rewritten, row by row."""

    def rewrite(connection: object) -> None:
        execute = connection.execute  # type: ignore[attr-defined]
        execute("CREATE TABLE moved AS SELECT * FROM rewards")
        execute("DROP TABLE rewards")
        execute(migrations.V1[migrations.V1.index("CREATE TABLE rewards") :].split(";")[0])
        for part in range(40):
            execute(f"INSERT INTO rewards SELECT * FROM moved WHERE example % 40 = {part}")
        execute("DROP TABLE moved")

    migrations.MIGRATIONS = (*migrations.MIGRATIONS, rewrite)
    migrations.CURRENT = len(migrations.MIGRATIONS)


def _one_version_or_the_other(folder: Path) -> None:
    import duckdb

    with duckdb.connect(str(folder / DB), read_only=True) as connection:
        version = connection.execute("SELECT max(version) FROM harness_schema").fetchall()[0][0]
        assert connection.execute("SELECT count(*) FROM rewards").fetchall() == [(3600,)], "rewards are missing"
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert version in (migrations.CURRENT, migrations.CURRENT + 1)
    assert "moved" not in tables, "half a migration"


def _migrated_content(folder: Path) -> str | None:
    """Digest of a database of either version."""
    import duckdb

    with duckdb.connect(str(folder / DB), read_only=True) as connection:
        return digest(Store(connection, folder / DB)).total


# What the forked server does before a command that starts with this word (which it takes away).
PREPARE: dict[str, Callable[[], None]] = {"--next-version": _next_version}


SCENARIOS = (
    Scenario("eval", (*EVAL, "--model", "a", "--model", "b"), _eval),
    Scenario("scores-import", ("scores", "import", "scores.json", "--task-file", "pairs=pairs.jsonl", "--candidate",
                               "m", "--db", DB), _scores),
    Scenario("pool-import", ("pool", "import", "gsm8k_bon", "pool.jsonl", "--data-dir", "data", "--db", DB), _pool),
    Scenario("sweep", ("sweep", "recipe.yaml", "--task-file", "pairs=pairs.jsonl", "--batch-tokens", "1024",
                       "--db", DB), _sweep),
    Scenario("pool-generate", ("pool", "generate", "gsm8k_bon", "--model", "models/sft", "-n", "4", "--max-tokens",
                               "16", "--limit", "40", "--backend", "hf", "--data-dir", "data", "--db", DB), _policy),
    Scenario("leaderboard", ("leaderboard", "build", "-o", "site", "--db", DB), _board, _site_is_whole, _site_at_end),
    Scenario("merge", ("db", "merge", "other.duckdb", "--db", DB), _merge),
    Scenario("repair", ("db", "repair", "--yes", "--db", DB), _repair, opens_between=False),
    Scenario("export", ("export", "-o", "export", "--night", "2026-07-01", "--db", DB), _board, _export_is_whole,
             _export_at_end),
    Scenario("migration", ("--next-version", "db", "migrate", "--db", DB), _board, _one_version_or_the_other,
             opens_between=False, content=_migrated_content),
)  # fmt: skip
