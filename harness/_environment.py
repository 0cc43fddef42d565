"""What a run ran on: versions, processor, GPU, threads, command line, commit. No environment dump, secrets masked."""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "merged-rm-harness",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "vllm",
    "duckdb",
    "numpy",
    "scipy",
)
_WORD = r"(?:token|key|passw(?:or)?d|secret|signature|credential|sig)"
_SECRETS = (
    (re.compile(r"\b(hf_|sk-|gh[opsur]_|github_pat_|glpat-|xox[abp]-|AKIA)[A-Za-z0-9_-]{8,}"), r"\1***"),
    (re.compile(r"(://)[^/@\s]+@"), r"\1***@"),
    (re.compile(r"(Bearer\s+)[^\s'\"]+", re.IGNORECASE), r"\1***"),
    (re.compile(rf"({_WORD}['\"]?(?:=|:\s*))[^\s&'\"]+", re.IGNORECASE), r"\1***"),
    (re.compile(rf"(--[\w-]*{_WORD}\s+)[^\s&'\"]+", re.IGNORECASE), r"\1***"),
)


def mask(text: str) -> str:
    """Hide access tokens, credentials in URLs and key=value secrets."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def command_line() -> str:
    """The command line of this process as it can be typed again, with secrets masked."""
    program = Path(sys.argv[0]).name
    return mask(shlex.join(["harness" if program == "__main__.py" else program, *sys.argv[1:]]))


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Python's version, and those of the given packages that are installed (default: what a reward depends on)."""
    found = {name: _version(name) for name in packages}
    return {"python": platform.python_version()} | {name: known for name, known in found.items() if known}


@functools.cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Git commit of the harness' own checkout, when it runs from one; "-dirty" where files were changed since."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _driver() -> str | None:
    """Version line of the NVIDIA kernel driver, where there is one."""
    try:
        return Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, IndexError):
        return None


def environment() -> dict[str, Any]:
    """The environment as recorded with every run; torch is asked only when it is already loaded."""
    found: dict[str, Any] = {
        "versions": versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "commit": _commit(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name(0)
            found["cuda"] = torch.version.cuda
            found["driver"] = _driver()
    return found
