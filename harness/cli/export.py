"""`harness export`: runs, metrics and rewards as Parquet (a history by night), CSV or JSON Lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from harness.cli._options import WAIT
from harness.cli.evaluate import DB, JSON
from harness.errors import ConfigError, did_you_mean

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def export(
    form: Annotated[str, typer.Option("--format", help="parquet, csv or json (JSON Lines).")] = "parquet",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path("export"),
    night: Annotated[
        str | None, typer.Option("--night", help="Parquet partition, an ISO date; default: today.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the Parquet files; default: the database's.")] = None,
    texts: Annotated[bool, typer.Option("--texts", help="Prompts and responses too; mind their licences.")] = False,
    db: DB = Path("harness.duckdb"),
    wait: WAIT = False,
    as_json: JSON = False,
) -> None:
    """Write results as files; Parquet appends a night to a history that one glob reads."""
    from harness.progress import say
    from leaderboard.metrics import stored_values
    from results import queries
    from results.export import FORMATS, ExportRequest
    from results.export import export as write
    from results.store import open_store, utc_now

    if form not in FORMATS:
        raise ConfigError(f"--format {form}: {did_you_mean(form, FORMATS)}")
    if night is not None and not _DATE.fullmatch(night):
        raise ConfigError(f"--night {night}: expected a date like 2026-07-01")
    request = ExportRequest(out, form, night or utc_now().date().isoformat(), _file_name(name or db.stem), texts)
    with open_store(db, read_only=True, wait=wait, notify=say) as store:
        written = write(store, request, stored_values(store, queries.runs(store)))
    if as_json:
        print(json.dumps({"files": [str(path) for path in written]}))
        return
    for path in written:
        print(path)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
