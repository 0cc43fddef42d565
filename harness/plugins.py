"""Finding tasks, methods and backends: one file each, plus entry points of other packages. Nothing is imported
until it is chosen, so that `harness ls` and `--help` stay instant."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from types import ModuleType
from typing import cast

from harness.errors import ConfigError, UserError, did_you_mean
from tasks._types import Task


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of plugin: the package whose files are the built-in ones, and the entry-point group for others."""

    word: str
    package: str

    @property
    def group(self) -> str:
        return f"merged_rm_harness.{self.word}s"


TASKS = Kind("task", "tasks")
METHODS = Kind("method", "harness.merging")
BACKENDS = Kind("backend", "harness.scoring")
ENGINES = Kind("engine", "harness.generation")
EXECUTORS = Kind("executor", "harness.executors")


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the package {package} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def _installed(group: str) -> EntryPoints:
    return entry_points(group=group)  # reads a file of every installed package


def known(kind: Kind) -> dict[str, str]:
    """Name -> module of every plugin: files of the package without a leading underscore, then entry points."""
    found = {
        module.name: f"{kind.package}.{module.name}"
        for module in pkgutil.iter_modules([str(_folder(kind.package))])
        if not module.name.startswith("_") and not module.ispkg
    }
    for point in _installed(kind.group):
        found.setdefault(point.name, point.value)
    return found


def check(kind: Kind, names: Iterable[str]) -> None:
    """Raise ConfigError for the first unknown name, with the known ones."""
    available = known(kind)
    for name in names:
        if name not in available:
            raise ConfigError(f"unknown {kind.word} '{name}': {did_you_mean(name, available)}")


def load(kind: Kind, name: str) -> ModuleType:
    """Import a plugin by name. Raises UserError when a package that it needs is missing."""
    check(kind, [name])
    try:
        return importlib.import_module(known(kind)[name])
    except ModuleNotFoundError as error:
        raise UserError(f"the {kind.word} '{name}' needs the package '{error.name}', which is not installed") from None


def load_task(name: str) -> Task:
    """The TASK object of a task file."""
    return cast(Task, load(TASKS, name).TASK)


def summary(kind: Kind, name: str) -> str:
    """First sentence of a built-in plugin's docstring, read without importing it; "" for outside packages."""
    path = _folder(kind.package) / f"{name}.py"
    if not path.is_file():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].replace("\n", " ").strip()
