"""Numbered, forward-only migrations of the results database; each runs once, in order, in one transaction.

Tables use small integer keys inside; identity across databases is the hex content id beside each key.

    rewards        one row per (candidate, protocol, example, response); no row is ever scored twice
    other_rewards  further values of the same keys, which another database brought ('harness db merge')
    runs           one row per (candidate, protocol, data set); `sessions` holds every sitting of it
    pools          a policy's responses; `complete` is false until the last of them is stored and labelled
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata

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
CREATE TABLE sessions (
    run INTEGER NOT NULL, environment INTEGER NOT NULL, seed BIGINT NOT NULL, command VARCHAR NOT NULL,
    started TIMESTAMP NOT NULL, ended TIMESTAMP);
CREATE TABLE other_rewards (
    candidate INTEGER NOT NULL, protocol INTEGER NOT NULL, example INTEGER NOT NULL, response SMALLINT NOT NULL,
    reward DOUBLE NOT NULL CHECK (isfinite(reward)));
CREATE TABLE pools (
    key INTEGER PRIMARY KEY, task VARCHAR NOT NULL, name VARCHAR NOT NULL, source VARCHAR NOT NULL,
    settings VARCHAR NOT NULL, complete BOOLEAN NOT NULL, UNIQUE (task, name));
CREATE TABLE pool_responses (
    pool INTEGER NOT NULL, example_id VARCHAR NOT NULL, position INTEGER NOT NULL, text VARCHAR NOT NULL,
    source VARCHAR NOT NULL, correct BOOLEAN, answer VARCHAR, reason VARCHAR NOT NULL);
"""


def _v1(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(V1)


MIGRATIONS: tuple[Callable[[duckdb.DuckDBPyConnection], None], ...] = (_v1,)
CURRENT = len(MIGRATIONS)


def version(connection: duckdb.DuckDBPyConnection, catalog: str = "") -> int:
    """Schema version of an open (or attached, `catalog`) database; 0 for an empty file.

    Raises StoreError for somebody else's database.
    """
    where = f"'{catalog}'" if catalog else "current_database()"
    found = connection.execute(f"SELECT table_name FROM duckdb_tables() WHERE database_name = {where}").fetchall()
    tables = {name for (name,) in found}
    if "harness_schema" in tables:
        newest = connection.execute(f"SELECT max(version) FROM {_table(catalog)}").fetchall()[0][0]
        return int(newest or 0)
    if tables:
        raise StoreError(f"it is a DuckDB file of another program (tables: {', '.join(sorted(tables)[:5])})")
    return 0


def _table(catalog: str) -> str:
    return f"{catalog}.harness_schema" if catalog else "harness_schema"


def check_readable(connection: duckdb.DuckDBPyConnection, catalog: str = "") -> int:
    """The database's version. Raises StoreError when it is newer than this program, naming who can read it."""
    found = version(connection, catalog)
    if found > CURRENT:
        row = connection.execute(f"SELECT release FROM {_table(catalog)} ORDER BY version DESC LIMIT 1").fetchall()
        raise StoreError(
            f"it has schema version {found}, this program ({release()}) reads up to {CURRENT}:"
            f" use release {row[0][0]}, which wrote it, or a newer one"
        )
    return found


def check_current(connection: duckdb.DuckDBPyConnection, catalog: str = "") -> None:
    """Raise StoreError unless the database can be read without migrating it."""
    found = check_readable(connection, catalog)
    if found < CURRENT:
        raise StoreError(
            f"it has schema version {found} and this program reads {CURRENT}: 'harness db migrate' brings it up to date"
        )


def release() -> str:
    """This program's release, which is recorded with every migration."""
    try:
        return metadata.version("merged-rm-harness")
    except metadata.PackageNotFoundError:  # run from a folder that was never installed
        return "0"


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the database to the current version; a failure leaves the version before, whole."""
    found = check_readable(connection)
    for number in range(found, CURRENT):
        connection.execute("BEGIN")
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS harness_schema"
                " (version INTEGER PRIMARY KEY, applied TIMESTAMP NOT NULL, release VARCHAR NOT NULL)"
            )
            MIGRATIONS[number](connection)
            now = datetime.now(UTC).replace(tzinfo=None)
            connection.execute("INSERT INTO harness_schema VALUES (?, ?, ?)", [number + 1, now, release()])
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
