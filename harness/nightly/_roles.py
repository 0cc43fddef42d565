"""Who plays which role tonight. A role is a name that outlives models: from night to night its player may change.

A model's role is its name in the configuration; a recipe has a role for each merge, told apart by lambda where that
is enough: `maths λ=0.35`, otherwise by the merge's own name; its baselines are `maths: rm`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness._grid import read_sweep
from harness.candidate import Candidate, resolve
from harness.errors import ConfigError
from harness.loading import DataRequest
from harness.nightly._config import NightlyConfig
from harness.runner import EvalRequest
from harness.scoring._types import ScoringOptions
from harness.sweep import sweep_request
from results.records import content_key


@dataclass(frozen=True, slots=True)
class Tonight:
    """The evaluations of a night, and who plays which role in them: (role, candidate)."""

    requests: list[EvalRequest]
    cast: list[tuple[str, Candidate]]


def plan(config: NightlyConfig, options: ScoringOptions) -> Tonight:
    """Identify every candidate (their weights are hashed) and say what is to be evaluated. Raises UserErrors."""
    models = [(role, resolve(spec, name=_name(role, spec))) for role, spec in config.models.items()]
    base = _request(config, options)
    tonight = Tonight([replace(base, models=[c for _, c in models])] if models else [], list(models))
    for role, spec in config.recipes.items():
        request = sweep_request(read_sweep(spec).recipes, base)
        tonight.requests.append(request)
        tonight.cast.extend(_roles(role, [c for c in request.models if isinstance(c, Candidate)]))
    seen = Counter(role for role, _ in tonight.cast)
    if max(seen.values()) > 1:
        role = seen.most_common(1)[0][0]
        raise ConfigError(f"two candidates would play the role '{role}': give the recipes or models other names")
    return tonight


def _name(role: str, spec: str) -> str | None:
    """A folder or recipe is stored under its role's name, so that pages speak of roles; rules keep theirs."""
    return None if spec.startswith("baseline:") else role


def _request(config: NightlyConfig, options: ScoringOptions) -> EvalRequest:
    data = DataRequest(
        data_dir=config.data_dir,
        data=config.data,
        task_files=config.task_files,
        options=config.task_options,
        pools=config.pools,
        seed=config.seed,
    )
    said = config.scoring
    return EvalRequest(
        [],
        config.tasks,
        config.db,
        said.backend,
        options,
        data,
        wait=True,
        executor=said.executor,
        address=said.address,
        workers=said.workers,
    )


def _roles(role: str, candidates: list[Candidate]) -> Iterator[tuple[str, Candidate]]:
    weights = Counter(c.detail.get("lambda") for c in candidates if c.kind == "merge")
    for one in candidates:
        if one.kind == "merge" and weights[one.detail.get("lambda")] == 1:
            yield f"{role} λ={one.detail.get('lambda'):g}", one
        else:
            yield f"{role}: {one.name}", one


def night_key(config: NightlyConfig, tonight: Tonight) -> str:
    """Equal for equal nights: candidates by content, data files by their bytes, and what the gate asks."""
    files = {**config.task_files, **config.data}
    return content_key(
        {
            "roles": {role: one.id for role, one in tonight.cast},
            "tasks": [list(request.tasks) for request in tonight.requests],
            "files": {name: _digest(path) for name, path in files.items()},
            "options": config.task_options,
            "pools": config.pools,
            "scoring": config.scoring.model_dump(exclude={"executor", "address", "workers", "batch_tokens"}),
            "seed": config.seed,
            "gate": config.gate.model_dump(),
        }
    )


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
