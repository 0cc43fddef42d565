"""Plan a merge: from headers, configurations and tokenizers alone, so every error comes before any work.

recipe -> parents -> method and options -> paired tensors and rows -> MergePlan, which the writer (folder) and the
live model (memory) execute with the same kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness._hashing import light_identity
from harness.config import Recipe
from harness.errors import CandidateError, MergeError, did_you_mean
from harness.merging._checkpoint import FLOATS, ITEM_SIZE, Checkpoint, Reading, TensorRef, open_checkpoint
from harness.merging._compatible import check_kind, check_meaning
from harness.merging._methods import Method, Option, get_method
from harness.merging._names import Names, check_head, classify
from harness.merging._vocabulary import Alignment, Vocabulary, align, align_by_id, check_merges, extend, read_vocabulary
from harness.merging._weights import Weights

ENGINE_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "merges": ("rm",), "tokens": ("by_id",), "config": ("rm",), "pickle": ("allow",), "adapters": ("merge",),
}  # fmt: skip
_DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


@dataclass(frozen=True)
class Parent:
    """One model of a merge: its folder, its tensors by role, its tokens."""

    checkpoint: Checkpoint
    names: Names
    vocabulary: Vocabulary | None

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def rows(self) -> int:
        return self.embedding.shape[0]

    @property
    def embedding(self) -> TensorRef:
        return self.checkpoint.tensors[self.names.body[self.names.embedding]]

    def tensor(self, canonical: str) -> TensorRef:
        return self.checkpoint.tensors[self.names.body[canonical]]

    def output_embedding(self) -> TensorRef:
        """The lm_head, which is the token embedding itself where the two are tied."""
        return self.embedding if self.names.lm_head is None else self.checkpoint.tensors[self.names.lm_head]


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the output. `kind`: keep (the RM's bytes), body (element by element), rows (by token)."""

    name: str  # the RM's own spelling
    canonical: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    rm: TensorRef
    experts: tuple[TensorRef, ...] = ()
    base: TensorRef | None = None

    @property
    def nbytes(self) -> int:
        size = ITEM_SIZE[self.dtype]
        for n in self.shape:
            size *= n
        return size


@dataclass(frozen=True)
class MergePlan:
    """Everything a merge does, before it is done."""

    recipe: Recipe
    method: Method
    options: Mapping[str, Option]  # the method's, defaults filled in
    rm: Parent
    experts: tuple[Parent, ...]
    base: Parent | None
    alignment: Alignment
    tensors: tuple[TensorPlan, ...]
    weights: Weights
    tokenizer: Mapping[str, Any] | None  # the output's tokenizer.json where it differs from the RM's
    notes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def complete(self) -> bool:
        """Are the parents' weights here, not only their headers?"""
        return all(path.exists() for parent in self.parents.values() for path in parent.checkpoint.files)

    @property
    def parents(self) -> dict[str, Parent]:
        """Roles: rm, expert 0, expert 1, ..., base."""
        roles = {"rm": self.rm, **{f"expert {i}": parent for i, parent in enumerate(self.experts)}}
        return roles if self.base is None else {**roles, "base": self.base}


