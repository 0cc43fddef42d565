"""What an evaluation would cost before it runs: candidates, examples, tokens, time. Nothing is scored or written.

Tokens are those of the candidate's own tokenizer and template, each prompt once for all its responses. The time is
arithmetic: 2 x (parameters without embeddings) operations for a token (Kaplan et al. 2020, arXiv 2001.08361, section
2.1: attention over the context comes on top), at the speed given or at half of what a matrix product reaches here.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.candidate import Candidate
from harness.executors._backend import OpenBackend
from harness.executors._types import Work
from harness.loading import load_data
from harness.runner import EvalRequest
from results import queries
from results.records import ProtocolRecord
from results.store import Store, open_store
from tasks._types import TaskError

UTILISATION = 0.5  # of the measured matrix product: what the scoring engine is built to reach


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task over all candidates. Tokens are counted for the rewards that are not stored yet."""

    task: str
    examples: int = 0
    responses: int = 0  # of one candidate
    candidates: int = 0
    rewards: int = 0  # of all candidates
    stored: int = 0  # of them, already in the database
    tokens: int = 0  # as if every response were scored alone
    computed: int = 0  # each prompt once for its responses
    operations: float = 0.0
    problem: str = ""  # why the task cannot run


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` on one device; `tflops` is the speed reckoned with, `measured` whether it was measured here."""

    candidates: Sequence[str]
    tasks: Sequence[TaskPlan]
    tflops: float
    measured: bool

    @property
    def seconds(self) -> float:
        return sum(task.operations for task in self.tasks) / (self.tflops * 1e12)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": self.seconds}


def make_plan(request: EvalRequest, tflops: float | None) -> Plan:
    """The plan of an evaluation whose models are candidates. Raises the same mistakes of the user as the run would."""
    models = [one for one in request.models if isinstance(one, Candidate)]
    names = list(dict.fromkeys([*request.tasks, *request.data.task_files]))
    with _copy(request.db) as store:
        tasks = [_task(name, models, request, store) for name in names]
    speed = tflops or UTILISATION * _matrix_speed(request.scoring.device) / 1e12
    return Plan([one.name for one in models], tasks, speed, tflops is None)


@contextmanager
def _copy(db: Path) -> Iterator[Store]:
    """A throw-away copy of the database: looking needs the same calls as running, and must leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="harness-plan-") as folder:
        copy = Path(folder) / "plan.duckdb"
        if db.exists():
            with open_store(db, read_only=True):  # nobody writes while it is copied
                shutil.copyfile(db, copy)
        with open_store(copy) as store:
            yield store


def _task(name: str, models: Sequence[Candidate], request: EvalRequest, store: Store) -> TaskPlan:
    loaded = load_data(name, replace(request.data, policy=None), store)
    if isinstance(loaded, TaskError):
        return TaskPlan(name, problem=str(loaded))
    work = Work(loaded)
    plan = TaskPlan(name, len(work.data.examples), candidates=len(models))
    data = store.add_dataset(work.data)
    opened = OpenBackend(request.backend, request.scoring)
    counted: dict[Path | None, tuple[int, int, int]] = {}  # tokenizer's folder -> tokens, computed, parameters
    for one in models:
        protocol = store.add_protocol(ProtocolRecord(opened.of(one).protocol()))
        stored, total = queries.progress(store, store.add_candidate(one.record()), protocol, data)
        where = one.folder or (Path(one.recipe.rm) if one.recipe else None)
        if where not in counted:
            counted[where] = _tokens(one, request, work)
        tokens, computed, parameters = counted[where]
        share = 1 - stored / max(1, total)
        plan = replace(
            plan,
            responses=total,
            rewards=plan.rewards + total,
            stored=plan.stored + stored,
            tokens=plan.tokens + round(share * tokens),
            computed=plan.computed + round(share * computed),
            operations=plan.operations + 2.0 * parameters * share * computed,
        )
    return plan


def _tokens(one: Candidate, request: EvalRequest, work: Work) -> tuple[int, int, int]:
    """(tokens, tokens computed, parameters without embeddings) of one candidate; zeros where there is no model."""
    if one.folder is None and one.recipe is None:
        return 0, 0, 0
    from transformers import AutoTokenizer

    from harness.scoring._batching import groups
    from harness.scoring._describe import describe
    from harness.scoring._template import Encoder, text_settings

    found = describe(one)
    tokenizer = AutoTokenizer.from_pretrained(found.folder, trust_remote_code=request.scoring.trust_remote_code)
    encoder = Encoder(tokenizer, text_settings(found, request.scoring))
    tokens = computed = 0
    for window in work.windows():
        encoded = encoder.encode(window)
        tokens += sum(len(e.ids) for e in encoded)
        computed += sum(group.tokens for group in groups(encoded))
    return tokens, computed, _parameters(found.folder)


def _parameters(folder: Path) -> int:
    """From the headers of the weights alone."""
    from harness.merging._checkpoint import read_tensors

    return sum(ref.numel for ref in read_tensors(folder).values() if "embed_tokens" not in ref.name)


def _matrix_speed(device: str | None) -> float:
    """Operations per second of the best of five matrix products, in the dtype that scoring would take."""
    import torch

    from harness.scoring._device import choose_device

    place = torch.device(choose_device(device))
    size, dtype = (1024, torch.float32) if place.type == "cpu" else (8192, torch.bfloat16)
    a = torch.randn(size, size, device=place).to(dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # reading a value waits for the device
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def cost(plan: Plan, price: float | None) -> float | None:
    """Of the whole plan, in the currency of `price` (for an hour of the machine)."""
    return None if price is None else plan.seconds / 3600 * price
