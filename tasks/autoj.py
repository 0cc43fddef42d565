"""Auto-J Eval, pairwise (arXiv:2310.05470; GAIR-NLP/auto-j, testdata_pairwise.jsonl): 1,392 rows, 58 scenarios.

`score` and `category/*` follow DogeRM (ties dropped, 1,019 pairs left); `group/*` follow Auto-J's own protocol
(8 groups, ties kept, agreement with the label). An example's subset is its scenario, its stratum the group.
"""

from __future__ import annotations

from tasks._data import Published, Url, load
from tasks._schema import Row, choose_options
from tasks._types import Example, LoadRequest, Message, Metric, Response, TaskData

# group -> scenarios (Auto-J, codes/leaderboard/utils_constants.py)
GROUPS: dict[str, tuple[str, ...]] = {
    "Summarization": ("post_summarization", "text_summarization", "note_summarization"),
    "Exam Questions": (
        "math_reasoning",
        "solving_exam_question_with_math",
        "solving_exam_question_without_math",
    ),
    "Code": (
        "code_simplification",
        "code_generation",
        "explaining_code",
        "code_correction_rewriting",
        "code_to_code_translation",
    ),
    "Rewriting": (
        "text_simplification",
        "language_polishing",
        "instructional_rewriting",
        "text_correction",
        "paraphrasing",
    ),
    "Creative Writing": (
        "writing_song_lyrics",
        "writing_social_media_post",
        "writing_blog_post",
        "writing_personal_essay",
        "creative_writing",
        "writing_advertisement",
        "writing_marketing_materials",
        "writing_presentation_script",
        "counterfactual",
    ),
    "Functional Writing": (
        "writing_product_description",
        "writing_job_application",
        "writing_news_article",
        "writing_biography",
        "writing_email",
        "writing_legal_document",
        "writing_technical_document",
        "writing_scientific_paper",
        "functional_writing",
        "writing_cooking_recipe",
    ),
    "General Communication": (
        "asking_how_to_question",
        "open_question",
        "analyzing_general",
        "explaining_general",
        "seeking_advice",
        "recommendation",
        "value_judgement",
        "verifying_fact",
        "chitchat",
        "roleplay",
        "planning",
        "brainstorming",
    ),
    "NLP Tasks": (
        "ranking",
        "text_to_text_translation",
        "data_analysis",
        "classification_identification",
        "title_generation",
        "question_generation",
        "reading_comprehension",
        "keywords_extraction",
        "information_extraction",
        "topic_modeling",
        "others",
    ),
}
SCENARIOS = tuple(scenario for scenarios in GROUPS.values() for scenario in scenarios)
MATH = ("math_reasoning", "solving_exam_question_with_math")  # DogeRM's categories
CODE = GROUPS["Code"]
TIE = 2
ROWS = 1392

REVISION = "2ae17a3965d933232e9cd50302aa0f176249c83b"
DATA = Published(
    name="Auto-J pairwise test set",
    task="autoj",
    paths=("autoj/testdata_pairwise.jsonl",),
    sha256={"56f32fad71d9b6b33bc4d51794c324981e26355bcbf3ce4908d7f8ddcc61f80e": REVISION},
    remote=Url("GAIR-NLP/auto-j", REVISION, "data/test/testdata_pairwise.jsonl"),
)


def metrics() -> tuple[Metric, ...]:
    """DogeRM's three categories and score (untied pairs), Auto-J's eight groups (ties kept)."""
    categories = {"Math": MATH, "Code": CODE, "Others": tuple(s for s in SCENARIOS if s not in MATH + CODE)}
    return (
        *(Metric(f"category/{name}", _parts(scenarios)) for name, scenarios in categories.items()),
        *(Metric(f"group/{name}", _parts(scenarios), "agreement") for name, scenarios in GROUPS.items()),
        Metric("score", _parts(SCENARIOS)),
    )


def _parts(scenarios: tuple[str, ...]) -> tuple[tuple[str, float | None], ...]:
    return tuple((f"subset/{scenario}", None) for scenario in scenarios)


class AutoJ:
    """The task; no options."""

    title = "Auto-J Eval"
    summary = "1,392 preference pairs over 58 scenarios, ties included"

    def load(self, request: LoadRequest) -> TaskData:
        """All rows in file order; the id is the 0-based row. A tie has both responses correct."""
        options = choose_options("autoj", request.options, {})
        loaded = load(DATA, request, request.file)
        group_of = {scenario: group for group, scenarios in GROUPS.items() for scenario in scenarios}
        examples = tuple(_example(str(i), row, group_of) for i, row in enumerate(loaded.rows))
        present = {example.subset for example in examples}
        odd = [f"the file has {len(examples):,} rows, Auto-J Eval has {ROWS:,}."] if len(examples) != ROWS else []
        return TaskData(
            task="autoj",
            outcome="accuracy",
            examples=examples,
            metrics=metrics(),
            sources=(loaded.source,),
            options=options,
            missing=tuple(scenario for scenario in SCENARIOS if scenario not in present),
            notes=(*loaded.notes, *odd),
        )


def _example(example_id: str, row: Row, group_of: dict[str, str]) -> Example:
    scenario, label = row.text("scenario"), row.whole("label")
    if scenario not in group_of:
        raise row.error("scenario", "one of Auto-J's 58 scenarios", scenario)
    if label not in (0, 1, TIE):
        raise row.error("label", "0 (response 1), 1 (response 2) or 2 (tie)", label)
    prompt = (Message("user", row.text("prompt")),)
    pair = tuple(Response(row.text(f"response {i + 1}"), label in (i, TIE)) for i in range(2))
    return Example(example_id, prompt, pair, scenario, group_of[scenario])


TASK = AutoJ()
