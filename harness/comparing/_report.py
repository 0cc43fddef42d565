"""What a comparison found, before it is written in any format. Differences are always A minus B; B is the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboard.compare import Comparison
from leaderboard.flips import Flips
from leaderboard.gate import INCONCLUSIVE, NOT_WORSE, REGRESSION, Decision, Rule

FAIL_IF_WORSE, NON_INFERIOR = "fail-if-worse", "non-inferior"
SHOWN = 3  # flipped examples, and regressions of a headline, that texts name; JSON has all


@dataclass(frozen=True, slots=True)
class Side:
    """A candidate: its name, and its content id."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """Candidate a, judged against baseline b."""

    a: Side
    b: Side
    label: str = ""  # what the pair is called where there are several

    @property
    def title(self) -> str:
        return self.label or f"{self.a.name} against {self.b.name}"


@dataclass(frozen=True, slots=True)
class Row:
    """One pair on one task."""

    pair: Pairing
    task: str
    comparison: Comparison  # p_adjusted is Holm's over all rows of the report
    decision: Decision
    flips: Flips
    runs: tuple[str, str]  # ids of the runs


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pair that cannot be compared on a task, and why, in one sentence."""

    pair: Pairing
    task: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of two recipes whose values differ; "" where one has none."""

    key: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Report:
    rows: Sequence[Row]
    verdict: str  # of leaderboard.gate, over all rows
    rule: Rule
    metric: str = "score"
    question: str = ""  # fail-if-worse | non-inferior | "" = none was asked
    strict: bool = False
    refusals: Sequence[Refusal] = ()
    notes: Sequence[str] = ()
    settings: Sequence[Setting] | None = None  # None: no two recipes were compared
    level: float = 0.95

    @property
    def exit_code(self) -> int:
        """1 for a proven regression; with `strict` 4 where that question stays open; 0 otherwise."""
        if not self.question:
            return 0
        if self.verdict == REGRESSION:
            return 1
        open_question = self.verdict == INCONCLUSIVE or bool(self.refusals)
        return 4 if self.strict and open_question else 0

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        margin = f"{100 * self.rule.margin:g} points"
        where = [f"{r.task} ({r.pair.title})" if self.several else r.task for r in self.worse]
        more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
        text = {
            REGRESSION: f"regression: worse by more than {margin} on {', '.join(where[:SHOWN])}{more}",
            NOT_WORSE: f"not worse: a loss of {margin} or more is ruled out on every task",
            INCONCLUSIVE: f"inconclusive: neither a loss of more than {margin} nor its absence is proven",
        }.get(self.verdict, "identical: the same content, so the same rewards")
        left = f"; {len(self.refusals)} not compared" if self.refusals else ""
        return f"{text}{left}"

    @property
    def worse(self) -> list[Row]:
        return [row for row in self.rows if row.decision.verdict == REGRESSION]

    @property
    def several(self) -> bool:
        """Whether there is more than one pair, so that rows must say which is theirs."""
        return len({*(row.pair for row in self.rows), *(refusal.pair for refusal in self.refusals)}) > 1
