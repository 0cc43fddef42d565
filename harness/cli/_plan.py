"""How `harness sweep --dry-run` shows a plan."""

from __future__ import annotations

import json
from datetime import timedelta

from harness._estimate import Plan, cost, make_plan
from harness.runner import EvalRequest


def show_plan(request: EvalRequest, price: float | None, tflops: float | None, as_json: bool) -> None:
    """Print what would run and what it would cost; `price` is for an hour of the machine."""
    plan = make_plan(request, tflops)
    if as_json:
        print(json.dumps({**plan.as_json(), "cost": cost(plan, price)}, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{len(plan.candidates)} candidates: {', '.join(plan.candidates)}", soft_wrap=True, markup=False)
    table = Table("task", "examples", "responses", "rewards", "stored", "tokens", "to compute", box=None)
    for task in plan.tasks:
        counts = (task.examples, task.responses, task.rewards, task.stored, task.tokens, task.computed)
        table.add_row(task.task, *("-" if task.problem else f"{n:,}" for n in counts))
    console.print(table)
    for task in plan.tasks:
        if task.problem:
            console.print(f"{task.task} cannot run: {task.problem}", soft_wrap=True, markup=False)
    console.print(_time(plan, price), soft_wrap=True, markup=False)


def _time(plan: Plan, price: float | None) -> str:
    how = "half of a matrix product's speed here" if plan.measured else "as --tflops says"
    text = f"about {timedelta(seconds=round(plan.seconds))} on one device at {plan.tflops:.3g} TFLOP/s ({how})"
    money = cost(plan, price)
    return text if money is None else f"{text}; {money:,.2f} at {price:g} an hour"
