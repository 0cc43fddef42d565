"""Reading option values: comma lists and NAME=VALUE pairs, with one-sentence errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import ConfigError

EXECUTOR = Annotated[str, typer.Option("--executor", help="local, or ray: several GPUs or nodes (docs/cluster.md).")]
ADDRESS = Annotated[
    str | None, typer.Option("--address", help="HOST:PORT of a Ray cluster; default: RAY_ADDRESS, else this machine.")
]
WORKERS = Annotated[
    int | None, typer.Option("--workers", min=1, help="At most N Ray workers; default: one a GPU, or one a core.")
]
WAIT = Annotated[bool, typer.Option("--wait", help="Wait while another process has the database open.")]


def comma_list(values: Sequence[str]) -> list[str]:
    """["a, b", "c"] -> ["a", "b", "c"], each once, in order."""
    names = [name.strip() for value in values for name in value.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def pairs(option: str, values: Sequence[str]) -> dict[str, str]:
    """["a=b"] -> {"a": "b"}; raises ConfigError for anything else."""
    found: dict[str, str] = {}
    for value in values:
        name, mark, rest = value.partition("=")
        if not mark or not name.strip() or not rest:
            raise ConfigError(f"{option} {value}: expected NAME=VALUE")
        found[name.strip()] = rest
    return found


def task_options(values: Sequence[str], more: dict[str, dict[str, str]] | None = None) -> dict[str, dict[str, str]]:
    """["mbpp_bon.variant=full"] -> {"mbpp_bon": {"variant": "full"}}, on top of `more`; raises ConfigError."""
    found = {task: dict(options) for task, options in (more or {}).items()}
    for name, value in pairs("--task-option", values).items():
        task, dot, option = name.partition(".")
        if not dot or not task or not option:
            raise ConfigError(f"--task-option {name}={value}: expected TASK.NAME=VALUE, like mbpp_bon.variant=full")
        found.setdefault(task, {})[option] = value
    return found


def files(option: str, values: Sequence[str]) -> dict[str, Path]:
    """["task=FILE"] -> {"task": Path}; raises ConfigError when a file is not there."""
    found = {name: Path(rest) for name, rest in pairs(option, values).items()}
    for name, path in found.items():
        if not path.is_file():
            raise ConfigError(f"{option} {name}={path}: there is no such file")
    return found
