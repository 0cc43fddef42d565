"""The judge's side: runs the data set's asserts with genuine builtins on plain data. Never runs candidate code.

To a test, each name that the program defines is a `Proxy`: calling it asks the candidate's process and gives back
plain data, or another proxy for anything that is not (an instance of the program's own class, say). On a proxy only
calling, reading and setting a plain attribute and passing it back are possible (test_setup_code of MBPP needs these);
every other operation raises, so an object of the program's can never decide an assert.

What the program defines does not replace builtins and modules that a test uses, with one exception: where the tests
call nothing but one builtin's name (MBPP 126 asks for a function `sum`), that name is the function under test.
"""

from __future__ import annotations

import ast
import builtins
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import types
from collections.abc import Iterator
from typing import Any

from . import isolate, seccomp, wire
from .control import receive, send, take_control

# modules that tests use through the program's own import (MBPP 596: sys); the judge's genuine ones are handed out
_MODULES = frozenset(
    {"math", "cmath", "sys", "re", "string", "random", "collections", "itertools", "functools", "operator", "heapq"}
    | {"bisect", "copy", "datetime", "decimal", "fractions", "statistics", "json", "time"}
)
_BUILTINS = frozenset(dir(builtins))
_GRACE_S = 3
_JUDGE_CPU_S = 5.0  # at least; decoding and comparing the largest values takes well under one
_MEMORY_BYTES = 3 << 30
_REFUSED = """
    eq ne lt le gt ge hash bool len iter next contains getitem setitem delitem int float index complex round abs neg
    pos invert add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod divmod rdivmod pow rpow matmul
    and rand or ror xor rxor lshift rlshift rshift rrshift iadd isub imul str repr format bytes enter exit await
    reversed delattr instancecheck subclasscheck
"""


class OpaqueError(Exception):
    """A test used an object of the program's as if it were plain data."""


class CandidateError(Exception):
    """The program raised: `kind` is exception, memory or output-limit."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class BadTestError(Exception):
    """The tests do what cannot work across the wall, whatever the program."""


class Proxy:
    """Something in the candidate's process: a global by name, or an object by number."""

    __slots__ = ("_line", "_wired")

    def __init__(self, line: Line, wired: dict[str, Any]) -> None:
        object.__setattr__(self, "_line", line)
        object.__setattr__(self, "_wired", wired)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        line: Line = object.__getattribute__(self, "_line")
        encoded = {"a": [line.encode(a) for a in args], "k": {k: line.encode(v) for k, v in kwargs.items()}}
        return line.ask({"op": "call", "on": object.__getattribute__(self, "_wired"), **encoded})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        line: Line = object.__getattribute__(self, "_line")
        return line.ask({"op": "get", "on": object.__getattribute__(self, "_wired"), "name": name})

    def __setattr__(self, name: str, value: Any) -> None:
        line: Line = object.__getattribute__(self, "_line")
        wired = object.__getattribute__(self, "_wired")
        line.ask({"op": "set", "on": wired, "name": name, "a": line.encode(value)})


