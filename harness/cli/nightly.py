"""`harness nightly nightly.yaml`: sweep, gate, export and page of one night; `--prune` lets old rows go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.evaluate import JSON, Device
from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.nightly._config import NightlyConfig
    from harness.nightly._night import Finished
    from harness.nightly._prune import PrunePlan


def nightly(
    config: Annotated[Path, typer.Argument(help="The nightly configuration (YAML).")],
    date: Annotated[str | None, typer.Option("--date", help="The night, an ISO date; default: today in UTC.")] = None,
    db: Annotated[Path | None, typer.Option("--db", help="Instead of the configuration's database.")] = None,
    history: Annotated[Path | None, typer.Option("--history", help="Instead of the configuration's folder.")] = None,
    site: Annotated[Path | None, typer.Option("--site", help="Instead of the configuration's folder.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", envvar="HARNESS_DATA_DIR", help="Folder with the published data.")
    ] = None,
    device: Device = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Run no night: say which old per-example rows would go, and ask.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --prune: do it without asking.")] = False,
    as_json: JSON = False,
) -> None:
    """Run one night: sweep, gate against the night before (or a release), export to the history, build the page.

    Resumable and idempotent for a date. Exit codes: 1 regression proven, 3 a run failed, 4 open (gate.strict), 0 ok.
    """
    from harness.nightly._config import read_nightly

    told = {"db": db, "history": history, "site": site}
    wanted = read_nightly(config).model_copy(update={key: path for key, path in told.items() if path is not None})
    if data_dir is not None and wanted.data_dir is None:
        wanted = wanted.model_copy(update={"data_dir": data_dir})
    if yes and not prune:
        raise ConfigError("--yes answers --prune, which was not given")
    if prune:
        _prune(wanted, yes, as_json)
        return
    finished = _run(wanted, date, device)
    _report(finished, wanted, as_json)
    if finished.night.exit_code:
        raise typer.Exit(finished.night.exit_code)


def _run(config: NightlyConfig, date: str | None, device: str | None) -> Finished:
    from harness.nightly._config import iso_date
    from harness.nightly._night import NightRequest, run_night
    from harness.progress import say
    from harness.scoring._types import ScoringOptions
    from results.store import utc_now

    try:
        night = iso_date(date) if date else utc_now().date().isoformat()
    except ValueError as error:
        raise ConfigError(f"--date: {error}") from None
    said = config.scoring
    options = ScoringOptions(
        device=device or said.device,
        dtype=said.dtype,
        batch_tokens=said.batch_tokens,
        system_prompt=said.system_prompt,
        chat_template=said.chat_template,
        max_length=said.max_length,
        truncation_side=said.truncation_side,
        notify=say,
    )
    return run_night(NightRequest(config, night, options, say))


def _report(finished: Finished, config: NightlyConfig, as_json: bool) -> None:
    from harness.comparing import text
    from leaderboard.nights import as_text, night_file

    if as_json:
        sys.stdout.write(as_text(finished.night))
        return
    night = finished.night
    if finished.report is not None:
        sys.stdout.write(text.render(finished.report))
    for s in night.scores:
        score = f"{100 * s.metrics['score'][0]:.2f}" if "score" in s.metrics else "-"
        print(f"{s.role} on {s.task}: {s.status}, {score}{f' ({s.reason})' if s.reason else ''}")
    if not night.verdicts:
        print(f"{night.night}: no earlier night to compare with")
    print(f"{night.night}: exit code {night.exit_code}; record {night_file(config.history, night.night)}")
    print(f"page: {config.site}/index.html")


def _prune(config: NightlyConfig, yes: bool, as_json: bool) -> None:
    import json

    from harness.nightly._prune import prune
    from harness.progress import say

    def agree(plan: PrunePlan) -> bool:
        if not as_json:
            _show(plan)
        return yes or (sys.stdin.isatty() and not as_json and typer.confirm("delete this?", default=False))

    plan, done = prune(config, agree, say)
    if as_json:
        found = {
            "nights": list(plan.nights),
            "kept": list(plan.kept),
            "runs": plan.store.runs,
            "rewards": plan.store.rewards,
            "folders": [str(folder) for folder in plan.folders],
            "bytes": plan.bytes,
            "done": done,
        }
        print(json.dumps(found))
    elif plan.empty:
        print(f"nothing to prune: kept are the nights {', '.join(plan.kept) or '(none)'}")
    elif done:
        print("deleted; summaries are kept")
    else:
        print("nothing was deleted: --prune --yes does it")


def _show(plan: PrunePlan) -> None:
    """What would go, before anything does."""
    print(f"nights kept: {', '.join(plan.kept) or 'none'}")
    print(f"nights whose per-example rows go: {', '.join(plan.nights) or 'none'}")
    print(f"from the database: {plan.store.runs} runs with {plan.store.rewards:,} rewards that no kept night uses")
    for folder in plan.folders:
        print(f"from the history: {folder}")
    print(f"{plan.bytes:,} bytes of files; scores, metrics and records of all nights stay")
