"""Which Python runs in the boxes, and the files it needs: its standard library and the shared libraries it loads.

Found by asking the interpreter itself, so that a distribution's, a self-built and a conda Python all work. Installed
packages are left out: a candidate sees the standard library only.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.sandbox._limits import SandboxError

_PROBE = """
import ctypes, importlib, json, os, platform, sys, sysconfig
paths = sysconfig.get_paths()
folder = os.path.join(paths["platstdlib"], "lib-dynload")
for name in sorted({f.split(".")[0] for f in os.listdir(folder)} if os.path.isdir(folder) else ()):
    if not name.startswith(("_test", "xx", "_tkinter", "_xx")):
        try: importlib.import_module(name)
        except ImportError: pass
class Info(ctypes.Structure):
    _fields_ = [("addr", ctypes.c_void_p), ("name", ctypes.c_char_p)]
found = []
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Info), ctypes.c_size_t, ctypes.c_void_p)
def each(info, size, data):
    found.append(os.fsdecode(info.contents.name or b""))
    return 0
ctypes.CDLL(None).dl_iterate_phdr(each, None)
print(json.dumps({
    "version": platform.python_implementation() + " " + platform.python_version(),
    "stdlib": sorted({paths["stdlib"], paths["platstdlib"]}),
    "hidden": sorted({paths["purelib"], paths["platlib"]}),
    "libraries": [n for n in found if n.startswith("/")],
}))
"""
_SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/usr/local/lib")


@dataclass(frozen=True, slots=True)
class Runtime:
    """An interpreter and what it needs on disk. All paths are absolute and real."""

    python: str
    version: str  # e.g. "CPython 3.11.7"
    folders: tuple[str, ...]  # standard library, system library folders
    files: tuple[tuple[str, str], ...]  # (real path, path it is loaded by): the interpreter, private libraries
    hidden: tuple[str, ...]  # installed packages inside the folders
    library_path: str  # where the loader finds the libraries, for LD_LIBRARY_PATH


@functools.cache
def runtime(python: str) -> Runtime:
    """What `python` needs. Raises SandboxError when it does not run."""
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True, env={}
        )
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SandboxError(f"the sandbox cannot start the interpreter {python}: {error}") from None
    stdlib = {os.path.realpath(folder) for folder in found["stdlib"]}
    folders = set(stdlib)
    files = {(python, python)}
    for name in found["libraries"]:
        real = os.path.realpath(name)
        if real in (python, os.path.realpath(python)) or any(_inside(real, folder) for folder in stdlib):
            continue
        if real.startswith(_SYSTEM):
            folders |= {str(Path(real).parent), os.path.realpath(Path(name).parent)}
        else:
            files.add((real, name))
    outer = {f for f in folders if not any(f != other and _inside(f, other) for other in folders)}
    hidden = {os.path.realpath(h) for h in found["hidden"] if Path(h).is_dir()}
    hidden = {h for h in hidden if any(_inside(h, f) for f in outer)}
    library_path = ":".join(sorted({str(Path(name).parent) for name in found["libraries"]}))
    parts = (tuple(sorted(outer)), tuple(sorted(files)), tuple(sorted(hidden)))
    return Runtime(python, found["version"], *parts, library_path)


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def own_python() -> str:
    """The interpreter that runs the harness, outside any virtual environment."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(base)


def readable_python() -> str:
    """An interpreter of our version that any user may run: our own, or the system's. Raises SandboxError."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    choices = [own_python(), *filter(None, (shutil.which(name, path="/usr/bin:/usr/local/bin"),))]
    for choice in choices:
        real = Path(os.path.realpath(choice))
        if all(folder.stat().st_mode & 0o001 for folder in [real, *real.parents]):
            return str(real)
    raise SandboxError(
        f"the interpreter {choices[0]} cannot be run by other users, so root cannot give up its rights before "
        f"running a program: install {name} in a folder that every user can read (/usr), or run as an ordinary user"
    )
