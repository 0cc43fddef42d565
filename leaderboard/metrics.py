"""From one run's stored rewards to its metrics, and to the weights that make every metric a sum over examples.

A metric is a tree: a weighted mean over the parts present, down to `subset/NAME` leaves (tasks say which, as
data). Flattened, each key is sum_i w_i y_i with y_i in [0, 1] an example's outcome and sum_i w_i = 1; that is
all that the statistics need. A metric none of whose parts has an outcome is left out, never 0.

`Measured` does the work once for many keys; the functions below it are the same for one question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import fsum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from leaderboard._errors import LeaderboardError
from leaderboard._noise import close_calls
from leaderboard._outcomes import Bools, Floats, Judged
from results import queries
from results.records import RunRewards
from results.store import Store

CURVES = ("bon", "oracle", "majority", "first")


class PerExample(NamedTuple):
    """One metric, example by example; every field has length n, the run's number of examples."""

    y: Floats  # outcome in [0, 1]; NaN where the example has none (its weight is 0)
    w: Floats  # weight; metric = sum of w * y over w > 0, and the weights sum to 1
    strata: npt.NDArray[np.int64]  # resampled within; one stratum where all weights are equal
    clusters: npt.NDArray[np.int64]  # examples that repeat one problem share a number


class _Node(NamedTuple):
    """A flattened part: weights (n,) by outcome name, a None-weighted parent uses `size`."""

    weights: dict[str, Floats]
    size: int  # examples with an outcome


