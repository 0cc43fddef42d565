"""Recipes as an evaluation: every lambda of every recipe, made in memory one after the other, and the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.candidate import Candidate, from_sweep, resolve
from harness.config import Recipe
from harness.errors import ConfigError
from harness.runner import EvalRequest


def sweep_request(recipes: Sequence[Recipe], request: EvalRequest) -> EvalRequest:
    """The evaluation that the recipes of one file describe; what `request` already says (the command line) goes first.

    Raises ConfigError when neither names a task.
    """
    first = recipes[0]  # tasks, pools, protocol and baselines are the same in all
    tasks = list(request.tasks) or first.tasks
    if not tasks and not request.data.task_files:
        raise ConfigError("nothing to evaluate: give 'tasks' in the recipe, or --tasks")
    wanted, said = request.scoring, first.protocol
    scoring = replace(
        wanted,
        system_prompt=wanted.system_prompt if wanted.system_prompt is not None else said.system_prompt,
        chat_template=wanted.chat_template or said.chat_template,
        max_length=wanted.max_length or said.max_length,
        truncation_side=wanted.truncation_side or said.truncation_side,
    )
    options = {
        task: {**first.task_options.get(task, {}), **request.data.options.get(task, {})}
        for task in {**first.task_options, **request.data.options}
    }
    data = replace(request.data, pools={**first.pools, **request.data.pools}, options=options)
    return replace(request, models=sweep_candidates(recipes), tasks=tasks, scoring=scoring, data=data)


def sweep_candidates(recipes: Sequence[Recipe]) -> list[Candidate]:
    """Baselines first ("rm" is each recipe's reward model), then one merge in memory for every lambda; each once."""
    return list({one.id: one for one in _candidates(recipes)}.values())


def _candidates(recipes: Sequence[Recipe]) -> Iterator[Candidate]:
    for recipe in recipes:
        yield from (resolve(recipe.rm if name == "rm" else name) for name in recipe.baselines)
    for recipe in recipes:
        yield from from_sweep(recipe)
