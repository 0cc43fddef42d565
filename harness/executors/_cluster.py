"""Getting at a Ray cluster: one of our own on this machine, or the one at an address. Every failure is one sentence."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, UserError
from harness.progress import say

_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 15
STORE_BYTES = 512 << 20  # shared memory of our own cluster: requests travel through it, models do not
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How workers are cut out of the nodes: how many, each with so many threads, CPUs and GPUs."""

    workers: int
    threads: int
    cpus: int
    gpus: int


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connected to the cluster at `address` (or RAY_ADDRESS), else to a new one here that ends with the block.

    Raises UserError where Ray is not installed, and ConfigError where nobody answers.
    """
    if find_spec("ray") is None:
        raise UserError("--executor ray needs the package ray, which is not installed: pip install '.[ray]'")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        _answers(address)
    import ray  # reads its environment when it is imported

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if address is None:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=STORE_BYTES,
                resources=_sandboxes(),
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        where = "on this machine" if address is None else f"at {address}"
        raise ConfigError(f"no Ray cluster {where}: {_first_sentence(error)}") from None
    finally:
        for number, handler in handlers.items():  # Ray takes them over; Ctrl-C and SIGTERM are ours
            signal.signal(number, handler)
    with Path(os.devnull).open("w") as silence, redirect_stdout(silence):  # Ray tells of lost workers on stdout
        try:
            yield
        finally:
            ray.shutdown()


def _answers(address: str) -> None:
    """Ray alone waits for minutes without a word where nobody answers, or somebody who is not Ray."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ConfigError(f"--address {address}: expected HOST:PORT of a cluster's head, like 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--address {address}: nobody answers there ({getattr(error, 'strerror', None) or error});"
            " 'ray start --head' on that machine says the address"
        ) from None
    refused = _refused(address, {})
    if refused and "RAY_AUTH_MODE" not in os.environ and "uthentication" in refused:
        # a cluster that was started by hand asks for the token in ~/.ray; at an explicit address Ray does not offer it
        refused = _refused(address, {"RAY_AUTH_MODE": "token"})
        os.environ["RAY_AUTH_MODE"] = "token"
    if refused and "uthentication" in refused:
        raise ConfigError(
            f"--address {address}: the cluster wants its token: copy ~/.ray/auth_token of its head to this user's home,"
            " or set RAY_AUTH_TOKEN"
        )
    if refused:
        raise ConfigError(f"--address {address}: what answers there is not the head of a Ray cluster")


def _refused(address: str, more: Mapping[str, str]) -> str:
    """What Ray's own health check complains about; "" where all is well. It cannot be stopped but as a process."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False, env={**os.environ, **more}
        )
    except subprocess.TimeoutExpired:
        return "no answer"
    return "" if done.returncode == 0 else done.stderr or done.stdout or "no reason"


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(". ")


def _sandboxes() -> dict[str, float]:
    """Our own cluster offers as many sandboxes as cores, where a sandbox holds."""
    from tasks._types import TaskError
    from tasks.sandbox import best_tier

    try:
        best_tier()
    except TaskError:
        return {}
    return {"sandbox": float(len(os.sched_getaffinity(0)))}


def shape(nodes: Sequence[Mapping[str, Any]], workers: int | None, device: str | None) -> Shape:
    """Workers on these nodes (`ray.nodes()`): one a GPU where there are any, else one a CPU; at most `workers`.

    Threads are as many as fit when all of them work at a time; OMP_NUM_THREADS of the driver bounds them.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cores = [int(r.get("CPU", 0)) for r in alive]
    cards = [0 if device == "cpu" else int(r.get("GPU", 0)) for r in alive]
    use_gpu = sum(cards) > 0
    if device is not None and device.startswith("cuda"):
        if ":" in device:
            raise ConfigError(f"--device {device}: every worker has one GPU of its own; say --device cuda")
        if not use_gpu:
            raise ConfigError(f"--device {device}: the cluster has no GPU")
    places = [min(a, b) if use_gpu else a for a, b in zip(cores, cards, strict=True)]
    if sum(places) == 0:
        raise ConfigError("the Ray cluster offers no CPU: start its nodes with --num-cpus of at least 1")
    count = min(workers or sum(places), sum(places))
    if workers is not None and count < workers:
        say(f"--workers {workers}: the cluster has room for {count} ({'GPUs' if use_gpu else 'CPUs'})")

    def room(threads: int) -> int:
        return sum(min(a // threads, b) if use_gpu else a // threads for a, b in zip(cores, cards, strict=True))

    threads = max(t for t in range(1, max(cores) + 1) if t == 1 or room(t) >= count)
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdigit() and int(allowed) > 0:
        threads = min(threads, int(allowed))
    return Shape(count, threads, 1 if use_gpu else threads, int(use_gpu))