class Measured:
    """One run, measured: outcomes, metric values and flattened weights, each computed once."""

    def __init__(self, data: RunRewards) -> None:
        self.data = data
        self.judged = Judged(data)
        self.metrics: dict[str, Mapping[str, Any]] = {m["key"]: m for m in data.metrics}
        names, codes = np.unique(np.asarray(data.subsets, dtype=object).astype(str), return_inverse=True)
        self.subsets: dict[str, int] = {str(name): i for i, name in enumerate(names)}
        self.subset_codes: npt.NDArray[np.int64] = codes.astype(np.int64).reshape(-1)
        self.cluster_codes = _cluster_codes(data)
        self._columns: dict[str, Floats] = {}
        self._flat: dict[str, tuple[Floats, Floats]] = {}

    @property
    def ladder(self) -> tuple[int, ...]:
        """The N of the Best-of-N keys; empty where the task has none."""
        same = len(np.unique(self.judged.sizes)) == 1 and self.judged.sizes[0] > 2
        wanted = self.data.outcome == "best_of_n" or (self.data.outcome == "accuracy" and same)
        return self.judged.ladder if wanted else ()

    def keys(self) -> list[str]:
        """Every key that this task could report: score, its metrics, subsets, Best-of-N."""
        keys = list(dict.fromkeys(["score", *self.metrics]))
        keys += [f"subset/{name}" for name in self.subsets if name]
        voters = any(answer is not None for answer in self.data.answers)
        for curve in CURVES:
            if curve != "majority" or voters:
                keys += [f"{curve}/{n}" for n in self.ladder]
        return [*keys, "random"] if self.ladder else keys

    def values(self) -> dict[str, float]:
        """Every metric that has a value, as fractions; keys of metrics without any outcome are left out."""
        found = {}
        for key in self.keys():
            y, w = self.flat(key)
            if w.any():
                found[key] = fsum(w * np.where(w > 0, y, 0.0)) / fsum(w)  # exact: all right is 1.0
        return found

    def flat(self, key: str, keep: Bools | None = None) -> tuple[Floats, Floats]:
        """(y, w), both (n,): metric = sum of w * y over w > 0. All weights are 0 where it has no value.

        With `keep` (n,) the other examples count as having no outcome (joins of two runs).
        Raises LeaderboardError for a key that the task does not have.
        """
        if keep is None:
            if key not in self._flat:
                self._flat[key] = self._flatten(key, np.ones(len(self.subset_codes), bool))
            return self._flat[key]
        whole = self.flat(key)
        return whole if not (whole[1] > 0)[~keep].any() else self._flatten(key, keep)

    def _flatten(self, key: str, allowed: Bools) -> tuple[Floats, Floats]:
        if key == "random" or ("/" in key and key.split("/", 1)[0] in CURVES):
            return self._curve(key, allowed)
        node = self._node(key, self.data.outcome, allowed, ())
        if node is None:
            return np.full(len(allowed), np.nan), np.zeros(len(allowed))
        return self._combine(node.weights)

    def per_example(self, key: str, keep: Bools | None = None) -> PerExample:
        """(y, w, strata, clusters) of a key; strata are the subsets, or one where all weights are equal."""
        y, w = self.flat(key, keep)
        used = w[w > 0]
        plain = len(used) == 0 or bool(np.ptp(used) <= 1e-9 * used[0])
        strata = np.zeros_like(self.subset_codes) if plain else self.subset_codes
        return PerExample(y, w, strata, self.cluster_codes)

    def outcome(self, name: str) -> Floats:
        """(n,) outcome, NaN where undefined; `name` is an outcome or a Best-of-N key such as bon/4."""
        if name not in self._columns:
            kind, _, size = name.partition("/")
            if size:
                block = self.judged.best_of_n(kind, self.ladder)
                self._columns.update({f"{kind}/{n}": block[:, i] for i, n in enumerate(self.ladder)})
            else:
                self._columns[name] = self.judged.outcome(name)
        return self._columns[name]

    def _curve(self, key: str, keep: Bools) -> tuple[Floats, Floats]:
        """A Best-of-N key: the score's weights where that is Best-of-N too, else a plain mean of questions."""
        if key not in {*(f"{curve}/{n}" for curve in CURVES for n in self.ladder), "random"} or not self.ladder:
            raise LeaderboardError(f"'{key}' is not a metric of {self.data.task}; {self._known()}")
        y = self.outcome(key)
        if self.data.outcome == "best_of_n" and "score" in self.metrics:
            w = self.flat("score", keep)[1]
        else:
            defined = keep & ~np.isnan(y)
            w = defined / max(1, defined.sum())
        return y, w

    def _combine(self, weights: dict[str, Floats]) -> tuple[Floats, Floats]:
        """One y and one w where parts judge by different outcomes: y is their weighted mean on each example."""
        if len(weights) == 1:
            name, only = next(iter(weights.items()))
            return self.outcome(name), only
        w = np.sum(list(weights.values()), axis=0)
        total = sum(part * np.where(part > 0, self.outcome(name), 0.0) for name, part in weights.items())
        return np.divide(total, w, out=np.full(len(w), np.nan), where=w > 0), w

    def _node(self, key: str, outcome: str, keep: Bools, path: tuple[str, ...]) -> _Node | None:
        if key in path:
            raise LeaderboardError(f"metric '{key}' of {self.data.task} is a part of itself: {' -> '.join(path)}")
        if key in self.metrics:
            return self._mean(self.metrics[key], keep, (*path, key))
        if key.startswith("subset/"):
            return self._leaf(self.subset_codes == self.subsets.get(key.removeprefix("subset/"), -1), outcome, keep)
        if key == "score":
            return self._leaf(np.ones(len(keep), bool), outcome, keep)
        raise LeaderboardError(f"'{key}' is not a metric of {self.data.task}; {self._known()}")

    def _leaf(self, members: Bools, outcome: str, keep: Bools) -> _Node | None:
        defined = members & keep & ~np.isnan(self.outcome(outcome))
        count = int(defined.sum())
        return _Node({outcome: defined / count}, count) if count else None

    def _mean(self, metric: Mapping[str, Any], keep: Bools, path: tuple[str, ...]) -> _Node | None:
        outcome = metric.get("outcome") or self.data.outcome
        nodes = [(self._node(name, outcome, keep, path), weight) for name, weight in metric["parts"]]
        present = [(node, node.size if weight is None else float(weight)) for node, weight in nodes if node]
        total = sum(weight for _, weight in present)
        if any(weight < 0 for _, weight in present):
            raise LeaderboardError(f"metric '{path[-1]}' of {self.data.task} has a negative weight")
        if total <= 0:
            return None
        mixed: dict[str, Floats] = {}
        for node, weight in present:
            for name, w in node.weights.items():
                mixed[name] = mixed.get(name, 0.0) + weight / total * w
        return _Node(mixed, int((np.sum(list(mixed.values()), axis=0) > 0).sum()))

    def _known(self) -> str:
        keys = [key for key in self.keys() if not key.startswith("subset/")]
        return f"known: {', '.join(keys)}, and subset/NAME"


