"""Who does what next. Pure: no Ray, no clock, no store; workers are numbers.

A worker keeps its candidate while that has work. Then it takes a candidate that nobody has begun (of its own sweep, if
it can: the parents are loaded already), else it joins one in progress, else, at the very end, it repeats the chunk
that has been under way for longest and far too long. The first answer counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from harness.candidate import Candidate
from harness.executors._chunks import Chunk, halves
from harness.executors._types import Job, Key

TRIES = 4  # of a chunk, whose size halves each time, and of opening a candidate
SLOW, SLOW_SECONDS = 3.0, 2.0  # a straggler takes so many times the median, and at least so long


@dataclass(eq=False)
class Piece:
    """A chunk of a job."""

    job: Job
    chunk: Chunk
    done: frozenset[Key] = frozenset()  # of its requests: already stored
    tries: int = 0  # workers lost over it
    shunned: set[str] = field(default_factory=set)  # nodes on which that happened
    on: dict[int, float] = field(default_factory=dict)  # worker -> since when
    answered: bool = False


@dataclass(eq=False)
class Lot:
    """All jobs of one candidate."""

    candidate: Candidate
    jobs: list[Job]
    state: str = "untouched"  # opening, open
    tries: int = 0
    pending: deque[Piece] = field(default_factory=deque)
    workers: set[int] = field(default_factory=set)
    left: dict[Job, int] = field(default_factory=dict)  # pieces without an answer
    failures: dict[Job, str] = field(default_factory=dict)


class Schedule:
    """The state of all jobs. `ended` collects jobs that are over, with the sentence why one failed."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        lots: dict[str, Lot] = {}
        for job in jobs:
            lots.setdefault(job.candidate.id, Lot(job.candidate, [])).jobs.append(job)
        self.lots = list(lots.values())
        self.ended: list[tuple[Job, str]] = []
        self._open_jobs = sum(len(lot.jobs) for lot in self.lots)
        self._flying: list[Piece] = []  # oldest first
        self._seconds: deque[float] = deque(maxlen=100)

    @property
    def over(self) -> bool:
        return self._open_jobs == 0

    def choose(
        self, worker: int, held: Lot | None, now: float, *, node: str = "", nodes: Sequence[str] = (), queued: int = 0
    ) -> Piece | Lot | None:
        """The next piece of the lot that a worker holds, or another lot to open first; None: nothing for it now.

        A worker that has `queued` work gets more only while there is enough for everybody.
        """
        if held is not None and len(held.pending) > (len(held.workers) if queued else 0):
            piece = _take(held.pending, node, nodes)
            if piece is not None:
                return piece
        if queued:
            return None
        lot = self._untouched(held) or self._to_join(held)
        if lot is not None:
            return lot
        late = self._late(worker, held, now)
        if late is None:
            return None
        return late if held is not None and late.job in held.left else self._lot(late.job)

    def _untouched(self, held: Lot | None) -> Lot | None:
        free = [lot for lot in self.lots if lot.state == "untouched"]
        swept = None if held is None else held.candidate.sweep
        same = [lot for lot in free if swept is not None and lot.candidate.sweep == swept]
        return next(iter(same or free), None)

    def _to_join(self, held: Lot | None) -> Lot | None:
        """The lot with most work for each of its workers."""
        busy = [lot for lot in self.lots if lot is not held and len(lot.pending) > 0]
        return max(busy, key=lambda lot: len(lot.pending) / (1 + len(lot.workers)), default=None)

    def _late(self, worker: int, held: Lot | None, now: float) -> Piece | None:
        if any(lot.pending for lot in self.lots):
            return None
        limit = max(SLOW_SECONDS, SLOW * median(self._seconds)) if self._seconds else SLOW_SECONDS
        late = [p for p in self._flying if len(p.on) == 1 and worker not in p.on and now - min(p.on.values()) > limit]
        own = [p for p in late if held is not None and p.job in held.left]
        return next(iter(own or late), None)

    def _lot(self, job: Job) -> Lot:
        return next(lot for lot in self.lots if job in lot.jobs)

    def opening(self, lot: Lot) -> None:
        """A worker is about to open this candidate."""
        if lot.state == "untouched":
            lot.state = "opening"

    def opened(self, lot: Lot, pieces: Sequence[Piece]) -> None:
        """The candidate's first worker has it open: this is its work, in order."""
        lot.state, lot.left = "open", dict.fromkeys(lot.jobs, 0)
        lot.pending.extend(pieces)
        for piece in pieces:
            lot.left[piece.job] += 1
        for job in lot.jobs:
            self._close(lot, job)

    def not_opened(self, lot: Lot, reason: str, advice: str = "") -> None:
        """The worker was lost before it had the candidate open. `advice` ends the sentence if that was too often."""
        lot.tries += 1
        if lot.tries >= (3 * TRIES if lot.state == "open" else TRIES):  # open: somebody could, so try harder
            self.refuse(
                lot, f"the candidate could not be opened: {lot.tries} workers were lost over it ({reason}){advice}"
            )
        elif lot.state == "opening":
            lot.state = "untouched"

    def refuse(self, lot: Lot, reason: str) -> None:
        """No job of this candidate can go on."""
        if lot.state != "open":
            lot.state, lot.left = "open", dict.fromkeys(lot.jobs, 0)
        for job in lot.jobs:
            self.fail(job, reason)

    def sent(self, piece: Piece, worker: int, now: float) -> None:
        if not piece.on:
            self._flying.append(piece)
        piece.on[worker] = now

    def answered(self, piece: Piece, seconds: float) -> bool:
        """Whether this is the first answer; a later one is not needed."""
        if piece.answered:
            return False
        piece.answered = True
        self._seconds.append(seconds)
        self._landed(piece)
        return True

    def lost(self, piece: Piece, worker: int, node: str, reason: str, advice: str = "", *, charged: bool) -> None:
        """The piece went down with its worker. `charged`: it was being done at that moment; `advice` as above."""
        piece.on.pop(worker, None)
        piece.tries += charged
        if charged:
            piece.shunned.add(node)
        if piece.answered or piece.on:
            return
        lot = self._lot(piece.job)
        if piece.job in lot.failures or piece.tries >= TRIES:
            what = f"{piece.tries} workers were lost over the same {len(piece.chunk)} responses"
            self._landed(piece, f"{what} (the last: {reason}){advice}")
            return
        self._flying.remove(piece)
        parts = halves(piece.chunk) if charged else [piece.chunk]
        again = [Piece(piece.job, part, piece.done, piece.tries, set(piece.shunned)) for part in parts]
        lot.left[piece.job] += len(again) - 1
        lot.pending.extendleft(reversed(again))

    def fail(self, job: Job, reason: str, piece: Piece | None = None) -> None:
        """The job cannot be finished; what is under way is waited for and kept."""
        if piece is not None and not piece.answered:
            piece.answered = True
            self._landed(piece, reason)
            return
        lot = self._lot(job)
        if lot.left.get(job) is None:
            return
        lot.failures.setdefault(job, reason)
        dropped = [p for p in lot.pending if p.job is job]
        lot.pending = deque(p for p in lot.pending if p.job is not job)
        lot.left[job] -= len(dropped)
        self._close(lot, job)

    def _landed(self, piece: Piece, failure: str = "") -> None:
        if piece in self._flying:
            self._flying.remove(piece)
        lot = self._lot(piece.job)
        lot.left[piece.job] -= 1
        if failure:
            self.fail(piece.job, failure)
        else:
            self._close(lot, piece.job)

    def _close(self, lot: Lot, job: Job) -> None:
        if lot.left.get(job) == 0:
            del lot.left[job]
            self._open_jobs -= 1
            self.ended.append((job, lot.failures.get(job, "")))


def _take(pending: deque[Piece], node: str, nodes: Sequence[str]) -> Piece | None:
    """The first piece, but none that already cost this node a worker while there are other nodes."""
    for piece in pending:
        if node not in piece.shunned or set(nodes) <= piece.shunned:
            pending.remove(piece)
            return piece
    return None
