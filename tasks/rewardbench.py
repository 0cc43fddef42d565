"""RewardBench v1 (arXiv:2403.13787; allenai/reward-bench, split `filtered`): 2,985 pairs, 23 subsets, 4 sections.

Section = weighted mean of its subsets' accuracies, score = plain mean of the sections. With prior sets given,
`score_with_priors` weighs the four sections 2 each and the plain mean of the prior sets 1.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks._data import Hub, Loaded, Published, load, load_file
from tasks._humanevalpack import problem_clusters
from tasks._schema import Row, choose_options
from tasks._types import Example, LoadRequest, Metric, Response, TaskData, TaskError

# section -> subset -> number of pairs (RewardBench, Table 1)
SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 447,
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 164,
        "hep-rust": 164,
    },
}
COUNTS = {subset: n for subsets in SECTIONS.values() for subset, n in subsets.items()}
HEP = tuple(subset for subset in COUNTS if subset.startswith("hep-"))
PRIORS = ("anthropic_helpful", "anthropic_hhh", "shp", "summarize")
OTHER_PRIORS = ("anthropic_harmless", "mtbench_gpt4", "mtbench_human")  # published beside them, in no score
PRIOR_SECTION = "Prior Sets"

# Weights that are not the count. math-prm weighs as much as all code; the first tables had xstest's two swapped.
WEIGHTS: dict[str, dict[str, int]] = {
    "current": {"math-prm": 984},
    "pre-2024-09-10": {"math-prm": 984, "xstest-should-refuse": 250, "xstest-should-respond": 154},
}

REVISION = "168d848cdbbea9764fae4a544dc9ca1e6cca4931"
DATA = Published(
    name="RewardBench filtered split",
    task="rewardbench",
    paths=("rewardbench/filtered.parquet", "rewardbench/filtered.jsonl", "rewardbench/filtered.json"),
    sha256={"65473c20ed0627e02503557ae102c25c6b0e66b5ed69ee327e224bb95e70ca29": REVISION},
    remote=Hub("allenai/reward-bench", None, "filtered", REVISION),
)


def section_metrics(weights: str, *, priors: bool) -> tuple[Metric, ...]:
    """The metric tree of one weighting version, with prior sets or without."""
    table = COUNTS | WEIGHTS[weights]
    metrics = [
        Metric(f"section/{section}", tuple((f"subset/{s}", float(table[s])) for s in subsets))
        for section, subsets in SECTIONS.items()
    ]
    sections = tuple((metric.key, 1.0) for metric in metrics)
    metrics.append(Metric("category/Code", tuple((f"subset/{s}", float(table[s])) for s in HEP)))
    metrics.append(Metric("category/Math", (("subset/math-prm", float(table["math-prm"])),)))
    metrics.append(Metric("score", sections))
    if priors:
        metrics += [Metric(f"prior/{name}", ((f"subset/{name}", None),)) for name in PRIORS]
        metrics.append(Metric(f"section/{PRIOR_SECTION}", tuple((f"prior/{name}", 1.0) for name in PRIORS)))
        weighted = (*((key, 2.0) for key, _ in sections), (f"section/{PRIOR_SECTION}", 1.0))
        metrics.append(Metric("score_with_priors", weighted))
    return tuple(metrics)


class RewardBench:
    """The task; options: `weights`."""

    title = "RewardBench"
    summary = "2,985 preference pairs in Chat, Chat Hard, Safety and Reasoning"
    extras = ("priors",)  # --data priors=FILE

    def load(self, request: LoadRequest) -> TaskData:
        """All pairs, chosen first. Options: weights=current|pre-2024-09-10; extras: priors=FILE."""
        options = choose_options("rewardbench", request.options, {"weights": tuple(WEIGHTS)})
        core = load(DATA, request, request.file)
        pairs, notes = _pairs(core.rows), list(core.notes)
        pairs, cluster_note = _clustered(pairs)
        missing = [subset for subset in COUNTS if subset not in {p.subset for p in pairs}]
        notes += cluster_note + _count_notes(pairs)
        sources = [core.source]
        if "priors" in request.extras:
            extra = load_file(request.extras["priors"], "prior sets")
            more, skipped = _prior_pairs(extra, {p.id for p in pairs})
            pairs, notes = pairs + more, notes + skipped
            sources.append(extra.source)
            missing += [name for name in PRIORS if name not in {p.subset for p in more}]
        return TaskData(
            task="rewardbench",
            outcome="accuracy",
            examples=tuple(pairs),
            metrics=section_metrics(options["weights"], priors="priors" in request.extras),
            sources=tuple(sources),
            options=options,
            missing=tuple(missing),
            notes=tuple(notes),
        )


def _pairs(rows: Iterable[Row]) -> list[Example]:
    section_of = {subset: section for section, subsets in SECTIONS.items() for subset in subsets}
    seen: dict[str, str] = {}
    pairs = []
    for row in rows:
        subset = row.text("subset")
        if subset not in section_of:
            raise row.error("subset", "one of RewardBench's 23 subsets", subset)
        pair = _pair(row, row.label("id"), subset, section_of[subset])
        if pair.id in seen:
            raise TaskError(f"{row.where}: id '{pair.id}' is already used at {seen[pair.id]}: ids must be unique")
        seen[pair.id] = row.where
        pairs.append(pair)
    return pairs


def _pair(row: Row, example_id: str, subset: str, stratum: str) -> Example:
    chosen = Response(row.text("chosen"), True, source=str(row.data.get("chosen_model") or ""))
    rejected = Response(row.text("rejected"), False, source=str(row.data.get("rejected_model") or ""))
    return Example(example_id, row.prompt(), (chosen, rejected), subset, stratum)


def _prior_pairs(extra: Loaded, taken: set[str]) -> tuple[list[Example], list[str]]:
    """The prior sets' pairs; ids are prefixed with the subset, because their own restart at 0 in each."""
    pairs, skipped = [], set()
    for index, row in enumerate(extra.rows):
        subset = row.text("subset")
        if subset in OTHER_PRIORS:
            skipped.add(subset)
            continue
        if subset not in PRIORS:
            raise row.error("subset", f"one of the prior sets {', '.join(PRIORS)}", subset)
        own = row.label("id") if "id" in row.data else str(index)
        pair = _pair(row, f"{subset}/{own}", subset, PRIOR_SECTION)
        if pair.id in taken:
            raise TaskError(f"{row.where}: id '{own}' is used twice in '{subset}': ids must be unique")
        taken.add(pair.id)
        pairs.append(pair)
    if not pairs:
        raise TaskError(f"{extra.source.location}: no row belongs to a prior set ({', '.join(PRIORS)})")
    note = f"prior sets that are in no score were left out: {', '.join(sorted(skipped))}."
    return pairs, [note] if skipped else []


def _clustered(pairs: list[Example]) -> tuple[list[Example], list[str]]:
    places = {s: [i for i, pair in enumerate(pairs) if pair.subset == s] for s in HEP}
    present = {subset: rows for subset, rows in places.items() if rows}
    if not present:
        return pairs, []
    clusters = problem_clusters({s: [pairs[i].prompt[-1].content for i in rows] for s, rows in present.items()})
    if clusters is None:
        return pairs, ["the hep-* subsets do not line up by problem; their standard errors are not clustered."]
    result = list(pairs)
    for subset, rows in present.items():
        for place, cluster in zip(rows, clusters[subset], strict=True):
            pair = pairs[place]
            result[place] = Example(pair.id, pair.prompt, pair.responses, subset, pair.stratum, cluster)
    return result, []


def _count_notes(pairs: list[Example]) -> list[str]:
    """Subsets that are there with another number of pairs than the benchmark has."""
    have = {subset: sum(p.subset == subset for p in pairs) for subset in COUNTS}
    odd = [f"{s} {n} of {COUNTS[s]}" for s, n in have.items() if n not in (0, COUNTS[s])]
    return [f"subsets with another number of pairs than published: {', '.join(odd)}."] if odd else []


TASK = RewardBench()