def _cluster_codes(data: RunRewards) -> npt.NDArray[np.int64]:
    """(n,) one number a cluster; an example without a cluster is its own."""
    seen: dict[object, int] = {}
    names = [("", i) if name is None else name for i, name in enumerate(data.clusters)]
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.int64)


def measured(data: RunRewards | Measured) -> Measured:
    """`data` itself if it is measured already, so that callers with many keys pay once."""
    return data if isinstance(data, Measured) else Measured(data)


def example_outcomes(data: RunRewards | Measured, outcome: str) -> Floats:
    """Outcome of each example in [0, 1], (n,); NaN where undefined.

    accuracy: 1 where the one correct response strictly beats all others (a tie loses); undefined without
    exactly one correct among at least two. agreement: the same, and where all responses are correct (a
    labelled tie) 1 for equal rewards. best_of_n: exact expectation at the largest N of the ladder.
    Undefined as well: an unscored response, an unknown label. Raises LeaderboardError for an unknown outcome.
    """
    return measured(data).outcome(outcome)


def metric_values(data: RunRewards | Measured) -> dict[str, float]:
    """Every metric of the run as fractions 0..1: score, the task's tree, subset/NAME, and Best-of-N keys."""
    return measured(data).values()


def stored_values(store: Store, runs: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, float]]:
    """(run id, metric, value) of those of `runs` (rows of results.queries.runs) that have rewards, for an export."""
    found = []
    for run in runs:
        rewards = queries.run_rewards(store, dict(run))
        if rewards.scored.any():
            found += [(str(run["id"]), key, value) for key, value in metric_values(rewards).items()]
    return found


def example_weights(data: RunRewards | Measured, metric_key: str) -> Floats:
    """w (n,) with metric = sum of w_i y_i; nested weights flattened, 0 where an example takes no part."""
    return measured(data).flat(metric_key)[1]


def per_example(data: RunRewards | Measured, key: str) -> PerExample:
    """(y, w, strata, clusters) of any key, bon/N included; see PerExample. LeaderboardError if unknown."""
    return measured(data).per_example(key)


def margins(data: RunRewards | Measured) -> Floats:
    """(n,) best reward of a correct response minus best of a wrong one, in reward units; NaN where undefined."""
    return measured(data).judged.margins()


def counts(data: RunRewards | Measured, bound: float = 0.0) -> dict[str, int]:
    """How many examples are not plain wins or losses, so that a page can say so.

    examples, responses; outcomes: examples behind `score`; ties: the highest reward is shared; decisive_ties:
    shared by correct and wrong responses; unscored, cut, unlabelled: examples with a response that was not scored,
    was truncated, or has an unknown label; undetermined: those whose margin is below `bound` (in the rewards' unit),
    so that rounding could turn them; *_responses: the responses themselves.
    """
    run = measured(data)
    judged, raw = run.judged, run.data
    shared, decisive = judged.ties()
    unscored = ~(raw.scored & ~np.isnan(raw.rewards))
    cut = judged.segments.reduce(np.logical_or, raw.cut, 0.0)
    return {
        "examples": len(judged.sizes),
        "responses": len(raw.rewards),
        "outcomes": int((run.flat("score")[1] > 0).sum()),
        "ties": int(shared.sum()),
        "decisive_ties": int(decisive.sum()),
        "unscored": int((~judged.scored).sum()),
        "unscored_responses": int(unscored.sum()),
        "cut": int(cut.sum()),
        "cut_responses": int(raw.cut.sum()),
        "unlabelled": int((~judged.known).sum()),
        "undetermined": close_calls(judged.margins(), bound),
    }
