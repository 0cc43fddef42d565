"""Numbered, forward-only migrations of the results database; each runs once, in order, in one transaction.

Tables use small integer keys inside; identity across databases is the hex content id beside each key.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from results.records import StoreError

V1 = """
CREATE TABLE candidates (
    key INTEGER PRIMARY KEY, id VARCHAR NOT NULL UNIQUE, name VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    detail VARCHAR NOT NULL);
CREATE TABLE protocols (key INTEGER PRIMARY KEY, id VARCHAR NOT NULL UNIQUE, settings VARCHAR NOT NULL);
CREATE TABLE environments (key INTEGER PRIMARY KEY, id VARCHAR NOT NULL UNIQUE, detail VARCHAR NOT NULL);
CREATE TABLE examples (
    key INTEGER PRIMARY KEY, id VARCHAR NOT NULL UNIQUE, prompt VARCHAR NOT NULL, responses VARCHAR[] NOT NULL);
CREATE TABLE datasets (
    key INTEGER PRIMARY KEY, id VARCHAR NOT NULL UNIQUE, task VARCHAR NOT NULL, outcome VARCHAR NOT NULL,
    metrics VARCHAR NOT NULL, sources VARCHAR NOT NULL, options VARCHAR NOT NULL, missing VARCHAR NOT NULL,
    notes VARCHAR NOT NULL, partial VARCHAR NOT NULL);
CREATE TABLE dataset_examples (
    dataset INTEGER NOT NULL, position INTEGER NOT NULL, example INTEGER NOT NULL, example_id VARCHAR NOT NULL,
    subset VARCHAR NOT NULL, stratum VARCHAR NOT NULL, weight DOUBLE NOT NULL, cluster VARCHAR,
    labels TINYINT[] NOT NULL, answers VARCHAR[] NOT NULL, sources VARCHAR[] NOT NULL, reasons VARCHAR[] NOT NULL);
CREATE TABLE rewards (
    candidate INTEGER NOT NULL, protocol INTEGER NOT NULL, example INTEGER NOT NULL, response SMALLINT NOT NULL,
    reward DOUBLE CHECK (reward IS NULL OR isfinite(reward)),
    tokens INTEGER NOT NULL, cut BOOLEAN NOT NULL, reason VARCHAR NOT NULL,
    CHECK ((reward IS NULL) = (reason <> '')));
CREATE TABLE runs (
    key INTEGER PRIMARY KEY, id VARCHAR NOT NULL UNIQUE, candidate INTEGER NOT NULL, protocol INTEGER NOT NULL,
    dataset INTEGER NOT NULL, environment INTEGER NOT NULL, status VARCHAR NOT NULL, reason VARCHAR NOT NULL,
    seed BIGINT NOT NULL, command VARCHAR NOT NULL, started TIMESTAMP NOT NULL, ended TIMESTAMP);
CREATE TABLE pools (
    key INTEGER PRIMARY KEY, task VARCHAR NOT NULL, name VARCHAR NOT NULL, source VARCHAR NOT NULL,
    settings VARCHAR NOT NULL, UNIQUE (task, name));
CREATE TABLE pool_responses (
    pool INTEGER NOT NULL, example_id VARCHAR NOT NULL, position INTEGER NOT NULL, text VARCHAR NOT NULL,
    source VARCHAR NOT NULL, correct BOOLEAN, answer VARCHAR, reason VARCHAR NOT NULL);
"""


def _v1(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(V1)


MIGRATIONS: tuple[Callable[[duckdb.DuckDBPyConnection], None], ...] = (_v1,)
CURRENT = len(MIGRATIONS)


def version(connection: duckdb.DuckDBPyConnection) -> int:
    """Schema version of an open database; 0 for an empty file. Raises StoreError for somebody else's database."""
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "harness_schema" in tables:
        row = connection.execute("SELECT max(version) FROM harness_schema").fetchone()
        return int(row[0]) if row and row[0] is not None else 0
    if tables:
        raise StoreError(f"it is a DuckDB file of another program (tables: {', '.join(sorted(tables)[:5])})")
    return 0


def check_readable(found: int) -> None:
    """Raise StoreError unless this program reads databases of version `found` as they are or after migration."""
    if found > CURRENT:
        raise StoreError(
            f"it has schema version {found} and this program reads up to {CURRENT}: "
            "use the release that wrote it, or a newer one"
        )


def check_current(found: int) -> None:
    """Raise StoreError unless the database can be read without migrating it."""
    check_readable(found)
    if found < CURRENT:
        raise StoreError(
            f"it has schema version {found} and this program reads {CURRENT}: any 'harness eval' on it migrates it"
        )


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the database to the current version; a failure leaves the version before, whole."""
    found = version(connection)
    check_readable(found)
    for number in range(found, CURRENT):
        connection.execute("BEGIN")
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS harness_schema (version INTEGER PRIMARY KEY, applied TIMESTAMP NOT NULL)"
            )
            MIGRATIONS[number](connection)
            connection.execute("INSERT INTO harness_schema VALUES (?, now()::TIMESTAMP)", [number + 1])
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
