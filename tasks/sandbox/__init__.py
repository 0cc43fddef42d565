"""Runs programs written by models and says whether their tests hold. Such programs are hostile until proven otherwise.

    from tasks.sandbox import Check, check
    for verdict in check([Check("def f(x): return x + 1", ("assert f(1) == 2",))]):
        print(verdict.status, verdict.reason, verdict.tier)

Covered: a program cannot forge its verdict (the tests run in another process, with genuine builtins, on plain data),
see the tests' expected values, read or change files of the host, reach the network, start, signal or read processes,
exhaust memory, processor, disk or process table, leave anything behind, or touch the next check.

Not covered: bugs of the one kernel that everybody shares; what the processor's caches leak; the arguments of each
call, which a program must see to compute. Tier C (no user namespaces) also shows names and sizes of the host's files.

Nothing here imports the rest of the project or anything but the standard library. docs/sandbox.md: threat model, tiers.
"""

from tasks.sandbox._limits import Check, Limits, SandboxError, Tier, Verdict
from tasks.sandbox._pool import check
from tasks.sandbox._tiers import best_tier, prove

__all__ = ["Check", "Limits", "SandboxError", "Tier", "Verdict", "best_tier", "check", "prove"]
