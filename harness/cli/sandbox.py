"""`harness sandbox`: check one program by hand, and prove that the sandbox holds on this machine."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import UserError

app = typer.Typer(help="Run untrusted programs: check one, or test the sandbox itself.", no_args_is_help=True)

_NOT_PASS, _SANDBOX_ERROR = 1, 3
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_Unsafe = Annotated[bool, typer.Option("--unsafe-exec", help="No sandbox: the program runs with your rights.")]


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the {what} cannot be read: {error}") from None


def _read_tests(path: Path) -> tuple[str, ...]:
    try:
        tests = json.loads(_read(path, "file of tests"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise UserError(f'{path}: tests are a list of assert strings, for example ["assert f(1) == 2"]')
    for number, test in enumerate(tests, 1):
        try:
            with warnings.catch_warnings(action="ignore"):
                compile(test, str(path), "exec")
        except (SyntaxError, ValueError) as error:
            raise UserError(f"{path}: test {number} is not valid Python: {error}") from None
    return tuple(tests)


def _report(found: dict[str, Any], line: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(found) if as_json else line)


@app.command()
def check(
    program: Annotated[Path, typer.Option(help="The program, a Python file.")],
    tests: Annotated[Path, typer.Option(help="JSON: a list of assert strings.")],
    setup: Annotated[Path | None, typer.Option(help="Code to run after the program and before the tests.")] = None,
    cpu: Annotated[float | None, typer.Option(help="CPU limit in seconds.")] = None,
    wall: Annotated[float | None, typer.Option(help="Wall limit in seconds.")] = None,
    memory: Annotated[int | None, typer.Option(help="Memory limit in MB.")] = None,
    unsafe_exec: _Unsafe = False,
    as_json: _Json = False,
) -> None:
    """Run a program's tests in the sandbox. Exit code 0: pass, 1: not a pass, 3: the sandbox failed."""
    from tasks import sandbox

    item = sandbox.Check(_read(program, "program"), _read_tests(tests), _read(setup, "setup file") if setup else "")
    chosen = {"cpu_s": cpu, "wall_s": wall, "memory_mb": memory}
    limits = sandbox.Limits(**{name: value for name, value in chosen.items() if value is not None})  # type: ignore[arg-type]
    try:
        (verdict,) = sandbox.check([item], limits=limits, workers=1, unsafe=unsafe_exec)
    except sandbox.SandboxError as error:
        _report({"status": "sandbox-error", "reason": str(error)}, f"sandbox-error: {error}", as_json=as_json)
        raise typer.Exit(_SANDBOX_ERROR) from None
    line = f"{verdict.status}: {verdict.reason} (tier {verdict.tier}, {verdict.cpu_s:.2f} s CPU)"
    _report(verdict.as_dict(), line, as_json=as_json)
    if verdict.status != "pass":
        raise typer.Exit(_SANDBOX_ERROR if verdict.status == "sandbox-error" else _NOT_PASS)


@app.command()
def selftest(
    tier: Annotated[str | None, typer.Option(help="Only this tier: A, B or C.")] = None,
    as_json: _Json = False,
) -> None:
    """Run the canaries and print the tier that holds here. Exit code 3: none does."""
    from tasks import sandbox

    try:
        found = sandbox.best_tier(tier)
        held = sandbox.prove(found)
    except sandbox.SandboxError as error:
        _report({"tier": None, "reason": str(error)}, f"no sandbox: {error}", as_json=as_json)
        raise typer.Exit(_SANDBOX_ERROR) from None
    told = {"tier": found.name, "summary": found.summary, "interpreter": found.interpreter, "canaries": held}
    line = f"tier {found.name}: {found.summary}; {len(held)} canaries held; programs run on {found.interpreter}"
    _report(told, line, as_json=as_json)
