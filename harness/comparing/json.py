"""One JSON object: everything in full precision. Fractions in 0..1, differences A minus B, null where undefined."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from harness.comparing._report import Report, Row


def render(report: Report) -> str:
    return json.dumps(as_json(report), allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def as_json(report: Report) -> dict[str, Any]:
    """The object that `--format json` prints."""
    found = {
        "verdict": report.verdict,
        "exit_code": report.exit_code,
        "question": report.question or None,
        "strict": report.strict,
        "metric": report.metric,
        "margin": report.rule.margin,
        "alpha": report.rule.alpha,
        "rows": [_row(row) for row in report.rows],
        "not_compared": [
            {"a": asdict(r.pair.a), "b": asdict(r.pair.b), "task": r.task, "reason": r.sentence}
            for r in report.refusals
        ],
        "notes": list(report.notes),
        "settings": None if report.settings is None else [asdict(s) for s in report.settings],
    }
    return {key: _finite(value) for key, value in found.items()}


def _row(row: Row) -> dict[str, Any]:
    c, d = row.comparison, row.decision
    return {
        "a": {**asdict(row.pair.a), "score": c.a, "run": row.runs[0]},
        "b": {**asdict(row.pair.b), "score": c.b, "run": row.runs[1]},
        "pair": row.pair.label or None,
        "task": row.task,
        "difference": c.difference,
        "interval": [c.low, c.high],
        "level": c.level,
        "p": c.p,
        "p_holm": c.p_adjusted,
        "method": c.method,
        "n": c.n,
        "clusters": c.units,
        "mde": c.mde,
        "whole": c.whole,
        "better": list(row.flips.better),
        "worse": list(row.flips.worse),
        "verdict": d.verdict,
        "p_worse": d.p_worse,
        "p_worse_holm": d.p_worse_adjusted,
        "p_not_worse": d.p_not_worse,
        "smallest_loss_seen": d.seen,
        "seed": c.seed,
        "resamples": c.resamples,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
