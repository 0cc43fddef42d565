"""`harness db`: look after a results database: its digest, its integrity, repairs, merges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli._options import WAIT

if TYPE_CHECKING:
    from results.check import Finding
    from results.merge import MergeReport

app = typer.Typer(help="Look after a results database: digest, check, repair, merge.", no_args_is_help=True)

DB = Annotated[Path, typer.Option("--db", help="Results database.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
DEFAULT = Path("harness.duckdb")


@app.callback()
def db() -> None:
    """Look after a results database: digest, check, repair, merge."""


@app.command()
def digest(db: DB = DEFAULT, as_json: AS_JSON = False, wait: WAIT = False) -> None:
    """Print one number for the content: equal for equal results, whatever their order, names, times and places."""
    from harness.progress import say
    from results.digest import digest as compute
    from results.store import open_store

    with open_store(db, read_only=True, wait=wait, notify=say) as store:
        found = compute(store)
    if as_json:
        print(json.dumps({"digest": found.total, "parts": found.parts, "rows": found.counts}))
    else:
        print(found.total)


@app.command()
def check(db: DB = DEFAULT, as_json: AS_JSON = False, wait: WAIT = False) -> None:
    """Verify that the file is readable and that keys, counts, hashes and rewards are right. Exit code 2 if not."""
    from harness.progress import say
    from results.check import check as run
    from results.check import conflicts
    from results.store import open_store

    with open_store(db, read_only=True, wait=wait, notify=say) as store:
        findings = run(store)
        apart = conflicts(store)
    errors = [finding for finding in findings if not finding.note]
    if as_json:
        print(json.dumps({"ok": not errors, "findings": _rows(findings), "conflicts": apart}))
    else:
        for finding in findings:
            print(f"{'note' if finding.note else 'ERROR'}: {_sentence(finding)}")
        _show_conflicts(apart)
        print(f"{db}: {f'{len(errors)} kinds of error: harness db repair --db {db}' if errors else 'ok'}")
    if errors:
        raise typer.Exit(2)


@app.command()
def repair(
    db: DB = DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")] = False,
    as_json: AS_JSON = False,
    wait: WAIT = False,
) -> None:
    """Say what a repair would do; do it with --yes, in one transaction."""
    from harness.progress import say
    from results.repair import plan
    from results.repair import repair as run
    from results.store import open_store

    with open_store(db, read_only=not yes, wait=wait, notify=say) as store:
        findings = run(store) if yes else plan(store)
    if as_json:
        print(json.dumps({"done": yes, "repairs": _rows(findings)}))
        return
    for finding in findings:
        print(f"{'done' if yes else 'would'}: {_sentence(finding)}: {finding.repair}")
    if not findings:
        print(f"{db}: nothing to repair")
    elif not yes:
        print(f"nothing was changed: 'harness db repair --db {db} --yes' does this")


@app.command()
def merge(
    other: Annotated[Path, typer.Argument(help="Database to bring in; it is only read.")],
    db: DB = DEFAULT,
    as_json: AS_JSON = False,
    wait: WAIT = False,
) -> None:
    """Bring another database's results into this one: the union of both, whichever way round and however often."""
    from harness.progress import say
    from results.merge import merge as run
    from results.store import open_store

    if not other.is_file():
        from harness.errors import ConfigError

        raise ConfigError(f"{other}: there is no such database")
    with open_store(db, wait=wait, notify=say) as store:
        report = run(store, other)
    if as_json:
        print(json.dumps({"added": report.added, "conflicts": report.conflicts, "pools_apart": report.pools}))
        return
    _show_merge(report, db, other)


@app.command()
def migrate(db: DB = DEFAULT, wait: WAIT = False) -> None:
    """Bring a database of an earlier release up to date (an eval does this too)."""
    from harness.progress import say
    from results.migrations import CURRENT
    from results.store import open_store

    if not db.is_file():
        from harness.errors import ConfigError

        raise ConfigError(f"{db}: there is no such database")
    with open_store(db, wait=wait, notify=say):
        print(f"{db}: schema version {CURRENT}")


def _rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [{name: getattr(finding, name) for name in finding.__slots__} for finding in findings]


def _sentence(finding: Finding) -> str:
    return f"{finding.count} {finding.what} [{finding.code}]"


def _show_conflicts(rows: Sequence[dict[str, Any]], limit: int = 20) -> None:
    for row in rows[:limit]:
        print(
            f"  {row['candidate']}, example {row['example'][:12]}, response {row['response']}:"
            f" {row['kept']!r} (used) and {row['other']!r} (kept beside it)"
        )
    if len(rows) > limit:
        print(f"  and {len(rows) - limit} more (--json lists all)")


def _show_merge(report: MergeReport, db: Path, other: Path) -> None:
    added = ", ".join(f"{count} {table.replace('_', ' ')}" for table, count in report.added.items() if count)
    print(f"{other} -> {db}: {added or 'nothing new'}")
    for name in report.pools:
        print(f"two pools had one name with different content; one of them is now '{name}'")
    if report.conflicts:
        print(f"{len(report.conflicts)} rewards differ by more than rounding; both values are kept:")
        _show_conflicts(report.conflicts)
