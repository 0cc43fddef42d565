"""The board: what every run on the page is worth, before anything is rounded or drawn.

One task's runs are ranked together only if they are complete, safe, and measured on the same data; all others
are kept apart with the reason. Numbers come from leaderboard.metrics and leaderboard.compare; nothing is
computed twice and nothing here is text for the page, apart from the reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leaderboard._candidates import Candidate, Sweep, candidate_of, find_baseline, find_sweeps, suggest
from leaderboard._errors import LeaderboardError
from leaderboard._standing import Pair, Standing, standing
from leaderboard.compare import Comparison, compare_many, interval
from leaderboard.metrics import CURVES, Measured, counts
from results.bounds import reward_bound
from results.records import RunRewards

Run = Mapping[str, Any]
Loader = Callable[[Run], RunRewards]

CURVE_KEYS = (*CURVES, "random")


@dataclass(frozen=True, slots=True)
class Score:
    """A metric of one run, fractions: value, 95% interval, and the examples behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One candidate on one task."""

    candidate: Candidate
    run: Run
    scores: Mapping[str, Score]
    counts: Mapping[str, int]
    against: Mapping[str, Comparison] = field(default_factory=dict)  # key -> this minus the baseline
    reason: str = ""  # why it is not ranked; "" = it is

    @property
    def score(self) -> Score | None:
        return self.scores.get("score")


@dataclass(frozen=True, slots=True)
class TaskBoard:
    """One task: ranked entries, best first, and those kept apart."""

    name: str
    ranked: tuple[Entry, ...]
    apart: tuple[Entry, ...]
    keys: tuple[str, ...]  # every metric that some entry has a value for, in the task's own order
    baseline: Entry | None  # the baseline's ranked entry; None where it has none
    measured: Mapping[str, Measured]  # candidate id -> its ranked run
    standing: Standing | None  # of the ranked entries, in their order; None with fewer than two
    trouble: str  # why there is no standing although there are two

    def group(self, *kinds: str) -> list[str]:
        """Keys of the form KIND/NAME, for example section/Chat."""
        return [key for key in self.keys if "/" in key and key.split("/", 1)[0] in kinds]

    @property
    def main_keys(self) -> list[str]:
        """Sections, categories and whatever else the task names, without subsets and Best-of-N curves."""
        skip = ("subset", "group", "prior", *CURVES)
        named = [key for key in self.keys if "/" in key and key.split("/", 1)[0] not in skip]
        return [*named, *(key for key in self.keys if "/" not in key and key not in ("score", "random"))]

    def place(self, entry: Entry) -> int:
        """The entry's index in the ranked order."""
        return next(i for i, e in enumerate(self.ranked) if e is entry)

    def pair(self, a: Entry, b: Entry) -> Pair | None:
        """Ranked a minus ranked b on the headline score; None where they are one or nothing is known."""
        return None if self.standing is None or a is b else self.standing.pair(self.place(a), self.place(b))

    def rank(self, entry: Entry) -> tuple[int, int] | None:
        return None if self.standing is None else self.standing.rank(self.place(entry))

    def entry(self, candidate_id: str) -> Entry | None:
        return next((e for e in self.ranked if e.candidate.id == candidate_id), None)


@dataclass(frozen=True, slots=True)
class Board:
    """Everything the site shows."""

    tasks: tuple[TaskBoard, ...]
    candidates: tuple[Candidate, ...]  # with at least one run, in the order of their first
    baseline: Candidate | None
    baseline_chosen: bool  # named by the user; otherwise it is the default
    sweeps: tuple[Sweep, ...]
    runs: tuple[Run, ...]


