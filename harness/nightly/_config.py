"""The nightly configuration: one YAML file, strict; errors name the file and the key.

    models: {production: models/prod}        # role: a folder, a recipe of one merge, a hub id or baseline:RULE
    recipes: {maths: maths.yaml}             # role: a recipe file; every merge of it plays a role of its own
    tasks: [rewardbench, gsm8k_bon]
    gate: {baseline: previous, margin: 0.5, alpha: 0.05}
    retention: {nights: 14}
    releases: {v1.0: 2026-11-01}             # nights that are never pruned, and that a gate may be held against

Relative paths are taken from the file's own folder.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.config import read_yaml
from harness.errors import ConfigError, did_you_mean

PREVIOUS, LAST_GOOD = "previous", "last-good"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gate(_Strict):
    """What a night is held against. `baseline`: previous, last-good, a release, a role, or a stored candidate.

    `previous` tells of a regression once, on the night it came; `last-good` (the last night on which the role had no
    regression on the task) every night until it is put right.
    """

    baseline: str = PREVIOUS
    margin: float = Field(default=0.5, ge=0, lt=100)  # percentage points
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    metric: str = "score"
    strict: bool = False


class Retention(_Strict):
    """Per-example rows are kept for this many nights, the newest; releases come on top."""

    nights: int = Field(default=14, ge=1)


class Scoring(_Strict):
    """How rewards are computed, for all roles; a recipe's own protocol settings fill what is not set here.

    `executor`, `address` and `workers` say where, as on the command line; they change no reward.
    """

    backend: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_tokens: int | None = Field(default=None, ge=1)
    system_prompt: str | None = None
    chat_template: str | None = None
    max_length: int | None = Field(default=None, ge=1)
    truncation_side: str | None = Field(default=None, pattern="^(left|right)$")
    executor: str = "local"
    address: str | None = None
    workers: int | None = Field(default=None, ge=1)


class NightlyConfig(_Strict):
    """One file describes all nights."""

    models: dict[str, str] = Field(default_factory=dict)
    recipes: dict[str, str] = Field(default_factory=dict)
    tasks: list[str] = Field(default_factory=list)
    task_files: dict[str, Path] = Field(default_factory=dict)
    data: dict[str, Path] = Field(default_factory=dict)
    data_dir: Path | None = None
    task_options: dict[str, dict[str, str]] = Field(default_factory=dict)
    pools: dict[str, str] = Field(default_factory=dict)
    scoring: Scoring = Scoring()
    seed: int = 0
    gate: Gate = Gate()
    db: Path = Path("nightly.duckdb")
    history: Path = Path("history")
    site: Path = Path("site")
    retention: Retention = Retention()
    releases: dict[str, str] = Field(default_factory=dict)

    @field_validator("releases", mode="before")
    @classmethod
    def _dates(cls, value: Any) -> Any:
        """YAML reads 2026-11-01 as a date; names map to ISO dates."""
        if not isinstance(value, dict):
            return value
        return {name: iso_date(str(night)) for name, night in value.items()}

    @model_validator(mode="after")
    def _something(self) -> NightlyConfig:
        if not self.models and not self.recipes:
            raise ValueError("nothing to evaluate: give 'models' or 'recipes'")
        if self.models and not self.tasks and not self.task_files:
            raise ValueError("nothing to evaluate on: give 'tasks' or 'task_files'")
        twice = sorted(self.models.keys() & self.recipes.keys())
        if twice:
            raise ValueError(f"'{twice[0]}' is the name of a model and of a recipe: roles need names of their own")
        taken = {PREVIOUS, LAST_GOOD} & self.releases.keys()
        if taken:
            raise ValueError(f"releases: '{taken.pop()}' means an earlier night, a release needs another name")
        return self


def iso_date(text: str) -> str:
    """`text` itself. Raises ValueError where it is no date like 2026-11-22."""
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ValueError(f"'{text}' is not a date like 2026-11-22")


def read_nightly(path: Path) -> NightlyConfig:
    """Read a nightly configuration. Raises ConfigError: file, key, what is wrong, known names."""
    raw = read_yaml(path, "file", "a nightly configuration is a mapping with 'models' or 'recipes' and 'tasks'")
    try:
        return _located(NightlyConfig.model_validate(raw), path.parent)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        model: Any = NightlyConfig
        for part in first["loc"][:-1]:
            model = model.model_fields[str(part)].annotation
        return f"unknown key '{where}': {did_you_mean(str(first['loc'][-1]), model.model_fields)}"
    text = first["msg"].removeprefix("Value error, ")
    return f"{where + ': ' if where else ''}{text[0].lower() + text[1:]}"


def _located(config: NightlyConfig, folder: Path) -> NightlyConfig:
    """The same configuration with its paths seen from the working folder."""

    def model(spec: str) -> str:
        return str(folder / spec) if (folder / spec).exists() else spec

    changed = {
        "models": {role: model(spec) for role, spec in config.models.items()},
        "recipes": {role: model(spec) for role, spec in config.recipes.items()},
        "task_files": {name: folder / path for name, path in config.task_files.items()},
        "data": {name: folder / path for name, path in config.data.items()},
        "data_dir": None if config.data_dir is None else folder / config.data_dir,
        "db": folder / config.db,
        "history": folder / config.history,
        "site": folder / config.site,
    }
    return config.model_copy(update=changed)
