"""Token ids of requests: encoded once for all lambdas of a sweep, and ahead of time while the model is busy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from harness.scoring._batching import Encoded
from harness.scoring._types import Request

_KEPT = 100_000  # encoded requests: the tasks of a sweep, whole or in the chunks of an executor

Encode = Callable[[Sequence[Request]], list[Encoded]]


class Texts:
    """Remembers what `encode` made of each list of requests; a list is known again by being the same object."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._held: dict[int, tuple[Sequence[Request], Future[list[Encoded]]]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def of(self, requests: Sequence[Request]) -> list[Encoded]:
        """Waits for what `ahead` began, encodes what is not there; raises what `encode` raises."""
        held = self._held.get(id(requests))
        if held is None or held[0] is not requests:
            held = self._keep(requests, Future())
            try:
                held[1].set_result(self._encode(requests))
            except BaseException:
                del self._held[id(requests)]
                raise
        return held[1].result()

    def ahead(self, requests: Sequence[Request]) -> None:
        """Begin to encode in the background what will be asked for next (tokenisers let other threads run)."""
        held = self._held.get(id(requests))
        if held is None or held[0] is not requests:
            self._thread = self._thread or ThreadPoolExecutor(1, "tokenise")
            self._keep(requests, self._thread.submit(self._encode, requests))

    def _keep(
        self, requests: Sequence[Request], coming: Future[list[Encoded]]
    ) -> tuple[Sequence[Request], Future[list[Encoded]]]:
        while self._held and sum(len(known) for known, _ in self._held.values()) + len(requests) > _KEPT:
            self._held.pop(next(iter(self._held)))
        self._held[id(requests)] = requests, coming
        return self._held[id(requests)]