def _refuse(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OpaqueError(f"'{name}' on an object that is not plain data")

    return refuse


for _name in _REFUSED.split():
    setattr(Proxy, f"__{_name}__", _refuse(_name))


class Match(Proxy):
    """A re.Match: as always in Python, it is true. Nothing else about it can be asked either."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


class Line:
    """The connection to one candidate: questions out, plain data and proxies back."""

    def __init__(self, descriptor: int, cap: int) -> None:
        self.descriptor, self.cap = descriptor, cap

    def _handle(self, tag: str, body: Any) -> Proxy:
        if tag == "g" or type(body) is not int:
            raise wire.BadWireError("bad handle")
        return (Match if tag == "m" else Proxy)(self, {"h": body})

    def _opaque(self, value: Any) -> Any:
        if isinstance(value, Proxy):
            return object.__getattribute__(value, "_wired")
        raise BadTestError(f"a test passes a {type(value).__name__}, which is not plain data")

    def encode(self, value: Any) -> Any:
        return wire.Encoder(self._opaque, self.cap).encode(value)

    def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send, wait, and check for the program's failure. Raises CandidateError and what wire.receive raises."""
        wire.write(self.descriptor, wire.pack(message))
        reply = wire.receive(self.descriptor, self.cap * 2 + 1024)  # tags and brackets cost more than what they hold
        if type(reply) is not dict:
            raise wire.BadWireError("not a reply")
        if "x" in reply:
            raise CandidateError(str(reply["x"]), str(reply.get("text", "")))
        return reply

    def ask(self, message: dict[str, Any]) -> Any:
        reply = self.exchange(message)
        if "v" not in reply:
            raise wire.BadWireError("not a reply")
        return wire.decode(reply["v"], self._handle)


def _mentioned(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _mentioned(constant)


def _tested_builtins(sources: list[str]) -> set[str]:
    """The builtin name under test: the innermost called name of each test, when tests call nothing but builtins."""
    innermost: set[str] = set()
    for source in sources:
        calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
        if any(not isinstance(c.func, ast.Name) or c.func.id not in _BUILTINS for c in calls):
            return set()
        inner = [c for c in calls if not any(isinstance(n, ast.Call) for n in ast.walk(c) if n is not c)]
        innermost |= {c.func.id for c in inner if isinstance(c.func, ast.Name)}
    return innermost if len(innermost) == 1 else set()


def _namespace(line: Line, names: dict[str, str], codes: list[types.CodeType], tests: list[str]) -> dict[str, Any]:
    """Globals for setup and tests: genuine builtins, and proxies for the program's names that the tests mention."""
    space: dict[str, Any] = {"__name__": "tests", "__builtins__": dict(vars(builtins))}
    wanted = {name for code in codes for name in _mentioned(code)} & names.keys()
    shadowing = wanted & _BUILTINS
    if shadowing:
        wanted -= shadowing - _tested_builtins(tests)
    for name in wanted:
        if name in _MODULES:
            space[name] = importlib.import_module(name)
        elif names[name] == "v":
            space[name] = line.ask({"op": "value", "on": {"g": name}})
        else:
            space[name] = Proxy(line, {"g": name})
    return space


def _compile(setup: str, tests: list[str]) -> list[types.CodeType]:
    codes = []
    for i, source in enumerate([setup, *tests]):
        try:
            codes.append(compile(source, f"<test {i}>" if i else "<setup>", "exec"))
        except (SyntaxError, ValueError) as error:
            raise BadTestError(f"{f'test {i}' if i else 'the setup code'} is not valid Python: {error}") from None
    return codes


def judge(job: dict[str, Any], descriptor: int) -> dict[str, Any]:
    """Run one program's tests. `outcome` says how it went, `done` how many tests held, `text` why it stopped."""
    done = -1  # -1: the candidate's process was not even ready
    line = Line(descriptor, job["output_bytes"])
    try:
        codes = _compile(job["setup"], job["tests"])
        first = wire.receive(descriptor, 1024)
        if first != {"ready": True}:
            raise EOFError(first["refused"])
        done = 0
        names = line.exchange({"program": job["program"]}).get("names")
        if type(names) is not dict:
            raise wire.BadWireError("no names")
        space = _namespace(line, names, codes, job["tests"])
        exec(codes[0], space)
        for code in codes[1:]:
            exec(code, space)
            done += 1
    except BaseException as error:  # noqa: BLE001 (a SystemExit out of a test is an answer too)
        return {"outcome": _outcome(error), "done": done, "text": _text(error)}
    return {"outcome": "pass", "done": done, "text": ""}


def _outcome(error: BaseException) -> str:
    if isinstance(error, CandidateError):
        return error.kind if error.kind in ("memory", "output-limit") else "exception"
    kinds: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
        (AssertionError, "assertion"),
        (BadTestError, "bad-test"),
        (OpaqueError, "opaque"),
        ((EOFError, ConnectionError), "gone"),
        ((wire.TooLargeError, MemoryError), "output-limit"),
        (wire.BadWireError, "bad-reply"),
        (NameError, "name"),
    ]
    return next((name for kind, name in kinds if isinstance(error, kind)), "test-raised")


def _text(error: BaseException) -> str:
    text = str(error)[:300]
    return text if isinstance(error, CandidateError | BadTestError | OpaqueError) else f"{type(error).__name__}: {text}"


def _restrict(setup: dict[str, Any]) -> None:
    """The judge needs no rights either: bounded memory, and outside "unsafe" the same filter."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    if setup["tier"] == "unsafe":
        return
    isolate.drop_capabilities()
    seccomp.install(isolate.libc, seccomp.build(os.getpid(), writing=False, judge=True))


def main() -> None:
    """Serve jobs until the harness hangs up. argv[1]: settings as JSON."""
    setup = json.loads(sys.argv.pop(1))
    control = take_control(setup["control"])
    isolate.drop_user(setup["uid"])
    for name in _MODULES:
        importlib.import_module(name)
    _restrict(setup)
    gc.freeze()
    send(control, {"up": True})
    while True:
        try:
            job, (descriptor,) = receive(control)
        except (EOFError, OSError):
            os._exit(0)
        # data can be made to hang the judge: its own processor time is bounded, and it never outlives the candidate
        signal.setitimer(signal.ITIMER_PROF, max(_JUDGE_CPU_S, job["cpu_s"]))
        signal.alarm(int(job["wall_s"]) + _GRACE_S)
        with socket.socket(fileno=descriptor):
            report = judge(job, descriptor)
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(control, {"id": job["id"], **report})
