"""Linear heads over the last token's hidden state, in float32 whatever the model's dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from harness.errors import ScoringError


def linear_head(model: Any, name: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight (labels, hidden) and bias (labels,) or None of the classifier's head, in float32."""
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Linear):
        raise ScoringError(f"{name}: its head is not a linear layer named 'score'")
    return head.weight.detach().float(), None if head.bias is None else head.bias.detach().float()


def apply_head(weight: torch.Tensor, bias: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """(rows, hidden) -> (rows, labels), by multiplying and summing: a matrix product with few rows gives a row other
    bits than the same product with many."""

    def head(hidden: torch.Tensor) -> torch.Tensor:
        wide = hidden.float()
        logits = torch.stack([(wide * row).sum(-1) for row in weight], dim=-1)
        return logits if bias is None else logits + bias

    return head


def own_head(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """For models that have applied a head of their own: (rows, outputs), checked to be one output a sequence."""

    def head(outputs: torch.Tensor) -> torch.Tensor:
        if outputs.shape[1] != 1:
            raise ScoringError(f"{name}: its model gives {outputs.shape[1]} numbers a sequence, expected one reward")
        return outputs

    return head