def build_board(
    runs: Sequence[Run],
    load: Loader,
    *,
    baseline: str | None = None,
    tasks: Sequence[str] | None = None,
    conflicts: Mapping[str, int] | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Board:
    """The board of these runs (rows of results.queries.runs, newest of each candidate and task).

    `conflicts`: run id -> rewards of which another database had another value (results.check.conflicts_by_run).

    Raises LeaderboardError for an unknown task or baseline.
    """
    known = [name for name, _ in Counter(r["task"] for r in runs).most_common()]
    chosen = _choose_tasks(known, tasks)
    shown = [r for r in runs if r["task"] in chosen]
    everyone = tuple({r["candidate_id"]: candidate_of(r) for r in shown}.values())
    base = find_baseline(_by_completeness(everyone, shown), baseline)
    boards = []
    for name in chosen:
        notify(f"{name}: intervals and comparisons")
        boards.append(_task_board(name, [r for r in shown if r["task"] == name], load, base, conflicts or {}))
    return Board(
        tuple(boards), everyone, base, baseline is not None, tuple(find_sweeps(everyone)), tuple(shown)
    )  # fmt: skip


def _choose_tasks(known: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    for name in wanted or ():
        if name not in known:
            raise LeaderboardError(f"--tasks {name}: the database has no run of it: {suggest(name, known)}")
    return list(dict.fromkeys(wanted)) if wanted else list(known)


def _by_completeness(everyone: Sequence[Candidate], runs: Sequence[Run]) -> list[Candidate]:
    """Candidates with complete runs first, so that a default baseline is one that can be compared with."""
    complete = {r["candidate_id"] for r in runs if r["status"] == "complete"}
    return sorted(everyone, key=lambda c: c.id not in complete)


def _task_board(
    name: str, runs: Sequence[Run], load: Loader, base: Candidate | None, conflicts: Mapping[str, int]
) -> TaskBoard:
    data = _main_data(runs)
    entries, held = [], {}
    for run in runs:
        reason = not_ranked(run, data)
        if run["status"] == "running" or (run["status"] == "failed" and not run["dataset_key"]):
            entries.append(Entry(candidate_of(run), run, {}, {}, reason=reason))
            continue
        measured = Measured(load(run))
        if not reason and "score" not in measured.values():
            reason = "no example has an outcome: nothing was scored, or no label is known"
        entries.append(
            Entry(candidate_of(run), run, scores_of(measured), _counts(run, measured, conflicts), reason=reason)
        )
        if not reason:
            held[run["candidate_id"]] = measured
    keys = _ordered_keys([e.scores for e in entries], held)
    ranked = _against(sorted((e for e in entries if not e.reason), key=_best_first), held, base, keys)
    mine = next((e for e in ranked if base is not None and e.candidate.id == base.id), None)
    place, trouble = standing([held[e.candidate.id] for e in ranked])
    return TaskBoard(name, tuple(ranked), tuple(e for e in entries if e.reason), keys, mine, held, place, trouble)


def _counts(run: Run, measured: Measured, conflicts: Mapping[str, int]) -> dict[str, int]:
    bound = reward_bound(run["protocol"], measured.data.rewards)
    return {**counts(measured, bound), "conflicts": conflicts.get(str(run["id"]), 0)}


def _main_data(runs: Sequence[Run]) -> str:
    """The data set that most complete runs were made on; the newest of equals."""
    complete = [r["dataset_id"] for r in runs if r["status"] == "complete" and not is_unsafe(r)]
    tally = Counter(complete)
    return max(reversed(complete), key=lambda d: tally[d], default="")


def not_ranked(run: Run, data: str) -> str:
    """Why a run stays out of the ranking, as one clause; "" if it does not."""
    if run["status"] == "running":
        return "not finished: still running, or stopped before its end"
    if run["status"] != "complete":
        why = run["reason"] or run["partial"]
        return f"{run['status']}: {why}" if why else str(run["status"])
    if is_unsafe(run):
        return "unsafe: its labels come from programs run without a sandbox"
    if run["dataset_id"] != data:
        return "measured on other data than the ranked runs"
    return ""


def is_unsafe(run: Run) -> bool:
    """Whether labels were made with --unsafe-exec: the data's options record the sandbox tiers that made them."""
    tiers = {tier.strip() for tier in str(run["options"].get("sandbox", "")).split(",")}
    return "unsafe" in tiers


def scores_of(measured: Measured) -> dict[str, Score]:
    """Every metric of a run with its 95% interval."""
    found = {}
    for key, value in measured.values().items():
        low, high, _ = interval(measured, key)
        found[key] = Score(value, float(low), float(high), int((measured.flat(key)[1] > 0).sum()))
    return found


def _ordered_keys(all_scores: Sequence[Mapping[str, Score]], held: Mapping[str, Measured]) -> tuple[str, ...]:
    """The task's own order: the headline, the metrics as declared, subsets, curves."""
    declared = [key for m in held.values() for key in m.keys()]  # noqa: SIM118 - Measured is no mapping
    seen = {key for scores in all_scores for key in scores}
    order = dict.fromkeys([*declared, *(key for scores in all_scores for key in scores)])
    return tuple(key for key in order if key in seen)


def _best_first(entry: Entry) -> tuple[float, str]:
    return (-entry.score.value if entry.score else 0.0, entry.candidate.name)


def _against(
    ranked: Sequence[Entry], held: Mapping[str, Measured], base: Candidate | None, keys: Sequence[str]
) -> list[Entry]:
    """The same entries with their comparisons to the baseline, Best-of-N curves left out."""
    if base is None or base.id not in held or len(ranked) < 2:
        return list(ranked)
    others = [e for e in ranked if e.candidate.id != base.id]
    wanted = [k for k in keys if k.split("/", 1)[0] not in CURVE_KEYS and k in held[base.id].values()]
    found = compare_many([held[e.candidate.id] for e in others], held[base.id], wanted)
    against = {e.candidate.id: row for e, row in zip(others, found, strict=True)}
    return [
        Entry(e.candidate, e.run, e.scores, e.counts, against.get(e.candidate.id, {}), e.reason) for e in ranked
    ]  # fmt: skip
