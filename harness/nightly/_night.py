"""One night, step by step: evaluate, judge, export, record, page.

Every step is repeated without harm: finished rewards are not computed again, files appear whole, and the record,
written after the export, says that the night is finished. A kill at any point is repaired by the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.comparing import markdown
from harness.comparing._gather import Gatherer
from harness.comparing._report import Report
from harness.nightly._config import NightlyConfig
from harness.nightly._gate import check_baseline, judge_night, pairs, verdicts
from harness.nightly._lock import alone
from harness.nightly._roles import Tonight, night_key, plan
from harness.runner import RunResult, run_eval
from harness.scoring._types import ScoringOptions
from leaderboard.compare import interval
from leaderboard.metrics import CURVES, Measured, stored_values
from leaderboard.nights import FOLDER, Night, NightScore, as_text, read_nights, write_night, write_whole
from leaderboard.render import build_site
from results import queries
from results.export import ExportRequest, clear_night, export
from results.store import open_store

_LEFT_OUT = ("subset", "group", "prior", "random", *CURVES)  # of records; the metrics table of the export has all


@dataclass(frozen=True, slots=True)
class NightRequest:
    """What the command line adds to the configuration."""

    config: NightlyConfig
    date: str  # ISO
    options: ScoringOptions
    notify: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Finished:
    """A night's record; `report` is None where the night was finished before."""

    night: Night
    report: Report | None


def run_night(request: NightRequest) -> Finished:
    """Run a night, or find it finished. Raises the user's mistakes; failed runs are part of the record."""
    config = request.config
    with alone(config.db, request.notify):
        tonight = plan(config, request.options)
        key = night_key(config, tonight)
        nights = read_nights(config.history)
        before = [night for night in nights if night.night < request.date]
        done = next((night for night in nights if night.night == request.date), None)
        if done is not None and done.key == key and not any(s.status == "failed" for s in done.scores):
            request.notify(f"the night of {request.date} is finished: nothing to do")
            if not _shown(config):
                _page(request)
            return Finished(done, None)
        if done is not None and done.key != key:
            request.notify(f"the night of {request.date} is done again: models, data or gate are others than before")
        check_baseline(config, before)
        finished = _night(request, tonight, key, before)
        _page(request)
        return finished


def _night(request: NightRequest, tonight: Tonight, key: str, before: Sequence[Night]) -> Finished:
    config = request.config
    results = [result for asked in tonight.requests for result in run_eval(asked)]
    found = {(role, r.task): (role, r) for role, one in tonight.cast for r in results if r.candidate_id == one.id}
    played = list(found.values())
    with open_store(config.db, wait=True, notify=request.notify) as store:
        runs = queries.runs(store)
        gatherer = Gatherer(store, runs)
        against = pairs(config, tonight, played, before, runs)
        report = judge_night(gatherer, against, config)
        ids = {result.run for _, result in played if result.run}
        mine = [run for run in runs if run["id"] in ids]
        wanted = ExportRequest(config.history, "parquet", request.date, config.db.stem, runs=ids)
        clear_night(wanted, keep=export(store, wanted, stored_values(store, mine)))
        scores = [_score(role, result, gatherer, {run["id"]: run for run in mine}) for role, result in played]
    failed = any(result.status == "failed" for result in results)
    gate = config.gate
    night = Night(
        night=request.date,
        key=key,
        scores=scores,
        verdicts=verdicts(report, against),
        verdict=report.verdict if report.rows else "",
        rule={"baseline": gate.baseline, "margin": gate.margin, "alpha": gate.alpha, "metric": gate.metric},
        exit_code=(report.exit_code if against else 0) or (3 if failed else 0),
    )
    write_whole(config.history / FOLDER / f"{request.date}.md", _summary(night, report if against else None))
    write_night(config.history, night)
    return Finished(night, report if against else None)


def _score(role: str, result: RunResult, gatherer: Gatherer, runs: dict[str, dict[str, object]]) -> NightScore:
    run = runs.get(result.run)
    usable = run is not None and result.status != "failed" and bool(result.metrics)
    return NightScore(
        role=role,
        task=result.task,
        candidate=result.candidate,
        candidate_id=result.candidate_id,
        run=result.run,
        status=result.status,
        reason=result.reason,
        n=result.n,
        metrics=_metrics(gatherer.measure(run)) if run is not None and usable else {},
    )


def _metrics(measured: Measured) -> dict[str, tuple[float, float, float]]:
    found = {}
    for key, value in measured.values().items():
        if key.split("/", 1)[0] not in _LEFT_OUT or key == "score":
            low, high, _ = interval(measured, key)
            found[key] = (value, float(low), float(high))
    return found


def _summary(night: Night, report: Report | None) -> str:
    """Markdown for a step summary: the gate's report, then every score."""
    first = markdown.render(report) if report is not None else "### First night: nothing to compare with yet\n"
    rows = [
        [
            markdown.code(s.role),
            markdown.code(s.task),
            s.status,
            f"{100 * s.metrics['score'][0]:.2f}" if "score" in s.metrics else "–",
            markdown.code(s.reason) if s.reason else "",
        ]
        for s in night.scores[: markdown.LIMIT]
    ]
    table = markdown.table(["role", "task", "status", "score", "reason"], rows)
    return "\n".join([f"## Night of {night.night}", "", first, *table])


def _shown(config: NightlyConfig) -> bool:
    """Whether the site's page shows the newest record."""
    try:
        newest = as_text(read_nights(config.history)[-1])
        return (config.site / "night.json").read_text(encoding="utf-8") == newest
    except OSError:
        return False  # killed before the page was built, or somebody removed it


def _page(request: NightRequest) -> None:
    config = request.config
    build_site(config.db, config.site, nights=read_nights(config.history), notify=request.notify)
