"""Process reward models: a score for each step of a response, folded into one (the last, lowest, mean or product).

A response is split into steps at `separator` (two line breaks); `tag` is written after each and read there:

    token classifiers     one output: its logit; two: the probability of the second (Qwen2.5-Math-PRM's form)
    language models       the probability of `good` against `bad` as the next token (Math-Shepherd's form)

    --backend prm --backend-option tag='<extra_0>' --backend-option fold=min
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.candidate import Candidate
from harness.errors import CandidateError, ScoringError, did_you_mean
from harness.scoring._batching import Batch, Branch, Group
from harness.scoring._describe import Description
from harness.scoring._engine import Engine
from harness.scoring._options import backend_options
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

if TYPE_CHECKING:
    import torch

    from harness.scoring._forward import States
    from harness.scoring._model import LoadedModel

FOLDS = ("min", "last", "mean", "product")
DEFAULTS = {"separator": "\\n\\n", "tag": "<extra_0>", "fold": "min", "good": "+", "bad": "-"}


def tagged(text: str, separator: str, tag: str) -> str:
    """The response with `tag` after each of its steps; a response without text is one empty step."""
    steps = [step for step in text.split(separator) if step.strip()] or [text]
    return "".join(f"{step}{tag}" for step in steps)


class StepReader:
    """Scores at the tag tokens of a response."""

    def __init__(self, name: str, found: Description, given: Mapping[str, str]) -> None:
        language = any(kind.endswith("ForCausalLM") for kind in found.architectures)
        classifier = any(kind.endswith("ForTokenClassification") for kind in found.architectures)
        if not language and not classifier:
            kinds = ", ".join(found.architectures) or "no architecture"
            raise CandidateError(
                f"{found.folder}: not a process reward model (config.json says {kinds}; expected one that ends with"
                " ForTokenClassification or ForCausalLM)"
            )
        if classifier and found.labels not in (1, 2):
            raise CandidateError(f"{found.folder}: a process reward model has 1 or 2 outputs, this has {found.labels}")
        self.task = "CausalLM" if language else "TokenClassification"
        self._name, self._given = name, given

    def settings(self) -> Mapping[str, Any]:
        used = ("separator", "tag", "fold", *(("good", "bad") if self.task == "CausalLM" else ()))
        return {f"step_{name}": self._given[name] for name in used}

    def bind(self, loaded: LoadedModel) -> None:
        from harness.scoring._heads import apply_head, linear_head

        self._tag = _token(loaded.tokenizer, "tag", self._given["tag"])
        if self.task == "CausalLM":
            words = [_token(loaded.tokenizer, name, self._given[name]) for name in ("bad", "good")]
            self._head = apply_head(loaded.model.get_output_embeddings().weight[words].detach().float(), None)
        else:
            self._head = apply_head(*linear_head(loaded.model, self._name))

    def rows(self, group: Group, branch: Branch) -> Sequence[int]:
        """The tags of the response; a response whose tags were all cut away is read at its end."""
        start = len(group.prefix)
        tags = [start + int(i) for i in (branch.suffix == self._tag).nonzero()[0]]
        return tags or [start + len(branch.suffix) - 1]

    def values(self, states: States, batch: Batch) -> torch.Tensor:  # noqa: ARG002
        import torch

        logits = self._head(states.hidden)
        scores = logits[:, 0] if logits.shape[1] == 1 else torch.softmax(logits, -1)[:, 1]
        return torch.stack([fold(scores[torch.tensor(rows)], self._given["fold"]) for rows in states.where])


def fold(steps: torch.Tensor, how: str) -> torch.Tensor:
    """(steps,) -> one number."""
    if how == "mean":
        return steps.mean()
    if how == "product":
        return steps.prod()
    return steps.min() if how == "min" else steps[-1]


def _token(tokenizer: Any, option: str, text: str) -> int:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ScoringError(f"--backend-option {option}={text}: it is not one token of this model's vocabulary")
    return int(ids[0])


class PrmBackend:
    """Step scores, folded."""

    def __init__(self, candidate: Candidate, options: ScoringOptions) -> None:
        from harness.scoring._describe import describe

        given = backend_options("prm", options.extra, DEFAULTS)
        if given["fold"] not in FOLDS:
            raise ScoringError(f"--backend-option fold={given['fold']}: {did_you_mean(given['fold'], FOLDS)}")
        self._given = {**given, "separator": given["separator"].replace("\\n", "\n")}
        self._engine = Engine(candidate, options, StepReader(candidate.name, describe(candidate), self._given))

    def protocol(self) -> Mapping[str, Any]:
        return {"backend": "prm", **self._engine.settings()}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        separator, tag = self._given["separator"], self._given["tag"]
        return self._engine.score([replace(r, text=tagged(r.text, separator, tag)) for r in requests], done)


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:
    return PrmBackend(candidate, options)
