"""The candidate's side: a warm process that clones a child per check, and the child that runs the program.

The warm process never sees a program, a test or a result: it makes a socket pair, gives the child one end and the
harness the other (for the judge), waits for the child's end or the clock, and reports how it ended. So nothing of one
check is left for the next, and nothing worth stealing is in the memory that the child inherits.

While one child runs its program the next one is cloned and shuts itself in: half of what a check costs is then done
when it comes, and a core has work while the judge and the child wait for each other.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import select
import socket
import sys
import time
import types
from typing import Any, NamedTuple, NoReturn

from . import isolate, wire
from .control import receive, send, take_control

CHANNEL = 3
_PRELOADED = """
    math cmath re collections itertools functools heapq bisect string random datetime copy operator decimal fractions
    typing array enum json time
"""  # what programs usually import; every page of memory more makes each clone dearer
_REASON = 300  # characters of an exception's text that are passed on


class _Program:
    """The running program: its globals, and the objects that the judge holds handles of."""

    def __init__(self, cap: int) -> None:
        self.module = types.ModuleType("__candidate__")
        self.objects: list[Any] = []
        self.cap = cap
        sys.modules["__candidate__"] = self.module  # dataclasses and pickle look their module up

    def _opaque(self, value: Any) -> Any:
        self.objects.append(value)
        tag = "m" if type(value) is re.Match else "h"
        return {tag: len(self.objects) - 1}

    def _handle(self, tag: str, body: Any) -> Any:
        return vars(self.module)[body] if tag == "g" else self.objects[body]

    def value(self, wired: Any) -> Any:
        return wire.decode(wired, self._handle)

    def answer(self, value: Any) -> bytes:
        return wire.pack({"v": wire.Encoder(self._opaque, self.cap).encode(value)})

    def names(self) -> dict[str, str]:
        """What the program defines: callables "c", modules "m", other values "v"."""
        found = ((k, v) for k, v in vars(self.module).items() if type(k) is str and not k.startswith("__"))
        return {k: "m" if isinstance(v, types.ModuleType) else "c" if callable(v) else "v" for k, v in found}

    def operate(self, message: dict[str, Any]) -> Any:
        """call, get, set: all that a judge ever asks for."""
        target = self.value(message["on"])
        if message["op"] == "call":
            positional = [self.value(item) for item in message["a"]]
            return target(*positional, **{name: self.value(item) for name, item in message["k"].items()})
        if message["op"] == "get":
            return getattr(target, message["name"])
        if message["op"] == "set":
            return setattr(target, message["name"], self.value(message["a"]))
        return target


def _failure(error: BaseException) -> bytes:
    kind = type(error).__name__
    if isinstance(error, MemoryError | wire.TooLargeError):
        return wire.pack({"x": "memory" if isinstance(error, MemoryError) else "output-limit", "text": ""})
    try:
        text = str(error)[:_REASON]
    except BaseException:  # noqa: BLE001 (the program's own __str__)
        text = ""
    return wire.pack({"x": "exception", "text": f"{kind}: {text}" if text else kind})


def serve(cap: int) -> NoReturn:
    """Run the program that comes first on the channel, then answer the judge's calls until it hangs up."""
    program = _Program(cap)
    source = wire.receive(CHANNEL, 1 << 30)["program"]
    try:
        exec(compile(source, "<candidate>", "exec"), vars(program.module))
        first = wire.pack({"names": program.names()})
    except BaseException as error:  # noqa: BLE001 (SystemExit and KeyboardInterrupt are answers too)
        wire.write(CHANNEL, _failure(error))
        os._exit(3)
    wire.write(CHANNEL, first)
    while True:
        try:
            message = wire.receive(CHANNEL, 1 << 30)
        except EOFError:
            os._exit(0)
        try:
            reply = program.answer(program.operate(message))
        except BaseException as error:  # noqa: BLE001
            reply = _failure(error)
        wire.write(CHANNEL, reply)


def _shut_in(channel: int, setup: dict[str, Any]) -> None:
    """As far as the tier goes. Raises OSError."""
    tier, limits = setup["tier"], setup["limits"]
    isolate.leave_group_and_files(channel)
    isolate.die_with_parent()
    if tier in ("A", "B"):
        uid, gid = setup["ids"]
        isolate.settle_namespaces(uid, gid, limits["scratch_bytes"])
    elif tier == "C":
        isolate.settle_landlock(setup["readable"])
    isolate.set_limits(limits)
    if tier != "unsafe":
        isolate.drop_capabilities()
        isolate.filter_calls(namespaced=tier != "C")


