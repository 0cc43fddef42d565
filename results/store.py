"""The results database: the only module that opens DuckDB. One writer; every batch of rewards commits.

    with open_store(path) as store:
        candidate = store.add_candidate(CandidateRecord(...))
        ...

A killed writer loses at most the batch in flight: DuckDB replays its write-ahead log on the next open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from results.migrations import check_current, migrate, version
from results.records import (
    CandidateRecord,
    DatasetRecord,
    ExampleRecord,
    ProtocolRecord,
    RewardRecord,
    StoreError,
    content_key,
)


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def utc_now() -> datetime:
    """The current time in UTC, without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def _explain(path: Path, error: Exception) -> StoreError:
    """A DuckDB failure as one sentence."""
    text = str(error)
    holder = re.search(r"Conflicting lock is held in (.+?) \(PID (\d+)\)", text)
    if holder:
        return StoreError(
            f"{path}: process {holder[2]} ({holder[1]}) is writing to this database: wait for it, or use another --db"
        )
    if "lock" in text.lower() and "set lock" in text.lower():
        return StoreError(f"{path}: another process is writing to this database: wait for it, or use another --db")
    if "No space left" in text or "disk is full" in text.lower():
        return StoreError(
            f"{path}: the disk is full; what was committed is kept, so free some space and run the same command again"
        )
    if "not a valid DuckDB database" in text:
        return StoreError(f"{path}: this file is not a DuckDB database; give another --db")
    if "Read-only file system" in text or "Permission denied" in text or "read-only" in text.lower():
        return StoreError(
            f"{path}: the database cannot be written here (read-only or no permission); give another --db"
        )
    return StoreError(f"{path}: {text.splitlines()[0] if text else type(error).__name__}")


@contextmanager
def open_store(path: Path, *, read_only: bool = False) -> Iterator[Store]:
    """Open (and create or migrate, unless `read_only`) a results database. Raises StoreError, one sentence."""
    if read_only and not path.exists():
        raise StoreError(f"{path}: there is no such database; 'harness eval' creates one")
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the folder {path.parent} does not exist")
    try:
        connection = duckdb.connect(str(path), read_only=read_only)
    except duckdb.Error as error:
        raise _explain(path, error) from None
    try:
        if read_only:
            check_current(version(connection))
        else:
            migrate(connection)
        yield Store(connection, path)
    except duckdb.Error as error:
        raise _explain(path, error) from error
    except StoreError as error:
        raise (error if str(error).startswith(str(path)) else StoreError(f"{path}: {error}")) from None
    finally:
        _close(connection)


