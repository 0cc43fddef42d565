"""The `harness` command: registers the command groups and turns every error into one line and an exit code.

0 ok · 1 regression found · 2 usage or bad input · 3 a run failed or stopped before its end ·
4 inconclusive (with --strict) · 130 interrupted
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from harness.cli import (
    compare,
    db,
    demo,
    doctor,
    evaluate,
    export,
    leaderboard,
    ls,
    merge,
    nightly,
    pool,
    sandbox,
    scores,
    sweep,
)

app = typer.Typer(
    name="harness",
    help="Merge reward models with domain experts, score the merges, and see which differences are real.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("merge")(merge.merge)
app.command("eval")(evaluate.evaluate)
app.command("sweep")(sweep.sweep)
app.command("compare")(compare.compare)
app.command("nightly")(nightly.nightly)
app.command("demo")(demo.demo)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.add_typer(ls.app, name="ls")
app.add_typer(pool.app, name="pool")
app.add_typer(db.app, name="db")
app.add_typer(scores.app, name="scores")
app.add_typer(leaderboard.app, name="leaderboard")
app.add_typer(sandbox.app, name="sandbox")

_STOPPED = "interrupted: what was finished is kept, the same command resumes"
_LISTS = ("--tasks", "-t")


def join_lists(arguments: Sequence[str]) -> list[str]:
    """`--tasks a, b` typed without quotes is one list: glue what follows a trailing comma to it."""
    joined: list[str] = []
    inside = False
    for argument in arguments:
        if inside and joined[-1].endswith(",") and not argument.startswith("-"):
            joined[-1] += argument
            continue
        joined.append(argument)
        inside = argument.startswith("--tasks=") or (len(joined) > 1 and joined[-2] in _LISTS)
    return joined


_signals: list[int] = []  # what was received: libraries wrap the interrupt in errors of their own


def _interrupt(signum: int, _frame: FrameType | None) -> None:
    """SIGTERM stops like Ctrl-C: what is finished is stored, what is half-written is removed."""
    _signals.append(signum)
    raise KeyboardInterrupt


def _user_errors() -> tuple[type[Exception], ...]:
    from harness.errors import UserError
    from leaderboard._errors import LeaderboardError
    from results.records import StoreError
    from tasks._types import TaskError

    return UserError, TaskError, StoreError, LeaderboardError


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exits with the codes above; never shows a traceback for a user's mistake."""
    try:  # from the first moment on: an interrupt may come between any two lines
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)
        code = _run(sys.argv[1:] if arguments is None else arguments)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail(_STOPPED, 130)
    for number in (signal.SIGTERM, signal.SIGINT):  # what is left is Python's own end, which can be cut short
        signal.signal(number, signal.SIG_DFL)
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin halve the speed where cores are shared
    try:
        code = int(app(join_lists(arguments), standalone_mode=False) or 0)
        if code == 130 and _signals:  # typer has caught the interrupt, and says nothing
            return _fail(_STOPPED, 130)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        raise
    except Exception as error:  # noqa: BLE001  what nobody foresaw is raised again
        return _fail(_STOPPED, 130) if _signals else _explained(error)
    return code


def _explained(error: Exception) -> int:
    """Exit code of a failure, told in one line; what nobody foresaw is raised again, with its traceback."""
    from harness.errors import RunFailed

    if isinstance(error, RunFailed):
        return _fail(str(error), 3)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if isinstance(error, _user_errors()):
        return _fail(str(error), 2)
    show = getattr(error, "format_message", None)  # typer's own usage errors
    if show is None:
        raise error
    return _fail(f"{show()} (--help shows the options)", 2)


def _fail(sentence: str, code: int) -> int:
    print(f"harness: {sentence}", file=sys.stderr)
    return code