def _child(channel: int, setup: dict[str, Any]) -> NoReturn:
    """The new process: shut in, then serve. It never returns into the warm process's loop."""
    try:
        _shut_in(channel, setup)
        wire.write(CHANNEL, wire.pack({"ready": True}))
        gc.enable()
        serve(setup["limits"]["output_bytes"])
    except OSError as error:
        with contextlib.suppress(OSError):
            wire.write(CHANNEL, wire.pack({"refused": str(error)}))
    finally:
        os._exit(99)


class _Child(NamedTuple):
    pid: int
    channel: socket.socket  # the child's end: a hang-up of the judge shows here
    judges: socket.socket


def clone(setup: dict[str, Any]) -> _Child:
    """A child that shuts itself in and waits for a program. Raises OSError."""
    channel, judges = socket.socketpair()
    pid = isolate.fork_into_namespaces() if setup["tier"] in ("A", "B") else os.fork()
    if pid == 0:
        _child(channel.fileno(), setup)
    return _Child(pid, channel, judges)


def _cpu_left(pid: int, limit: float) -> float:
    """Seconds of the child's processor time that are left, by the scheduler's own account.

    RLIMIT_CPU counts clock ticks instead, which on a busy virtual machine was seen to differ by 10%, and its kill
    looks like any other: it is only the backstop.
    """
    return limit - time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of that process, as clock_getcpuclockid(3)


def _wait(child: _Child, control: int, limits: dict[str, Any], deadline: float) -> str:
    """Until the child ends ("exit"), the judge hangs up, a limit is reached ("cpu", "timeout"), the harness is gone."""
    pid, channel = child.pid, child.channel.fileno()
    process = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(channel, 0)  # hang-up only: data on it is the child's
    poll.register(control, 0)
    cores = len(os.sched_getaffinity(0))
    events: dict[int, int] = {}
    left, cpu_left = limits["wall_s"], limits["cpu_s"]
    while not events and left > 0 and cpu_left > 0:
        events = dict(poll.poll(min(left, max(0.05, cpu_left / cores)) * 1000))
        left, cpu_left = deadline - time.monotonic(), _cpu_left(pid, limits["cpu_s"])
    os.close(process)
    if process in events:
        return "exit"
    if control in events:
        os.kill(pid, 9)
        os._exit(0)
    return "hangup" if events else "cpu" if cpu_left <= 0 else "timeout"


def bury(child: _Child, ended: str, setup: dict[str, Any]) -> dict[str, Any]:
    """Make sure that the child is gone, and say how it ended and what it used."""
    if ended != "exit":
        os.kill(child.pid, 9)
    if setup["tier"] == "unsafe":  # elsewhere there is nobody else: no forks
        with contextlib.suppress(OSError):
            os.killpg(child.pid, 9)
    _, status, usage = os.wait4(child.pid, 0)
    child.channel.close()
    cpu = usage.ru_utime + usage.ru_stime
    return {"ended": ended, "status": status, "cpu_s": round(cpu, 4), "rss_kb": usage.ru_maxrss}


def _warm_up() -> tuple[dict[str, Any], socket.socket]:
    """Settings and the connection to the harness, once all that children have in common is done."""
    setup = json.loads(sys.argv.pop(1))
    control = take_control(setup["control"])
    for name in _PRELOADED.split():
        __import__(name)
    isolate.drop_user(setup["uid"])
    setup["ids"] = os.getuid(), os.getgid()  # in a new user namespace they show as nobody
    isolate.prepare()
    gc.collect()
    gc.disable()
    gc.freeze()
    return setup, control


def _report(control: socket.socket, message: dict[str, Any], following: _Child) -> None:
    with following.judges:
        send(control, message, following.judges.fileno())


def main() -> None:
    """Serve jobs until the harness hangs up. argv[1]: settings as JSON. Every message brings the next judge's end."""
    setup, control = _warm_up()
    child = clone(setup)
    _report(control, {"up": True}, child)
    while True:
        try:
            job, _ = receive(control)
        except (EOFError, OSError):
            os._exit(0)
        deadline = time.monotonic() + setup["limits"]["wall_s"]
        try:
            running, child = child, clone(setup)
            ended = _wait(running, control.fileno(), setup["limits"], deadline)
            report = bury(running, ended, setup)
        except OSError as error:
            send(control, {"id": job["id"], "ended": "error", "text": str(error)[:_REASON]})
            os._exit(1)  # and with it every child
        _report(control, {"id": job["id"], **report}, child)
