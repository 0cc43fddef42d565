"""Tonight's roles against their baselines: the night before, a release, another role, or a stored candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.comparing._gather import Asked, Gatherer
from harness.comparing._report import FAIL_IF_WORSE, Pairing, Report, Side
from harness.errors import ConfigError, did_you_mean
from harness.nightly._config import LAST_GOOD, PREVIOUS, NightlyConfig
from harness.nightly._roles import Tonight
from harness.runner import RunResult
from leaderboard._candidates import candidate_of, find_candidate
from leaderboard._errors import LeaderboardError
from leaderboard.gate import REGRESSION, Rule
from leaderboard.nights import Night, NightVerdict

Against = dict[tuple[Pairing, str], tuple[str, str]]  # (pair, task) -> (role, what the baseline is called)


def check_baseline(config: NightlyConfig, earlier: Sequence[Night]) -> None:
    """Raise ConfigError for a release whose night has no record, before anything is evaluated."""
    wanted = config.releases.get(config.gate.baseline)
    if wanted is not None and all(night.night != wanted for night in earlier):
        known = ", ".join(night.night for night in earlier[-5:]) or "none"
        raise ConfigError(
            f"gate.baseline: release '{config.gate.baseline}' is the night of {wanted}, which is not in"
            f" {config.history} before this one (known: {known})"
        )


def pairs(
    config: NightlyConfig,
    tonight: Tonight,
    results: Sequence[tuple[str, RunResult]],
    earlier: Sequence[Night],
    runs: Sequence[Mapping[str, Any]],
) -> Against:
    """Whom each finished run of tonight is held against; a role's first night has nobody."""
    found: Against = {}
    for role, result in results:
        if result.status == "failed":  # a partial one is refused with the reason
            continue
        base = _baseline(config, tonight, role, result.task, earlier, runs)
        if base is not None:
            side, called = base
            pair = Pairing(Side(result.candidate, result.candidate_id), side, f"{role}, against {called}")
            found[pair, result.task] = (role, called)
    return found


def _baseline(
    config: NightlyConfig,
    tonight: Tonight,
    role: str,
    task: str,
    earlier: Sequence[Night],
    runs: Sequence[Mapping[str, Any]],
) -> tuple[Side, str] | None:
    wanted = config.gate.baseline
    if wanted in (PREVIOUS, LAST_GOOD, *config.releases):
        night = earlier_night(config, role, task, earlier)
        score = None if night is None else night.score(role, task)
        if night is None or score is None:
            return None
        called = wanted if wanted in config.releases else night.night
        return Side(score.candidate, score.candidate_id), called
    cast = dict(tonight.cast)
    if wanted in cast:
        return None if wanted == role else (Side(cast[wanted].name, cast[wanted].id), wanted)
    known = list({str(run["candidate_id"]): candidate_of(run) for run in runs}.values())
    try:
        one = find_candidate(known, wanted, "gate.baseline: ")
    except LeaderboardError:
        names = [PREVIOUS, LAST_GOOD, *config.releases, *cast, *(c.name for c in known)]
        raise ConfigError(
            f"gate.baseline: '{wanted}' is no release, role or one stored candidate: {did_you_mean(wanted, set(names))}"
        ) from None
    return None if any(one.id == c.id for r, c in tonight.cast if r == role) else (Side(one.name, one.id), wanted)


def earlier_night(config: NightlyConfig, role: str, task: str, earlier: Sequence[Night]) -> Night | None:
    """The night that a role is held against on a task: one with a complete run of it; None where there is none."""
    wanted = config.gate.baseline
    for night in reversed(earlier):
        if wanted in config.releases and night.night != config.releases[wanted]:
            continue
        verdict = next((v.verdict for v in night.verdicts if (v.role, v.task) == (role, task)), "")
        if night.score(role, task) is not None and not (wanted == LAST_GOOD and verdict == REGRESSION):
            return night
    return None


def judge_night(gatherer: Gatherer, against: Against, config: NightlyConfig) -> Report:
    """All comparisons of the night, judged together."""
    gate = config.gate
    asked = Asked(gate.metric, Rule(gate.margin / 100, gate.alpha), FAIL_IF_WORSE, gate.strict)
    return gatherer.report(list(against), asked)


def verdicts(report: Report, against: Against) -> list[NightVerdict]:
    """The report as records keep it."""
    found = [
        NightVerdict(
            role=against[row.pair, row.task][0],
            task=row.task,
            verdict=row.decision.verdict,
            against=against[row.pair, row.task][1],
            baseline=row.pair.b.name,
            baseline_id=row.pair.b.id,
            difference=_number(row.comparison.difference),
            low=_number(row.comparison.low) if row.runs[0] != row.runs[1] else None,
            high=_number(row.comparison.high) if row.runs[0] != row.runs[1] else None,
            p_worse=_number(row.decision.p_worse_adjusted),
        )
        for row in report.rows
    ]
    found += [
        NightVerdict(
            role=against[r.pair, r.task][0],
            task=r.task,
            verdict="not compared",
            against=against[r.pair, r.task][1],
            baseline=r.pair.b.name,
            baseline_id=r.pair.b.id,
            reason=r.sentence,
        )
        for r in report.refusals
    ]
    order = list(against)
    return sorted(
        found, key=lambda v: next(i for i, k in enumerate(order) if (against[k][0], k[1]) == (v.role, v.task))
    )


def _number(value: float) -> float | None:
    return value if value == value else None  # NaN
