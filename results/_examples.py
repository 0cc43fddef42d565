"""The examples of an open database: found by content id and added a part at a time, so that no data set has to be
in memory whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from results._tables import examples_table, links_table
from results.records import ExampleRecord

if TYPE_CHECKING:
    from results.store import Store

TOGETHER = 128  # examples of one part: some megabytes of texts at most
_KEPT = 2048  # integer keys that are remembered: more than a window has examples of usual length

T = TypeVar("T")


def parts(values: Iterable[T], size: int = TOGETHER) -> Iterator[list[T]]:
    """The values in lists of `size`."""
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part


class Examples:
    """Integer keys by content id; the newest are remembered, the others looked up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, int] = {}

    def forget(self) -> None:
        """Rows were added or removed by others."""
        self._known = {}

    def keys(self, ids: Collection[str]) -> dict[str, int]:
        """Keys of those of `ids` that are stored."""
        found = {one: self._known[one] for one in ids if one in self._known}
        missing = [one for one in ids if one not in found]
        if missing:
            query = "SELECT id, key FROM examples WHERE id IN (SELECT unnest(?::VARCHAR[]))"
            more = dict(self._store.sql.execute(query, [missing]).fetchall())
            self._known = more if len(self._known) + len(more) > _KEPT else self._known | more
            found |= more
        return found

    def add(self, examples: Sequence[ExampleRecord]) -> list[int]:
        """Their keys, in order; content that is not stored yet is. Inside of a transaction."""
        unique = {e.key: e for e in examples}
        known = self.keys(unique)
        fresh = [e for key, e in unique.items() if key not in known]
        if fresh:
            row = self._store.one("SELECT coalesce(max(key), 0) FROM examples")
            first = int(row[0]) + 1 if row else 1
            numbers = range(first, first + len(fresh))
            self._store.with_arrow(examples_table(numbers, fresh), "INSERT INTO examples SELECT * FROM incoming")
            known |= zip((e.key for e in fresh), numbers, strict=True)
        return [known[e.key] for e in examples]


def add_examples(store: Store, examples: Iterable[ExampleRecord]) -> list[pa.Table]:
    """Store examples part by part, each part committed; what a data set says of them, without any texts (links_table).

    Examples that no data set names yet change nothing that is measured: an interrupted call leaves them for the next.
    """
    links: list[pa.Table] = []
    start = 0
    for part in parts(examples):
        with store.transaction():
            keys = store.examples.add(part)
        links.append(links_table(range(start, start + len(part)), part, keys))
        start += len(part)
        store.trim()
    return links
