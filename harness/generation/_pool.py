"""Sampling a policy into a stored pool: streamed, labelled once, and taken up where it stopped.

Questions are the unit: one is stored when all its samples are there, so a killed run loses at most the last second,
and a resumed one samples only the questions that are missing. The pool can be used when every label is in.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from harness import plugins
from harness._datasets import pool_of, pool_record
from harness.errors import ConfigError, ScoringError
from harness.generation._plan import Plan, limited, make_plan, question_seed
from harness.generation._prompt import Prompter, load_tokenizer, stop_tokens
from harness.generation._types import Engine, EngineOptions, Job, SampleRequest
from harness.progress import progress, say
from harness.scoring._describe import choose_dtype
from harness.scoring._device import choose_device
from results.pools import PoolRecord, PoolRow, extend_pool, load_pool, pool_names
from results.store import Store
from tasks._types import LoadRequest, Pool, Source

COMMIT_SECONDS = 1.0
_WORDS = {"policy_id": "policy", "questions": "set of questions", "few_shot": "number of examples"}
_LABELS = 250  # questions labelled between two commits


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and with what the texts are made; recorded, and kept when a pool is finished later."""

    backend: str
    device: str
    dtype: str


def ensure_pool(store: Store, task: str, request: SampleRequest, load: LoadRequest) -> Pool:
    """The labelled pool that `request` describes: the stored one, finished or sampled first where it must be.

    Raises UserError, TaskError or StoreError, one sentence; what was sampled until then is stored.
    """
    plan = make_plan(task, request, load)
    if plan.name not in pool_names(store, task):
        plan = limited(plan, request, load)
    stored = load_pool(store, task, plan.name, complete=False)
    known = stored.settings if stored is not None else {}
    if stored is not None:
        _same(plan, stored)
    complete = plan.name in pool_names(store, task)
    if stored is not None and complete and all(row.correct is not None for row in stored.rows):
        _same_machine(request, known, plan.name)
        say(f"{task}: pool '{plan.name}' is complete, nothing is sampled")
        return pool_of(stored)
    machine = _machine(request, known, plan)
    _Sitting(store, plan, machine, load, stored).run()
    finished = load_pool(store, task, plan.name)
    assert finished is not None
    return pool_of(finished)


def _same(plan: Plan, stored: PoolRecord) -> None:
    """A name holds one content: a stored pool must have been sampled with these very settings."""
    if "policy_id" not in stored.settings:
        raise ConfigError(f"{plan.task} has an imported pool named '{plan.name}': choose another --name")
    for key, value in plan.settings.items():
        theirs = stored.settings.get(key, "")
        if theirs != value:
            short = f" ({theirs}, not {value})" if len(theirs + value) < 40 else ""
            what = _WORDS.get(key, key.replace("_", " "))
            raise ConfigError(
                f"pool '{plan.name}' of {plan.task} was sampled with another {what}{short}: choose another --name"
            )


def _same_machine(request: SampleRequest, known: Mapping[str, str], name: str) -> None:
    """What the user asked for by name must be what a stored pool was made with."""
    device = request.device.partition(":")[0] if request.device else None
    for option, value in (("backend", request.backend), ("device", device), ("dtype", request.dtype)):
        if value is not None and known.get(option, value) != value:
            raise ConfigError(
                f"pool '{name}' was sampled with --{option} {known[option]}, not {value}: choose another --name"
            )


