"""What retention lets go: per-example rows of nights that are neither among the newest nor a release.

The records of nights, and the export's runs and metrics, stay for ever. Runs that no night recorded are not
nightly's, and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigError
from harness.nightly._config import NightlyConfig
from harness.nightly._gate import earlier_night
from harness.nightly._lock import alone
from leaderboard._candidates import candidate_of, find_candidate
from leaderboard._errors import LeaderboardError
from leaderboard.nights import Night, read_nights
from results import queries
from results.prune import StorePlan, plan_files, plan_store, prune_files, prune_store
from results.store import Store, open_store


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What would go, and which nights stay."""

    nights: Sequence[str]  # whose rows go
    kept: Sequence[str]
    store: StorePlan
    folders: Sequence[Path]
    bytes: int

    @property
    def empty(self) -> bool:
        return not self.store.runs and not self.folders


def prune(
    config: NightlyConfig, agree: Callable[[PrunePlan], bool], notify: Callable[[str], None]
) -> tuple[PrunePlan, bool]:
    """Plan, ask `agree`, and only then delete. Returns the plan and whether it was carried out."""
    if not config.db.is_file():
        raise ConfigError(f"{config.db}: there is no such database: nothing to prune")
    with alone(config.db, notify):
        nights = read_nights(config.history)
        kept = _kept(config, nights)
        with open_store(config.db, wait=True, notify=notify) as store:
            drop = {s.run for night in nights if night.night not in kept for s in night.scores if s.run}
            keep = {s.run for night in nights if night.night in kept for s in night.scores} | _pinned(config, store)
            folders = plan_files(config.history, kept)
            size = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
            gone = [night.night for night in nights if night.night not in kept]
            plan = PrunePlan(gone, sorted(kept), plan_store(store, drop, keep), folders, size)
            if plan.empty or not agree(plan):
                return plan, False
            prune_store(store, drop, keep)
        prune_files(folders)
        return plan, True


def _kept(config: NightlyConfig, nights: Sequence[Night]) -> set[str]:
    known = [night.night for night in nights]
    for name, night in config.releases.items():
        if night not in known:
            raise ConfigError(
                f"releases: '{name}' is the night of {night}, which is not in {config.history}:"
                " put the date right first, so that pruning does not take what it should keep"
            )
    wanted = {(s.role, s.task) for night in nights[-1:] for s in night.scores}
    held = [earlier_night(config, role, task, nights) for role, task in wanted]  # what tomorrow is held against
    return {*known[-config.retention.nights :], *config.releases.values(), *(night.night for night in held if night)}


def _pinned(config: NightlyConfig, store: Store) -> set[str]:
    """Runs of the stored candidate that the gate is held against, if it is one."""
    runs = queries.runs(store)
    known = list({str(run["candidate_id"]): candidate_of(run) for run in runs}.values())
    try:
        one = find_candidate(known, config.gate.baseline)
    except LeaderboardError:
        return set()
    return {str(run["id"]) for run in runs if run["candidate_id"] == one.id}
