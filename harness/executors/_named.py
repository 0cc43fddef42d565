"""An executor by its name on the command line."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast

from harness import plugins
from harness.executors._types import Executor, ExecutorModule, ExecutorOptions


def open_named(name: str, options: ExecutorOptions) -> AbstractContextManager[Executor]:
    """Raises ConfigError for an unknown name, UserError where it cannot be opened."""
    plugins.check(plugins.EXECUTORS, [name])
    module = cast(ExecutorModule, plugins.load(plugins.EXECUTORS, name))
    return module.open_executor(options)
