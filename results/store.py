"""The results database: the only module that opens DuckDB. One writer; every batch of rewards commits.

    with open_store(path) as store:
        candidate = store.add_candidate(CandidateRecord(...))

A killed writer loses at most the batch in flight: DuckDB replays its write-ahead log on the next open. A new
database is made beside its place and linked there whole, so a kill never leaves half a file under its name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from results._errors import HeldError, explain, interrupted
from results._examples import Examples, add_examples
from results._memory import forget_blocks
from results._rewards import add_rewards
from results._tables import dump
from results.migrations import check_current, migrate
from results.records import (
    CandidateRecord,
    DatasetRecord,
    ProtocolRecord,
    RewardRecord,
    StoreError,
    content_key,
)

# A path such as "md:name" must not make DuckDB load an extension from the network.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def utc_now() -> datetime:
    """The current time in UTC, without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


@contextmanager
def open_store(
    path: Path, *, read_only: bool = False, wait: bool = False, notify: Callable[[str], None] = lambda _: None
) -> Iterator[Store]:
    """Open (and create or migrate, unless `read_only`) a results database. Raises StoreError, one sentence.

    With `wait`, a database that another process holds is waited for; `notify` gets one sentence when that starts.
    """
    if read_only and not path.exists():
        raise StoreError(f"{path}: there is no such database; 'harness eval' creates one")
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the folder {path.parent} does not exist")
    if not read_only:
        _create(path)
    connection = _connect(path, read_only, wait, notify)
    try:
        (check_current if read_only else migrate)(connection)
        yield Store(connection, path)
    except duckdb.Error as error:
        raise (KeyboardInterrupt() if interrupted(error) else explain(path, error)) from error
    except StoreError as error:
        raise (error if str(error).startswith(str(path)) else type(error)(f"{path}: {error}")) from None
    finally:
        _close(connection)


def _connect(path: Path, read_only: bool, wait: bool, notify: Callable[[str], None]) -> duckdb.DuckDBPyConnection:
    told = False
    while True:
        try:
            return duckdb.connect(str(path.absolute()), read_only=read_only, config=_CONFIG)
        except duckdb.Error as error:
            reason = explain(path, error)
            if not (wait and isinstance(reason, HeldError)):
                raise reason from None
            if not told:
                notify(f"waiting: {reason}")
                told = True
            time.sleep(0.2)


def _create(path: Path) -> None:
    """Make a new database whole, under another name first; an empty file counts as none."""
    try:
        if path.exists() and path.stat().st_size > 0:
            return
        _sweep(path)
        fresh = path.with_name(f"{path.name}.new-{os.getpid()}")
        connection = duckdb.connect(str(fresh.absolute()), config=_CONFIG)
        try:
            migrate(connection)
        finally:
            _close(connection)
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        try:
            os.link(fresh, path)  # unlike a rename, never replaces what another process made meanwhile
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                fresh.rename(path)
    except (OSError, duckdb.Error) as error:
        raise explain(path, error) from None
    finally:
        _sweep(path)


def _sweep(path: Path) -> None:
    """Remove this process' unfinished new database, and those of processes that are gone."""
    for left in path.parent.glob(f"{path.name}.new-*"):
        owner = left.name.removeprefix(f"{path.name}.new-").split(".")[0]
        if owner == str(os.getpid()) or not Path(f"/proc/{owner}").exists():
            with suppress(OSError):
                left.unlink()


