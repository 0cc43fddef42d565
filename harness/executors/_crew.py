"""The driver's side of the workers: hires them, hands out what the schedule says, and tells `Runs` what comes back.

A worker is an actor that Ray never restarts by itself: a lost one is replaced here, and what it had under way goes
back to the schedule, which knows how often that may happen (application-level retries).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray import exceptions

from harness.errors import RunFailed, ScoringError, UserError
from harness.executors._chunks import Chunk, cut
from harness.executors._cluster import Shape
from harness.executors._losses import Coroner, Loss, Place, here
from harness.executors._schedule import Lot, Piece, Schedule
from harness.executors._types import Job, Runs, Work
from harness.executors._worker import Opened, Refused, Scored, Worker
from harness.progress import say
from harness.scoring._types import BatchReport, ScoringOptions

POLL_SECONDS = 0.5  # between looks at the clock, when nothing comes back
PATIENCE_SECONDS, GIVE_UP_SECONDS = 20.0, 900.0  # without any worker: then say so; then give up
FALSE_STARTS = 3  # workers in a row, for each that is wanted, that never became ready
VAIN_STARTS = 2  # workers in a row that memory took before they had scored anything, beside one that does its work


@dataclass(eq=False)
class Hand:
    """A worker as the driver sees it."""

    number: int
    actor: Any
    vain: int = 0  # how many just before this one, in its stead, ran out of memory before they had scored anything
    place: Place | None = None  # None: it is not there yet
    lot: Lot | None = None
    opening: bool = False
    scored: bool = False
    flights: list[Piece] = field(default_factory=list)  # the first is being done, the others wait there

    @property
    def node(self) -> str:
        return "" if self.place is None else self.place.node


class _Actor(Worker):
    """Worker with what only Ray knows."""

    def place(self) -> Place:
        return here()

    def chunk(self, key: str, held: list[Any], done: frozenset[Any]) -> Scored | Refused:
        """`held` is one reference in a list: in a list it is only fetched when it is needed."""
        return self.score(key, lambda: ray.get(held[0]), done)


class Crew:
    """Does jobs with as many workers as `place` says."""

    def __init__(self, jobs: list[Job], runs: Runs, backend: str | None, options: ScoringOptions, place: Shape) -> None:
        self._schedule, self._runs, self._options, self._place = Schedule(jobs), runs, options, place
        bare = replace(options, notify=_nothing, on_batch=_nothing)
        needs = {"num_cpus": place.cpus, "num_gpus": place.gpus, "scheduling_strategy": "SPREAD"}
        actor: Any = ray.remote(_Actor).options(max_restarts=0, **needs)
        self._new: Callable[[], Any] = lambda: actor.remote(backend, bare, place.threads)
        self._hands: list[Hand] = []
        self._refs: dict[Any, tuple[Hand, str | Piece]] = {}
        self._hired = self._false_starts = 0
        self._chunks: dict[Work, list[Chunk]] = {}
        self._sent: dict[int, tuple[str, Chunk, Any]] = {}  # by the chunk's id: its key, itself, where it lies
        self._protocols: dict[Lot, Mapping[str, Any]] = {}
        self._left: dict[Job, int] = {}  # responses without a reward
        self._said: set[str] = set()
        self._coroner = Coroner()
        self._alone_since: float | None = None

    def work(self) -> None:
        """Until every job is over. Raises the user's mistakes."""
        try:
            for _ in range(self._place.workers):
                self._hire()
            while not self._schedule.over:
                for hand in list(self._hands):
                    self._give(hand)
                self._take()
                self._close()
                self._watch()
        finally:
            for hand in self._hands:
                ray.kill(hand.actor)

    def _hire(self, vain: int = 0) -> None:
        hand = Hand(self._hired, self._new(), vain)
        self._hired += 1
        self._hands.append(hand)
        self._refs[hand.actor.place.remote()] = hand, "ready"

    def _give(self, hand: Hand) -> None:
        """Work for a worker that has none, or could have the next at hand."""
        nodes = [other.node for other in self._hands if other.place]
        while hand.place and not hand.opening and len(hand.flights) < 2:
            now = time.monotonic()
            queued = len(hand.flights)
            chosen = self._schedule.choose(hand.number, hand.lot, now, node=hand.node, nodes=nodes, queued=queued)
            if chosen is None:
                return
            if isinstance(chosen, Lot):
                self._schedule.opening(chosen)
                self._move(hand, chosen)
                hand.opening = True
                self._refs[hand.actor.open.remote(chosen.candidate)] = hand, "open"
                return
            key, place = self._put(chosen.chunk)
            self._schedule.sent(chosen, hand.number, now)
            hand.flights.append(chosen)
            self._refs[hand.actor.chunk.remote(key, [place], chosen.done)] = hand, chosen

    def _move(self, hand: Hand, lot: Lot | None) -> None:
        if hand.lot is not None:
            hand.lot.workers.discard(hand.number)
        hand.lot = lot
        if lot is not None:
            lot.workers.add(hand.number)

    def _put(self, chunk: Chunk) -> tuple[str, Any]:
        """A chunk's key, and its place in the object store, where all candidates find it."""
        if id(chunk) not in self._sent:
            self._sent[id(chunk)] = f"chunk {len(self._sent)}", chunk, ray.put(chunk)
        key, _, place = self._sent[id(chunk)]
        return key, place

    def _take(self) -> None:
        """Everything that has come back; waits a moment where nothing has."""
        found, _ = ray.wait(list(self._refs), num_returns=1, timeout=POLL_SECONDS)
        if found:
            found, _ = ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        for ref in found:
            if ref not in self._refs:  # went with its worker
                continue
            hand, what = self._refs.pop(ref)
            try:
                value = ray.get(ref)
            except exceptions.RayError as error:
                self._lose(hand, what, self._coroner.examine(error, hand.place))
            else:
                self._received(hand, what, value)

    def _received(self, hand: Hand, what: str | Piece, value: Any) -> None:
        if isinstance(value, Refused):
            self._refused(hand, what, value.error)
        elif isinstance(value, Opened):
            self._opened(hand, value)
        elif isinstance(value, Scored) and isinstance(what, Piece):
            self._scored(hand, what, value)
        elif isinstance(value, Place):
            hand.place, self._false_starts = value, 0
            self._coroner.arrived(value)

    def _opened(self, hand: Hand, value: Opened) -> None:
        lot = hand.lot
        assert lot is not None
        hand.opening = False
        self._tell(value.notes)
        if lot not in self._protocols:
            self._protocols[lot] = value.protocol
            machine = {**value.environment, "executor": "ray", "workers": self._place.workers}
            self._schedule.opened(lot, [piece for job in lot.jobs for piece in self._pieces(job, value, machine)])
        elif self._protocols[lot] != value.protocol:
            first, here = self._protocols[lot], value.protocol
            differ = sorted(key for key in {*first, *here} if first.get(key) != here.get(key))
            shown = ", ".join(f"{key} {first.get(key)!r} and {here.get(key)!r}" for key in differ)
            raise ScoringError(f"{lot.candidate.name}: two workers would score it differently ({shown}): fix them")

    def _pieces(self, job: Job, value: Opened, machine: Mapping[str, Any]) -> list[Piece]:
        left = self._runs.start(job, value.protocol, machine)
        if job.work not in self._chunks:
            self._chunks[job.work] = cut(list(job.work.requests), self._place.workers)
        pieces = []
        for chunk in self._chunks[job.work] if left else ():
            done = frozenset(self._runs.done(job, chunk))
            if len(done) < len(chunk):
                pieces.append(Piece(job, chunk, done))
        self._left[job] = sum(len(piece.chunk) - len(piece.done) for piece in pieces)
        return pieces

    def _scored(self, hand: Hand, piece: Piece, value: Scored) -> None:
        hand.flights.remove(piece)
        hand.scored = True
        if hand.flights:
            hand.flights[0].on[hand.number] = time.monotonic()  # only now its turn has come
        self._tell(value.notes)
        if not piece.answered:
            self._runs.store(piece.job, value.records)
            self._left[piece.job] -= len(piece.chunk) - len(piece.done)
            for report in value.reports:
                self._runs.report(piece.job, replace(report, left=report.left + self._left[piece.job]))
        self._schedule.answered(piece, value.seconds)

    def _refused(self, hand: Hand, what: str | Piece, error: Exception) -> None:
        """One sentence: a failed run stops alone, a user's mistake stops everything, as without workers."""
        if not isinstance(error, RunFailed):
            raise error
        if isinstance(what, Piece):
            hand.flights.remove(what)
            self._schedule.fail(what.job, str(error), what)
        elif hand.lot is not None:
            hand.opening = False
            self._schedule.refuse(hand.lot, str(error))

    def _lose(self, hand: Hand, what: str | Piece, loss: Loss) -> None:
        """A worker is gone, or no longer to be trusted: its work goes back, and another one is hired."""
        self._hands.remove(hand)
        ray.kill(hand.actor)
        self._refs = {ref: value for ref, value in self._refs.items() if value[0] is not hand}
        lot = hand.lot
        self._move(hand, None)
        for piece in reversed(hand.flights):
            charged = piece is hand.flights[0]
            self._schedule.lost(piece, hand.number, hand.node, loss.reason, loss.advice, charged=charged)
        if hand.opening and lot is not None:
            self._schedule.not_opened(lot, loss.reason, loss.advice)
        if what == "ready":
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS * self._place.workers:
                raise UserError(f"no worker of the Ray cluster could be started: {loss.reason}{loss.advice}")
        else:
            say(f"a worker was lost ({loss.reason}); its unfinished work goes to others")
        self._replace(hand, loss)

    def _replace(self, hand: Hand, loss: Loss) -> None:
        """Hire another one, unless the node has only room for those that are there already and do their work."""
        vain = hand.vain + 1 if loss.memory and not hand.scored else 0
        beside = [other for other in self._hands if other.scored and other.node == hand.node]
        if vain < VAIN_STARTS or hand.place is None or not beside:
            self._hire(vain)
        else:
            left = len(self._hands)
            say(f"no memory for another worker on {hand.place.host}: {left} go on (--workers {left} starts no more)")

    def _close(self) -> None:
        while self._schedule.ended:
            self._runs.finish(*self._schedule.ended.pop(0))

    def _tell(self, notes: tuple[str, ...]) -> None:
        """Every worker notices the same things: each is said once."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                self._options.notify(note)

    def _watch(self) -> None:
        """Never wait without a word."""
        if any(hand.place for hand in self._hands):
            self._alone_since = None
            return
        now = time.monotonic()
        if self._alone_since is None:
            self._alone_since = now
        waited = now - self._alone_since
        if waited > GIVE_UP_SECONDS:
            raise RunFailed(f"the Ray cluster has given no worker for {waited / 60:.0f} minutes")
        if waited > PATIENCE_SECONDS:
            need = (
                f"{self._place.gpus} GPU and {self._place.cpus} CPUs"
                if self._place.gpus
                else f"{self._place.cpus} CPUs"
            )
            self._tell((f"waiting for the Ray cluster: no worker has started yet (each needs {need} free)",))


def _nothing(_: str | BatchReport) -> None:
    """Workers report to the driver, not to a terminal."""