def _close(connection: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # a full disk shows here again; the error that matters was already raised
        connection.close()


class Store:
    """An open results database. Methods return the integer keys that other methods take."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.sql = connection
        self.path = path

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; errors come out as StoreError."""
        try:
            self.sql.execute("BEGIN")
            yield
            self.sql.execute("COMMIT")
        except BaseException as error:
            with suppress(duckdb.Error):  # nothing was begun, or the connection is already invalid
                self.sql.execute("ROLLBACK")
            if isinstance(error, duckdb.Error):
                raise _explain(self.path, error) from error
            raise

    def _find(self, table: str, content_id: str) -> int | None:
        row = self.sql.execute(f"SELECT key FROM {table} WHERE id = ?", [content_id]).fetchone()
        return None if row is None else int(row[0])

    def _insert(self, table: str, content_id: str, **values: Any) -> int:
        """Key of the row with this content id; inserted when it is new."""
        found = self._find(table, content_id)
        if found is not None:
            return found
        row = self.sql.execute(f"SELECT coalesce(max(key), 0) + 1 FROM {table}").fetchone()
        key = int(row[0]) if row else 1
        names = ", ".join(["key", "id", *values])
        marks = ", ".join("?" * (len(values) + 2))
        self.sql.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [key, content_id, *values.values()])
        return key

    def add_candidate(self, record: CandidateRecord) -> int:
        """Store a candidate; a known id takes the newest name (a renamed folder is the same candidate)."""
        with self.transaction():
            key = self._insert("candidates", record.id, name=record.name, kind=record.kind, detail=_dump(record.detail))
            self.sql.execute(
                "UPDATE candidates SET name = ? WHERE key = ? AND name <> ?", [record.name, key, record.name]
            )
        return key

    def add_protocol(self, record: ProtocolRecord) -> int:
        with self.transaction():
            return self._insert("protocols", record.id, settings=_dump(record.settings))

    def add_environment(self, detail: dict[str, Any]) -> int:
        with self.transaction():
            return self._insert("environments", content_key(detail), detail=_dump(detail))

    def add_dataset(self, record: DatasetRecord) -> int:
        """Store a data set and its examples once; where it came from is refreshed on every call."""
        shown = {
            "sources": _dump(list(record.sources)),
            "options": _dump(dict(record.options)),
            "missing": _dump(list(record.missing)),
            "notes": _dump(list(record.notes)),
            "partial": record.partial,
        }
        with self.transaction():
            found = self._find("datasets", record.key)
            if found is not None:
                sets = ", ".join(f"{name} = ?" for name in shown)
                self.sql.execute(f"UPDATE datasets SET {sets} WHERE key = ?", [*shown.values(), found])
                return found
            metrics = _dump([dict(m) for m in record.metrics])
            key = self._insert(
                "datasets", record.key, task=record.task, outcome=record.outcome, metrics=metrics, **shown
            )
            self._add_examples(record.examples)
            self._link_examples(key, record.examples)
        return key

    def _add_examples(self, examples: Sequence[ExampleRecord]) -> None:
        unique = {e.key: e for e in examples}
        table = pa.table(
            {
                "id": pa.array(list(unique), pa.string()),
                "prompt": pa.array([_dump([list(m) for m in e.prompt]) for e in unique.values()], pa.string()),
                "responses": pa.array([list(e.responses) for e in unique.values()], pa.list_(pa.string())),
            }
        )
        self.with_arrow(
            table,
            "INSERT INTO examples SELECT (SELECT coalesce(max(key), 0) FROM examples) + row_number() OVER (),"
            " id, prompt, responses FROM incoming WHERE id NOT IN (SELECT id FROM examples)",
        )

    def _link_examples(self, dataset: int, examples: Sequence[ExampleRecord]) -> None:
        marks = {True: 1, False: 0, None: -1}
        table = pa.table(
            {
                "position": pa.array(range(len(examples)), pa.int32()),
                "id": [e.key for e in examples],
                "example_id": [e.example_id for e in examples],
                "subset": [e.subset for e in examples],
                "stratum": [e.stratum for e in examples],
                "weight": pa.array([e.weight for e in examples], pa.float64()),
                "cluster": pa.array([e.cluster for e in examples], pa.string()),
                "labels": pa.array([[marks[x] for x in e.labels] for e in examples], pa.list_(pa.int8())),
                "answers": pa.array([list(e.answers) for e in examples], pa.list_(pa.string())),
                "sources": pa.array([list(e.sources) for e in examples], pa.list_(pa.string())),
                "reasons": pa.array([list(e.reasons) for e in examples], pa.list_(pa.string())),
            }
        )
        self.with_arrow(
            table,
            f"INSERT INTO dataset_examples SELECT {dataset}, position, e.key, example_id, subset, stratum, weight,"
            " cluster, labels, answers, sources, reasons FROM incoming JOIN examples e USING (id) ORDER BY position",
        )

    def with_arrow(self, table: pa.Table, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement that reads `table` under the name `incoming`."""
        self.sql.register("incoming", table)
        try:
            self.sql.execute(statement, list(parameters))
        finally:
            self.sql.unregister("incoming")

    def add_rewards(self, candidate: int, protocol: int, rewards: Sequence[RewardRecord]) -> None:
        """Commit one batch. A scored key is never overwritten; an unscored one is replaced."""
        table = pa.table(
            {
                "id": pa.array([r.example_key for r in rewards], pa.string()),
                "response": pa.array([r.response for r in rewards], pa.int16()),
                "reward": pa.array([r.reward for r in rewards], pa.float64()),
                "tokens": pa.array([r.tokens for r in rewards], pa.int32()),
                "cut": pa.array([r.cut for r in rewards], pa.bool_()),
                "reason": pa.array([r.reason for r in rewards], pa.string()),
            }
        )
        with self.transaction():
            self.with_arrow(
                table,
                "DELETE FROM rewards WHERE candidate = ? AND protocol = ? AND reward IS NULL AND (example, response)"
                " IN (SELECT e.key, response FROM incoming JOIN examples e USING (id))",
                [candidate, protocol],
            )
            self.with_arrow(
                table,
                "INSERT INTO rewards SELECT ?, ?, e.key, i.response, i.reward, i.tokens, i.cut, i.reason"
                " FROM incoming i JOIN examples e USING (id) WHERE NOT EXISTS (SELECT 1 FROM rewards r WHERE"
                " r.candidate = ? AND r.protocol = ? AND r.example = e.key AND r.response = i.response)",
                [candidate, protocol, candidate, protocol],
            )

    def start_run(
        self, candidate: int, protocol: int, dataset: int, environment: int, *, seed: int, command: str
    ) -> int:
        """Open the run of (candidate, protocol, data set); starting it again resumes it."""
        content_id = content_key(
            [
                self._id("candidates", candidate),
                self._id("protocols", protocol),
                self._id("datasets", dataset),
            ]
        )
        with self.transaction():
            values = {
                "environment": environment,
                "status": "running",
                "reason": "",
                "seed": seed,
                "command": command,
            }
            found = self._find("runs", content_id)
            if found is not None:
                sets = ", ".join(f"{name} = ?" for name in values)
                self.sql.execute(f"UPDATE runs SET {sets}, ended = NULL WHERE key = ?", [*values.values(), found])
                return found
            keys = {"candidate": candidate, "protocol": protocol, "dataset": dataset}
            return self._insert("runs", content_id, **keys, started=utc_now(), **values)

    def _id(self, table: str, key: int) -> str:
        row = self.sql.execute(f"SELECT id FROM {table} WHERE key = ?", [key]).fetchone()
        if row is None:
            raise StoreError(f"{table} has no key {key}")
        return str(row[0])

    def finish_run(self, run: int, status: str, reason: str = "") -> None:
        """Close a run as complete, partial or failed."""
        with self.transaction():
            self.sql.execute(
                "UPDATE runs SET status = ?, reason = ?, ended = ? WHERE key = ?",
                [status, reason, utc_now(), run],
            )