def _close(connection: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # a full disk shows here again; the error that matters was already raised
        connection.close()


class Store:
    """An open results database. Methods return the integer keys that other methods take."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.sql = connection
        self.path = path
        self.examples = Examples(self)
        self._small = self._within = False  # within: a transaction

    def stay_small(self) -> None:
        """From now on memory hardly grows with the database: early checkpoints, which merge no row groups."""
        self.sql.execute("SET checkpoint_threshold = '4MB'")
        self.sql.execute("SET max_vacuum_tasks = 0")
        self._small = True

    def trim(self) -> None:
        """Forget cached blocks, in a store that stays small; not within a transaction, where more must stay."""
        if self._small and not self._within:
            forget_blocks(self.sql, self.path)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; errors come out as StoreError."""
        try:
            self.sql.execute("BEGIN")
            self._within = True
            yield
            self.sql.execute("COMMIT")
        except BaseException as error:
            with suppress(duckdb.Error):  # nothing was begun, or the connection is already invalid
                self.sql.execute("ROLLBACK")
            if interrupted(error):
                raise KeyboardInterrupt from None
            if isinstance(error, duckdb.Error):
                raise explain(self.path, error) from error
            raise
        finally:
            self._within = False

    def one(self, query: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row, or None; the result is read to its end, as an unread one would block the next call."""
        rows = self.sql.execute(query, list(parameters)).fetchall()
        return rows[0] if rows else None

    def _find(self, table: str, content_id: str) -> int | None:
        row = self.one(f"SELECT key FROM {table} WHERE id = ?", [content_id])
        return None if row is None else int(row[0])

    def _insert(self, table: str, content_id: str, **values: Any) -> int:
        """Key of the row with this content id; inserted when it is new."""
        found = self._find(table, content_id)
        if found is not None:
            return found
        row = self.one(f"SELECT coalesce(max(key), 0) + 1 FROM {table}")
        key = int(row[0]) if row else 1
        names, marks = ", ".join(["key", "id", *values]), ", ".join("?" * (len(values) + 2))
        self.sql.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [key, content_id, *values.values()])
        return key

    def add_candidate(self, record: CandidateRecord) -> int:
        """Store a candidate; a known id takes the newest name (a renamed folder is the same candidate)."""
        named = "UPDATE candidates SET name = ? WHERE key = ? AND name <> ?"
        with self.transaction():
            key = self._insert("candidates", record.id, name=record.name, kind=record.kind, detail=dump(record.detail))
            self.sql.execute(named, [record.name, key, record.name])
        return key

    def add_protocol(self, record: ProtocolRecord) -> int:
        with self.transaction():
            return self._insert("protocols", record.id, settings=dump(record.settings))

    def add_environment(self, detail: dict[str, Any]) -> int:
        with self.transaction():
            return self._insert("environments", content_key(detail), detail=dump(detail))

    def add_dataset(self, record: DatasetRecord) -> int:
        """Store a data set and its examples once; where it came from is refreshed on every call."""
        shown = {
            "sources": dump(list(record.sources)),
            "options": dump(dict(record.options)),
            "missing": dump(list(record.missing)),
            "notes": dump(list(record.notes)),
            "partial": record.partial,
        }
        content_id = record.key
        found = self._find("datasets", content_id)
        if found is not None:
            sets = ", ".join(f"{name} = ?" for name in shown)
            with self.transaction():
                self.sql.execute(f"UPDATE datasets SET {sets} WHERE key = ?", [*shown.values(), found])
            return found
        links = add_examples(self, record.examples)
        about = {"task": record.task, "outcome": record.outcome, "metrics": dump([dict(m) for m in record.metrics])}
        with self.transaction():
            key = self._insert("datasets", content_id, **about, **shown)
            for table in links:
                self.with_arrow(table, f"INSERT INTO dataset_examples SELECT {key}, * FROM incoming")
        return key

    def with_arrow(self, table: pa.Table, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement that reads `table` under the name `incoming`; returns how many rows it changed."""
        self.sql.register("incoming", table)
        try:
            rows = self.sql.execute(statement, list(parameters)).fetchall()
            return int(rows[0][0]) if rows else 0
        finally:
            self.sql.unregister("incoming")

    def add_rewards(self, candidate: int, protocol: int, rewards: Sequence[RewardRecord]) -> int:
        """Commit one batch; returns how many are new. A scored key is never overwritten; an unscored one is replaced.

        Raises StoreError (and stores nothing) for a reward that is not finite, an unscored one without a reason,
        an unknown example, or one key twice in the batch.
        """
        return add_rewards(self, candidate, protocol, rewards)

    def start_run(
        self, candidate: int, protocol: int, dataset: int, environment: int, *, seed: int, command: str
    ) -> int:
        """Open the run of (candidate, protocol, data set); starting it again resumes it.

        The run keeps what it was first started with; every sitting is recorded in `sessions`.
        """
        keys = {"candidate": candidate, "protocol": protocol, "dataset": dataset}
        content_id = content_key([self._id(f"{table}s", key) for table, key in keys.items()])
        about = {"environment": environment, "seed": seed, "command": command, "started": utc_now()}
        with self.transaction():
            run = self._insert("runs", content_id, **keys, **about, status="running", reason="")
            self.sql.execute(
                "UPDATE runs SET status = 'running', reason = '', ended = NULL WHERE key = ? AND status <> 'complete'",
                [run],
            )
            self.sql.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, NULL)", [run, *about.values()])
        return run

    def _id(self, table: str, key: int) -> str:
        row = self.one(f"SELECT id FROM {table} WHERE key = ?", [key])
        if row is None:
            raise StoreError(f"{table} has no key {key}")
        return str(row[0])

    def finish_run(self, run: int, status: str, reason: str = "") -> None:
        """Close a run as complete, partial or failed."""
        now = utc_now()
        with self.transaction():
            ended = [status, reason, now, run]
            self.sql.execute("UPDATE runs SET status = ?, reason = ?, ended = ? WHERE key = ?", ended)
            last = "started = (SELECT max(started) FROM sessions WHERE run = ?)"
            self.sql.execute(
                f"UPDATE sessions SET ended = ? WHERE run = ? AND ended IS NULL AND {last}", [now, run, run]
            )
