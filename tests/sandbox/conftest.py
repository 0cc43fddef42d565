"""Fixtures of the sandbox's tests: tiers, users, and hostile programs run under observation."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # these tests share delegation.py

from delegation import delegated, inside

from tasks.sandbox import SandboxError, Tier, best_tier
from tasks.sandbox._runtime import readable_python

HERE = Path(__file__).parent
ORDINARY_UID = 60999  # in no table of users; nobody else's processes can be mistaken for its leftovers


@functools.cache
def world_readable_copy() -> Path:
    """Our code where any user can read it: a checkout may lie in a folder of root's."""
    folder = Path(tempfile.mkdtemp(prefix="harness-sandbox-tests-"))
    folder.chmod(0o755)
    ignore = shutil.ignore_patterns("__pycache__")
    for part in ("tasks/__init__.py", "tasks/_types.py"):
        (folder / part).parent.mkdir(exist_ok=True)
        shutil.copy(HERE.parents[1] / part, folder / part)
    shutil.copytree(HERE.parents[1] / "tasks/sandbox", folder / "tasks/sandbox", ignore=ignore)
    shutil.copy(HERE / "observe.py", folder / "observe.py")
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _remove_copy() -> Any:
    yield
    if world_readable_copy.cache_info().currsize:
        shutil.rmtree(world_readable_copy())


def as_user(user: str) -> dict[str, Any]:
    """Arguments of subprocess.run to be this user ("root", "ordinary", "self"), and an interpreter it can run."""
    if user == "self" or (user == "root") == (os.getuid() == 0):
        return {"python": sys.executable}
    if user == "root":
        pytest.skip("only root can be root")
    try:
        python = readable_python()
    except SandboxError as error:
        pytest.skip(f"no interpreter for an ordinary user: {error}")
    return {"python": python, "user": ORDINARY_UID, "group": ORDINARY_UID, "extra_groups": []}


def run_python(
    user: str, argv: list[str], timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `python argv...` as this user with our code importable; an ordinary user has control groups of its own."""
    how = as_user(user)
    python = how.pop("python")
    folder = world_readable_copy()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    with contextlib.ExitStack() as stack:
        groups = stack.enter_context(delegated(how["user"])) if "user" in how else []
        with inside(groups):
            process = subprocess.Popen(
                [python, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd="/",
                **how,
            )  # fmt: skip
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session", name="run_python")
def _run_python() -> Any:
    """The function run_python."""
    return run_python


@pytest.fixture(params=["A", "B", "C"])
def tier(request: pytest.FixtureRequest) -> Tier:
    """Each tier that this user can have on this machine; the others are skipped with the reason."""
    try:
        return best_tier(request.param)
    except SandboxError as error:
        unavailable(str(error))


@pytest.fixture(scope="session", name="observed")
def _observed() -> Any:
    """The function observed(user, tier, folder)."""
    return observed


def unavailable(why: str) -> NoReturn:
    """Skip where the machine cannot have a tier; fail where a canary got out, which must not look like a skip."""
    if re.search(r"canary '[^']*': (?!sandbox-error)", why):
        pytest.fail(why)
    pytest.skip(why)


@functools.cache
def observed(user: str, tier: str, folder: str) -> dict[str, Any]:
    """Run a folder of hostile programs under observation: file name -> what was seen; "" -> what was left."""
    done = run_python(user, [str(world_readable_copy() / "observe.py"), tier, folder], timeout=900)
    if "SKIP" in done.stderr:
        unavailable(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
