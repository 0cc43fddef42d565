"""Emptying DuckDB's cache of blocks: a limit on its memory, lowered between two statements and lifted again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import duckdb

from results._errors import explain

_FLOOR = "6MB"  # what cannot be forgotten is far below: about a megabyte
_TRIES = 3


def forget_blocks(sql: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Outside of transactions only; no other statement sees the limit. Raises StoreError if it cannot be lifted."""
    with suppress(duckdb.OutOfMemoryException):  # refused, after what could go is gone
        sql.execute(f"SET memory_limit = '{_FLOOR}'")
    for left in reversed(range(_TRIES)):
        try:
            sql.execute("RESET memory_limit")
        except duckdb.OutOfMemoryException as error:  # even this takes a little; being refused, it gives that back
            if not left:
                raise explain(path, error) from error
        else:
            return
