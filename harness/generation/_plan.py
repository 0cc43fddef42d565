"""What will be sampled, settled before anything is loaded: questions, parameters, and the name they give a pool.

The name holds a hash of everything that decides the texts, except the engine: the same command finds its own pool
again (to finish or to use it), another temperature makes another pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import candidate as candidates
from harness import plugins
from harness.candidate import Candidate
from harness.errors import CandidateError, ConfigError
from harness.generation._prompt import PLAIN_TEMPLATE, as_json, conversation
from harness.generation._types import SampledTask, SampleRequest
from harness.scoring._describe import Description, describe
from results.records import content_key
from tasks._bestofn import Sampling
from tasks._limit import limit_examples
from tasks._types import LoadRequest, Message, Pool, Response, Source


@dataclass(frozen=True, slots=True)
class Plan:
    """`conversations` by example id, in the task's order; `settings` decide the texts and are recorded."""

    task: str
    plugin: SampledTask
    policy: Candidate
    found: Description
    sampling: Sampling
    seed: int
    template: str
    conversations: Mapping[str, Sequence[Message]]
    settings: Mapping[str, str]
    name: str


def sampled_task(name: str) -> SampledTask:
    """The Best-of-N task of this name. Raises ConfigError for a task that takes no pool."""
    plugin = plugins.load_task(name)
    if not isinstance(plugin, SampledTask):
        raise ConfigError(f"{name} is not a Best-of-N task that a policy can be sampled for")
    return plugin


def make_plan(task: str, request: SampleRequest, load: LoadRequest) -> Plan:
    """Settle everything but the engine. Raises UserError or TaskError, one sentence."""
    plugin = sampled_task(task)
    sampling = settle(plugin.sampling, request)
    policy = _policy(request.policy)
    found = describe(policy)
    _check_policy(found)
    problems = plugin.problems(load)
    shots = plugin.shots(load, request.few_shot) if request.few_shot else ()
    template = found.template or PLAIN_TEMPLATE
    asked = {p.id: conversation(sampling.system, shots, p.prompt) for p in problems}
    settings = {
        "policy_id": policy.id,
        "n": str(sampling.n),
        "temperature": repr(sampling.temperature),
        "top_p": repr(sampling.top_p),
        "max_tokens": str(sampling.max_tokens),
        "seed": str(request.seed),
        "system_prompt": sampling.system,
        "prefill": sampling.prefill,
        "few_shot": str(request.few_shot),
        "prompt_template": template,
        "questions": _hash(asked),
    }
    name = request.name or f"{Path(policy.name).name}-{content_key(settings)[:8]}"
    return Plan(task, plugin, policy, found, sampling, request.seed, template, asked, settings, name)


def limited(plan: Plan, request: SampleRequest, load: LoadRequest) -> Plan:
    """The plan for `request.limit` questions: those that `harness eval --limit` takes, seeded alike."""
    if request.limit is None or request.limit >= len(plan.conversations):
        return plan
    stub = (Response("", None, reason="not sampled yet"),)
    pool = Pool(plan.task, plan.name, dict.fromkeys(plan.conversations, stub), Source("", "", None, "", False))
    chosen = limit_examples(plan.plugin.load(replace(load, pool=pool)), request.limit, request.seed)
    asked = {example.id: plan.conversations[example.id] for example in chosen.examples}
    settings = {**plan.settings, "questions": _hash(asked), "limit": str(request.limit)}
    name = request.name or f"{plan.name}-limit{request.limit}"
    return replace(plan, conversations=asked, settings=settings, name=name)


def settle(defaults: Sampling, request: SampleRequest) -> Sampling:
    """The task's sampling with what the user changed. Raises ConfigError for values that mean nothing."""
    given = {
        "n": request.n,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "system": request.system_prompt,
    }
    chosen = replace(defaults, **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    chosen = replace(chosen, temperature=float(chosen.temperature), top_p=float(chosen.top_p))
    if chosen.n < 1:
        raise ConfigError(f"-n {chosen.n}: at least one sample a question is needed")
    if not 0 <= chosen.temperature < float("inf"):
        raise ConfigError(f"--temperature {chosen.temperature:g}: 0 or more is expected")
    if not 0 < chosen.top_p <= 1:
        raise ConfigError(f"--top-p {chosen.top_p:g}: more than 0 and at most 1 is expected")
    if chosen.max_tokens < 1:
        raise ConfigError(f"--max-tokens {chosen.max_tokens}: at least 1 is expected")
    if request.few_shot < 0:
        raise ConfigError(f"--few-shot {request.few_shot}: 0 or more is expected")
    if request.limit is not None and request.limit < 1:
        raise ConfigError(f"--limit {request.limit}: at least 1 is expected")
    if chosen.temperature == 0 and chosen.n > 1:
        raise ConfigError(f"--temperature 0 writes one text {chosen.n} times: give -n 1, or a temperature")
    return chosen


def question_seed(seed: int, example_id: str) -> int:
    """Seed of a question's first sample: 48 bits, from the run's seed and the question's id alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{example_id}".encode()).digest()[:6], "big")


def _hash(asked: Mapping[str, Sequence[Message]]) -> str:
    return content_key([[example_id, as_json(turns)] for example_id, turns in asked.items()])


def _policy(spec: str) -> Candidate:
    from harness.merging._checkpoint import locate

    return candidates.from_folder(locate(spec), Path(spec).resolve().name if Path(spec).is_dir() else spec)


def _check_policy(found: Description) -> None:
    kinds = found.architectures
    if not any(kind.endswith(("ForCausalLM", "ForConditionalGeneration")) for kind in kinds):
        raise CandidateError(
            f"{found.folder}: not a policy (config.json says {', '.join(kinds) or 'no architecture'}; expected a"
            " language model, one that ends with ForCausalLM)"
        )
