"""From a file of any known format to a task's rewards."""

from __future__ import annotations

from pathlib import Path

from harness import plugins
from harness.importing._document import ImportOptions, Rewards, ScoresError, read_document
from results.records import DatasetRecord

FORMATS = plugins.Kind("format", "harness.importing")


def read_scores(path: Path, data: DatasetRecord, options: ImportOptions) -> tuple[str, Rewards]:
    """(the format's name, example id -> rewards). Raises one sentence when the file cannot be read or joined."""
    document = read_document(path)
    for name in sorted(plugins.known(FORMATS)):
        module = plugins.load(FORMATS, name)
        if module.matches(document):
            return name, module.read(document, data, options)
    known = "; ".join(str(plugins.load(FORMATS, name).SUMMARY) for name in sorted(plugins.known(FORMATS)))
    raise ScoresError(f"{path}: none of the known formats of scores: {known}")
