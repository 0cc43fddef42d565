"""From pairs of stored candidates to a report: runs chosen, compared on shared examples, judged together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.comparing._identity import pair_note, stored_notes
from harness.comparing._report import Pairing, Refusal, Report, Row
from harness.comparing._runs import choose
from leaderboard._errors import LeaderboardError
from leaderboard.compare import Comparison, compare
from leaderboard.flips import Flips, flips
from leaderboard.gate import Rule, judge
from leaderboard.metrics import Measured
from leaderboard.stats.holm import holm
from results import queries
from results.check import conflicts
from results.records import RunRewards
from results.store import Store

Run = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the pairs."""

    metric: str = "score"
    rule: Rule = field(default_factory=Rule)
    question: str = ""
    strict: bool = False
    resamples: int = 10_000


class Gatherer:
    """One open store; every run is read and measured once."""

    def __init__(self, store: Store, runs: Sequence[Run] | None = None) -> None:
        self._store = store
        self._measured: dict[str, Measured] = {}
        self._runs: dict[tuple[str, str], list[Run]] = {}
        for run in queries.runs(store) if runs is None else runs:
            self._runs.setdefault((str(run["candidate_id"]), str(run["task"])), []).append(run)

    def tasks(self, pair: Pairing) -> list[str]:
        """Tasks that either of the two ran, the baseline's first."""
        return list(dict.fromkeys(t for side in (pair.b, pair.a) for c, t in self._runs if c == side.id))

    def load(self, run: Run) -> RunRewards:
        return self.measure(run).data

    def measure(self, run: Run) -> Measured:
        if run["id"] not in self._measured:
            self._measured[run["id"]] = Measured(queries.run_rewards(self._store, dict(run)))
        return self._measured[run["id"]]

    def report(self, wanted: Sequence[tuple[Pairing, str]], asked: Asked) -> Report:
        """Compare every (pair, task); what cannot be compared is kept with its reason."""
        found: dict[int, tuple[Pairing, str, Run, Run, Comparison, Flips]] = {}
        refusals: list[Refusal] = []
        for pair, task in wanted:
            one = self._one(pair, task, asked)
            if isinstance(one, str):
                refusals.append(Refusal(pair, task, one))
            else:
                found[len(found)] = (pair, task, *one)
        same = [i for i, (_, _, a, b, *_) in found.items() if a["id"] == b["id"]]
        gate = judge({i: entry[4] for i, entry in found.items()}, asked.rule, same)
        adjusted = _holm({i: entry[4] for i, entry in found.items() if i not in same})
        rows = [
            Row(pair, task, adjusted.get(i, c), gate.decisions[i], moved, (a["id"], b["id"]))
            for i, (pair, task, a, b, c, moved) in found.items()
        ]
        notes = self._notes([(entry[2], entry[3]) for entry in found.values()])
        return Report(
            rows, gate.verdict, asked.rule, asked.metric, asked.question, asked.strict, refusals, notes
        )  # fmt: skip

    def _one(self, pair: Pairing, task: str, asked: Asked) -> tuple[Run, Run, Comparison, Flips] | str:
        runs = [self._runs.get((side.id, task), []) for side in (pair.a, pair.b)]
        chosen = choose(runs[0], runs[1], (pair.a.name, pair.b.name), task)
        if isinstance(chosen, str):
            return chosen
        a, b = (self.measure(run) for run in chosen)
        try:
            comparison = compare(a, b, asked.metric, resamples=asked.resamples)
            return *chosen, comparison, flips(a, b, asked.metric)
        except LeaderboardError as error:
            return str(error)

    def _notes(self, compared: Sequence[tuple[Run, Run]]) -> list[str]:
        notes = [pair_note(a, b, self.load) for a, b in compared]
        seen = {(run["candidate_id"], run["task"]) for both in compared for run in both}
        for key in sorted(seen):
            notes += stored_notes(self._runs[key], self.load)
        return [*dict.fromkeys(filter(None, notes)), *self._conflicts({r["candidate"] for p in compared for r in p})]

    def _conflicts(self, names: set[str]) -> list[str]:
        """Candidates whose rewards differ between databases that were merged."""
        rows = [row["candidate"] for row in conflicts(self._store)]
        return [
            f"{name}: {rows.count(name)} rewards differ between merged databases by more than rounding, for the same"
            " weights and protocol ('harness db check' lists them)"
            for name in sorted(names & set(rows))
        ]


def _holm(comparisons: Mapping[int, Comparison]) -> dict[int, Comparison]:
    """The same comparisons with p adjusted over all of them."""
    tested = {i: c for i, c in comparisons.items() if c.n}
    adjusted = holm([c.p for c in tested.values()]).tolist() if tested else []
    return {**comparisons, **{i: replace(c, p_adjusted=p) for (i, c), p in zip(tested.items(), adjusted, strict=True)}}