def plan_merge(recipe: Recipe, *, headers_only: bool = False) -> MergePlan:
    """Check a recipe against its models. Reads headers, configurations and tokenizers only.

    A recipe with `sweep` gives a plan for a live model; writing needs `recipe.at(lambda)`. With `headers_only` the
    weights of hub models are not fetched (unless pickle is allowed): it can be looked at, not executed.
    Raises CandidateError (a folder is no usable model) or MergeError (the models do not fit together).
    """
    method = get_method(recipe.method)
    options, engine = _options(recipe, method)
    recipe = _checked_weights(recipe, method)
    by_id = engine.get("tokens") == "by_id"
    reading = Reading.of(engine, headers=headers_only and engine.get("pickle") != "allow")  # .bin files have none
    rm = _parent(recipe.rm, by_id, reading, reward=True)
    check_head(rm.checkpoint, rm.names)
    experts = tuple(_parent(e.model, by_id, reading, reward=method.rewards_only) for e in recipe.experts)
    base = None if recipe.base is None else _parent(recipe.base, by_id, reading)
    others = [*experts, *([base] if base else [])]
    for other in others:
        check_kind(rm.checkpoint, other.checkpoint)
        _check_names(rm, other, method.rewards_only and other is not base)
        if engine.get("config") != "rm":
            check_meaning(rm.checkpoint, other.checkpoint)
    alignment = _align(rm, experts, base, engine)
    tensors = _pair(rm, experts, base, alignment, recipe.dtype)
    vocabularies = [parent.vocabulary for parent in experts if parent.vocabulary]
    tokenizer = None
    if alignment.appended and rm.vocabulary:
        tokenizer = extend(rm.vocabulary, vocabularies, alignment.appended)
    weights = Weights.of(recipe, [tensor.canonical for tensor in tensors if tensor.kind != "keep"])
    return MergePlan(
        recipe, method, options, rm, experts, base, alignment, tensors, weights, tokenizer, _notes(rm, alignment)
    )


def _options(recipe: Recipe, method: Method) -> tuple[dict[str, Option], dict[str, Option]]:
    known = {**method.options, **ENGINE_OPTIONS}
    known.pop("formula", None)
    for key, value in recipe.options.items():
        if key not in known:
            raise MergeError(f"options.{key}: method '{recipe.method}' has no such option: {did_you_mean(key, known)}")
        allowed = ENGINE_OPTIONS.get(key)
        if allowed and value not in allowed:
            raise MergeError(f"options.{key}: '{value}' is not known; known: {', '.join(allowed)}")
        if not allowed and isinstance(method.options[key], float):
            number = not isinstance(value, (bool, str))
            if not number or not 0 < float(value) <= 1:
                raise MergeError(f"options.{key}: must be a number above 0 and at most 1, not '{value}'")
    options = dict(method.options) | {k: v for k, v in recipe.options.items() if k not in ENGINE_OPTIONS}
    if "formula" in method.options:
        options["formula"] = recipe.formula
    elif recipe.formula != "lerp":
        raise MergeError(f"formula: method '{recipe.method}' has only one formula; leave it out")
    return options, {k: v for k, v in recipe.options.items() if k in ENGINE_OPTIONS}


def _checked_weights(recipe: Recipe, method: Method) -> Recipe:
    count = len(recipe.experts)
    if method.max_experts is not None and count > method.max_experts:
        raise MergeError(f"method '{recipe.method}' takes {method.max_experts} expert, the recipe names {count}")
    if method.needs_base and recipe.base is None:
        raise MergeError(f"method '{recipe.method}' needs the base that all models were fine-tuned from: set 'base'")
    if not method.needs_base and recipe.base is not None:
        raise MergeError(f"base: method '{recipe.method}' has no use for a base; leave it out")
    total = sum(expert.weight or 0 for expert in recipe.experts)
    if method.convex and total > 1 + 1e-9:
        raise MergeError(f"the experts' weights add up to {total:g}; method '{recipe.method}' takes at most 1 together")
    return recipe


def _parent(name: str, by_id: bool, reading: Reading, *, reward: bool = False) -> Parent:
    checkpoint = open_checkpoint(name, reading, reward=reward)
    names = classify(checkpoint)
    for ref in checkpoint.tensors.values():
        if ref.dtype not in FLOATS and ref.name not in names.rest:
            raise CandidateError(f"{name}: tensor '{ref.name}' is {ref.dtype}; only {', '.join(FLOATS)} can be merged")
    parent = Parent(checkpoint, names, None if by_id else read_vocabulary(checkpoint.folder, name))
    light_identity(checkpoint.folder)  # reads all small files: damage is told now (the writer finds the hashes made)
    rows = parent.output_embedding().shape[:1]
    if rows != parent.embedding.shape[:1]:
        raise CandidateError(f"{name}: '{names.lm_head}' has {rows[0]} rows, its token embedding {parent.rows}")
    return parent


