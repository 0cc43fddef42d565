"""Where published data comes from: `--data TASK=FILE`, then the data directory, then the hub or a pinned URL.

Every source carries the sha256 of what was read. A local file with a hash this release does not know is used,
marked `pinned=False` and noted; a download must match its pinned commit (hub) or hash (URL).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks._schema import Row, read_content, read_rows
from tasks._types import LoadRequest, Source, TaskError


@dataclass(frozen=True, slots=True)
class Hub:
    """A split of a data set on the Hugging Face hub, at one commit."""

    repo: str
    config: str | None
    split: str
    revision: str


@dataclass(frozen=True, slots=True)
class Url:
    """One file of a public repository, at one commit; its hash is in Published.sha256."""

    repo: str
    revision: str
    path: str

    @property
    def address(self) -> str:
        return f"https://raw.githubusercontent.com/{self.repo}/{self.revision}/{self.path}"


@dataclass(frozen=True, slots=True)
class Published:
    """A published data file: where it lies under a data directory, its known hashes, where to download it."""

    name: str
    task: str
    paths: tuple[str, ...]  # relative to the data directory, first found wins
    sha256: Mapping[str, str]  # hash -> revision it was published at
    remote: Hub | Url
    flag: str = ""  # what --data calls it, where that is not the task's name


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows with their source, and a sentence for the record where the source is not the pinned one."""

    rows: Sequence[Row]
    source: Source
    notes: tuple[str, ...] = ()


def load(what: Published, request: LoadRequest, file: Path | None = None) -> Loaded:
    """Read `file` if given, else the data directory's copy, else download. Raises TaskError with one sentence."""
    if file is not None:
        return load_file(file, what.name, what.sha256)
    if request.data_dir is not None:
        if not request.data_dir.is_dir():
            raise TaskError(f"{request.data_dir}: there is no such data directory (--data-dir)")
        for name in what.paths:
            if (request.data_dir / name).exists():
                return load_file(request.data_dir / name, what.name, what.sha256)
        request.notify(f"{request.data_dir} has no {' or '.join(what.paths)}; {what.name} is downloaded instead.")
    return _from_hub(what, what.remote) if isinstance(what.remote, Hub) else _from_url(what, what.remote)


def load_file(path: Path, name: str, known: Mapping[str, str] | None = None) -> Loaded:
    """Read a local file; `known` maps the hashes this release was checked with to their revisions."""
    content = read_content(path)
    rows = read_rows(content)
    if known is None:
        return Loaded(rows, Source(name, str(path), None, content.sha256, False))
    pinned = content.sha256 in known
    note = f"{path} is not the {name} this release was checked with (sha256 {content.sha256[:12]}...)."
    source = Source(name, str(path), known.get(content.sha256), content.sha256, pinned)
    return Loaded(rows, source, () if pinned else (note,))


class UnreachableError(TaskError):
    """Data that is neither given nor downloadable."""


def _unreachable(what: Published, place: str, error: Exception) -> UnreachableError:
    said = str(error).split("\n")[0]
    reason = said if 0 < len(said) <= 120 else type(error).__name__  # HTTP stacks tell their whole story in one line
    return UnreachableError(
        f"{what.task}: {what.name} could not be fetched from {place} ({reason}); give a folder that has "
        f"{what.paths[0]} with --data-dir DIR, or the file itself with --data {what.flag or what.task}=FILE"
    )


def _from_hub(what: Published, hub: Hub) -> Loaded:
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; the error below says it once
    try:
        table = datasets.load_dataset(hub.repo, hub.config, split=hub.split, revision=hub.revision)
        values = table.to_list()
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise _unreachable(what, f"the hub ({hub.repo})", error) from None
    if not values:
        raise TaskError(f"{what.task}: {hub.repo} at {hub.revision[:12]} has no rows in split '{hub.split}'")
    place = f"{hub.repo} {hub.split}"
    rows = tuple(Row(f"{place} row {i + 1}", value) for i, value in enumerate(values))
    # The commit pins the bytes; the hash is of the rows, because the cache may hold them in another file format.
    return Loaded(rows, Source(what.name, place, hub.revision, _hash_rows(rows), True))


def _hash_rows(rows: tuple[Row, ...]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row.data, sort_keys=True, ensure_ascii=False, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _from_url(what: Published, url: Url) -> Loaded:
    import pooch

    wanted = next(h for h, revision in what.sha256.items() if revision == url.revision)
    cache = Path(os.environ.get("HARNESS_CACHE_DIR") or pooch.os_cache("merged-rm-harness")) / "data"
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(url.address, f"sha256:{wanted}", path=cache)
    except (OSError, ValueError) as error:  # ValueError: the download has another hash
        raise _unreachable(what, f"{url.repo}/{url.path}", error) from None
    loaded = load_file(Path(path), what.name, what.sha256)
    location = f"{url.repo}/{url.path}"
    return Loaded(loaded.rows, Source(what.name, location, url.revision, loaded.source.sha256, True))