def _machine(request: SampleRequest, known: Mapping[str, str], plan: Plan) -> Machine:
    """Asked for, else what the stored part was made with, else the best that is here."""
    _same_machine(request, known, plan.name)
    best = "vllm" if importlib.util.find_spec("vllm") is not None else "hf"
    backend = request.backend or known.get("backend", best)
    plugins.check(plugins.ENGINES, [backend])
    device = choose_device(request.device or known.get("device"))
    dtype = choose_dtype(request.dtype or known.get("dtype"), plan.found, device.partition(":")[0])
    return Machine(backend, device, dtype)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is needed to sample the missing questions."""

    engine: Engine
    jobs: Sequence[Job]
    prompter: Prompter


class _Sitting:
    """One call's work on one pool."""

    def __init__(
        self, store: Store, plan: Plan, machine: Machine, load: LoadRequest, stored: PoolRecord | None
    ) -> None:
        self._store, self._plan, self._machine, self._load = store, plan, machine, load
        self._known = dict(stored.settings) if stored is not None else {}
        self._rows: dict[str, list[PoolRow]] = {}
        for row in stored.rows if stored is not None else ():
            self._rows.setdefault(row.example_id, []).append(row)
        self._added: dict[str, str] = {}  # what labelling says about itself: sandbox tier, variant

    def run(self) -> None:
        missing = [key for key in self._plan.conversations if key not in self._rows]
        work = self._prepare(missing) if missing else None
        try:
            extend_pool(self._store, self._record(), self._batches(work))
        finally:
            if work is not None:
                work.engine.close()
        if self._added:
            done = load_pool(self._store, self._plan.task, self._plan.name)
            assert done is not None
            extend_pool(self._store, replace(done, settings={**done.settings, **self._added}), [])

    def _prepare(self, missing: Sequence[str]) -> _Work:
        plan, machine = self._plan, self._machine
        module = plugins.load(plugins.ENGINES, machine.backend)
        if plan.found.template is None:
            self._notify("the policy has no chat template: a plain 'Role: text' one is used and recorded")
        tokenizer = load_tokenizer(plan.found.folder)
        stop = stop_tokens(plan.found.folder, tokenizer)
        prompter = Prompter(tokenizer, plan.template, plan.sampling.prefill, stop, self._notify)
        jobs = self._jobs(missing, prompter)
        options = EngineOptions(
            policy=plan.policy,
            found=plan.found,
            device=machine.device,
            dtype=machine.dtype,
            temperature=plan.sampling.temperature,
            top_p=plan.sampling.top_p,
            stop=stop,
            notify=self._notify,
        )
        engine: Engine = module.open_engine(options)
        self._remember(engine)
        return _Work(engine, jobs, prompter)

    def _notify(self, sentence: str) -> None:
        say(f"{self._plan.task}: {sentence}")

    def _remember(self, engine: Engine) -> None:
        """Versions of every sitting: a pool finished by another release says so."""
        now = ", ".join(f"{name} {number}" for name, number in engine.versions().items())
        before = self._known.get("versions", "")
        if before and now not in before.split("; then "):
            self._notify(f"the first part of this pool was sampled with {before}, the rest is with {now}")
            now = f"{before}; then {now}"
        self._known["versions"] = now if now.startswith(before) else before

    def _jobs(self, missing: Sequence[str], prompter: Prompter) -> list[Job]:
        """Prompts as ids. Raises ScoringError where one leaves no room; says where responses have less than asked."""
        plan, room, jobs = self._plan, self._plan.found.positions, []
        wanted = plan.sampling.max_tokens
        for example_id in missing:
            text = prompter.render(plan.conversations[example_id])
            ids = prompter.encode(text)
            most = wanted if room is None else min(wanted, room - len(ids))
            if most < 1:
                raise ScoringError(
                    f"question {example_id} has {len(ids)} tokens, and the policy has {room} positions: give fewer"
                    " --few-shot examples or a shorter --system-prompt"
                )
            jobs.append(Job(example_id, ids, plan.sampling.n, question_seed(plan.seed, example_id), most))
            self._known.setdefault("first_prompt", text)
        tight = sum(job.max_tokens < wanted for job in jobs)
        if tight:
            self._notify(f"{tight} of {len(jobs)} prompts leave less than {wanted} of the policy's {room} positions")
        return jobs

    def _record(self) -> PoolRecord:
        """The whole pool as it will be; questions to come hold their place."""
        plan = self._plan
        rows = [
            row
            for key in plan.conversations
            for row in self._rows.get(key) or [self._row(key, i, "") for i in range(plan.sampling.n)]
        ]
        about = {"format": "sampled", "policy": plan.policy.name, **plan.settings, **asdict(self._machine)}
        about["device"] = self._machine.device.partition(":")[0]
        source = Source(f"pool {plan.name}", f"policy {plan.policy.name}", None, plan.policy.id, False)
        return PoolRecord(plan.task, plan.name, rows, asdict(source), {**self._known, **about})

    def _row(self, example_id: str, position: int, text: str) -> PoolRow:
        return PoolRow(example_id, position, text, self._plan.policy.name, None, None, "")

    def _batches(self, work: _Work | None) -> Iterator[Sequence[PoolRow]]:
        if work is not None:
            yield from self._sampled(work)
        yield from self._labelled()

    def _sampled(self, work: _Work) -> Iterator[Sequence[PoolRow]]:
        """Finished questions, a second's worth a batch."""
        plan = self._plan
        prompts = {job.example_id: job.prompt for job in work.jobs}
        batch: list[PoolRow] = []
        since = time.monotonic()
        with progress(f"{plan.policy.name} · {plan.task}", len(plan.conversations) * plan.sampling.n) as advance:
            advance((len(plan.conversations) - len(work.jobs)) * plan.sampling.n)
            for found in work.engine.generate(work.jobs):
                texts = work.prompter.responses(prompts[found.example_id], found.samples)
                rows = [self._row(found.example_id, i, text) for i, text in enumerate(texts)]
                self._rows[found.example_id] = rows
                batch += rows
                advance(len(rows))
                if time.monotonic() - since >= COMMIT_SECONDS:
                    yield batch
                    batch, since = [], time.monotonic()
            if batch:
                yield batch

    def _labelled(self) -> Iterator[Sequence[PoolRow]]:
        """Label what has no label yet, in the task's order."""
        left = [key for key in self._plan.conversations if any(r.correct is None for r in self._rows[key])]
        with progress(f"labels · {self._plan.task}", len(left), unit="questions") as advance:
            for start in range(0, len(left), _LABELS):
                keys = left[start : start + _LABELS]
                part = replace(self._record(), rows=[row for key in keys for row in self._rows[key]])
                labelled = self._plan.plugin.label(pool_of(part), self._load)
                self._added |= {k: v for k, v in labelled.settings.items() if part.settings.get(k) != v}
                yield pool_record(labelled).rows
                advance(len(keys))
