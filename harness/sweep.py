"""A recipe as an evaluation: every lambda of its sweep, made in memory one after the other, and its baselines."""

from __future__ import annotations

from dataclasses import replace

from harness.candidate import Candidate, from_sweep, resolve
from harness.config import Recipe
from harness.errors import ConfigError
from harness.runner import EvalRequest


def sweep_request(recipe: Recipe, request: EvalRequest) -> EvalRequest:
    """The evaluation that a recipe describes; what `request` already says (the command line) goes first.

    Raises ConfigError when neither names a task.
    """
    tasks = list(request.tasks) or recipe.tasks
    if not tasks and not request.data.task_files:
        raise ConfigError("nothing to evaluate: give 'tasks' in the recipe, or --tasks")
    wanted, said = request.scoring, recipe.protocol
    scoring = replace(
        wanted,
        system_prompt=wanted.system_prompt if wanted.system_prompt is not None else said.system_prompt,
        chat_template=wanted.chat_template or said.chat_template,
        max_length=wanted.max_length or said.max_length,
        truncation_side=wanted.truncation_side or said.truncation_side,
    )
    data = replace(request.data, pools={**recipe.pools, **request.data.pools})
    return replace(request, models=sweep_candidates(recipe), tasks=tasks, scoring=scoring, data=data)


def sweep_candidates(recipe: Recipe) -> list[Candidate]:
    """Baselines first ("rm" is the recipe's reward model), then one merge in memory for every lambda."""
    baselines = [resolve(recipe.rm if name == "rm" else name) for name in recipe.baselines]
    return [*baselines, *from_sweep(recipe)]