def _check_names(rm: Parent, other: Parent, needs_head: bool) -> None:
    """Same body tensors, same shapes (rows of vocabulary tensors apart); MergeError lists what differs."""
    if needs_head and not other.names.head:
        raise CandidateError(f"{other.name}: is not a reward model, and this method averages reward models")
    mine, theirs = rm.names.body, other.names.body
    problems = [f"{key} (only in {rm.name})" for key in mine if key not in theirs]
    problems += [f"{key} (only in {other.name})" for key in theirs if key not in mine]
    problems += [f"{name} (only in {other.name})" for name in other.names.unknown]
    for key in mine:
        if key in theirs:
            a, b = rm.tensor(key).shape, other.tensor(key).shape
            if (a[1:], len(a)) != (b[1:], len(b)) if key == rm.names.embedding else a != b:
                problems.append(f"{key} {list(a)} against {list(b)}")
    if problems:
        shown = "; ".join(problems[:12]) + (f"; and {len(problems) - 12} more" if len(problems) > 12 else "")
        raise MergeError(f"{rm.name} and {other.name} do not have the same tensors: {shown}")


def _align(rm: Parent, experts: tuple[Parent, ...], base: Parent | None, engine: Mapping[str, Option]) -> Alignment:
    others = [*experts, *([base] if base else [])]
    if rm.vocabulary is None:
        return align_by_id(rm.rows, [other.rows for other in others], base is not None)
    pairs = []
    for other in others:
        assert other.vocabulary is not None  # read for all parents or for none
        if not rm.vocabulary.tokens.keys() & other.vocabulary.tokens.keys():
            raise MergeError(f"{rm.name} and {other.name} have no token in common: they cannot come from one base; "
                             "the option 'tokens: by_id' pairs rows by number")  # fmt: skip
        if engine.get("merges") != "rm":
            check_merges(rm.vocabulary, other.vocabulary, other.name)
        pairs.append((other.vocabulary, other.rows))
    return align(rm.vocabulary, rm.rows, pairs[: len(experts)], pairs[-1] if base else None)


def _pair(
    rm: Parent, experts: tuple[Parent, ...], base: Parent | None, alignment: Alignment, dtype: str
) -> tuple[TensorPlan, ...]:
    canonical = {name: key for key, name in rm.names.body.items()}
    head = set(rm.names.head.values())
    plans = []
    for name, ref in rm.checkpoint.tensors.items():  # the RM's own order and layout
        out = ref.dtype if dtype == "rm" or ref.dtype not in FLOATS else _DTYPES[dtype]
        if name in head or name in rm.names.rest:
            plans.append(TensorPlan(name, name, "keep", out, ref.shape, ref))
        elif name == rm.names.lm_head:
            refs = tuple(parent.output_embedding() for parent in experts)
            grown = (alignment.rows, *ref.shape[1:])
            lm_base = base.output_embedding() if base else None
            plans.append(TensorPlan(name, "lm_head.weight", "rows", out, grown, ref, refs, lm_base))
        else:
            key = canonical[name]
            refs = tuple(parent.tensor(key) for parent in experts)
            rows = key == rm.names.embedding
            shape = (alignment.rows, *ref.shape[1:]) if rows else ref.shape
            below = base.tensor(key) if base else None
            plans.append(TensorPlan(name, key, "rows" if rows else "body", out, shape, ref, refs, below))
    return tuple(plans)


def _notes(rm: Parent, alignment: Alignment) -> tuple[str, ...]:
    notes = []
    if alignment.appended:
        shown = ", ".join(repr(token) for token, _ in alignment.appended[:5])
        more = "" if len(alignment.appended) <= 5 else ", ..."
        notes.append(f"{len(alignment.appended)} tokens that only experts have are appended ({shown}{more})")
    if rm.vocabulary:
        padding = alignment.rm_rows - sum(1 for i in rm.vocabulary.tokens.values() if i < alignment.rm_rows)
        if padding:
            notes.append(f"{padding} rows of the RM that belong to no token are kept as they are")
    return tuple(notes)
