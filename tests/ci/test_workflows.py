"""The workflows: pinned actions, least permissions, nothing untrusted in a shell, and scripts that run anywhere."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WRITES = {("nightly", "history", "contents"), ("nightly", "page", "pages"), ("nightly", "page", "id-token"),
          ("nightly", "report", "issues")}  # fmt: skip


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_actions_are_pinned_by_commit_with_their_release_beside_it(path: Path) -> None:
    uses = re.findall(r"uses: (.*)", path.read_text())
    assert uses
    for line in uses:
        assert re.fullmatch(r"actions/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_permissions_are_given_job_by_job(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    for name, job in jobs(path).items():
        assert "timeout-minutes" in job
        for scope, level in job["permissions"].items():
            assert level == "read" or (path.stem, name, scope) in WRITES, (name, scope)
        for step in job["steps"]:
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_shell_texts_hold_no_expressions(path: Path) -> None:
    for job in jobs(path).values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")


def test_the_demo_night_is_a_valid_configuration() -> None:
    from harness._grid import read_sweep
    from harness.nightly._config import read_nightly

    config = read_nightly(ROOT / ".github" / "nightly.yaml")
    for spec in [*config.recipes.values(), config.models["rm"]]:
        assert Path(spec).exists(), spec
    assert read_sweep(config.recipes["maths"]).recipes[0].sweep == [0.2, 0.4, 0.6]


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **who}, capture_output=True, text=True, check=True
    )
    return done.stdout


def publish(folder: Path) -> str:
    who = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    script = ROOT / ".github" / "publish-results.sh"
    done = subprocess.run(
        ["bash", script, "history"], cwd=folder, env={**os.environ, **who}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with one commit and a bare remote, and a history of one night."""
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "--quiet", "-b", "main")
    (folder / "README").write_text("code\n")
    git(folder, "add", "README")
    git(folder, "commit", "--quiet", "-m", "first")
    git(folder, "remote", "add", "origin", str(tmp_path / "remote.git"))
    (folder / "history" / "nights").mkdir(parents=True)
    (folder / "history" / "nights" / "2026-11-01.json").write_text("{}")
    return folder


def test_the_results_branch_holds_the_history_alone_and_grows_by_a_commit_a_night(clone: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    assert publish(clone) == "pushed the night of 2026-11-01\n"
    assert publish(clone) == "nothing new for the branch results\n"
    (clone / "history" / "nights" / "2026-11-02.json").write_text("{}")
    assert publish(clone) == "pushed the night of 2026-11-02\n"
    assert git(remote, "log", "--format=%s", "results").split("\n")[:2] == [
        "Night of 2026-11-02",
        "Night of 2026-11-01",
    ]
    assert git(remote, "ls-tree", "-r", "--name-only", "results").split() == [
        "nights/2026-11-01.json", "nights/2026-11-02.json"
    ]  # fmt: skip
    assert git(clone, "branch", "--format=%(refname:short)").split() == ["main"]
    assert len(git(clone, "worktree", "list").splitlines()) == 1


def test_the_nightly_script_hands_on_code_and_summary(tmp_path: Path) -> None:
    """A stand-in for the command: the script passes what it is given and reports what came back."""
    (tmp_path / "history" / "nights").mkdir(parents=True)
    (tmp_path / "history" / "nights" / "2026-11-01.md").write_text("# the night\n")
    fake = tmp_path / "fake.sh"
    fake.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/calls\ncase "$*" in *--prune*) exit 0;; esac\nexit 1\n'
    )
    fake.chmod(0o755)
    env = {**os.environ, "HARNESS": str(fake), "CONFIG": "c.yaml", "NIGHT": "2026-11-01; rm -rf x", "DEVICE": "cpu",
           "HISTORY": str(tmp_path / "history"), "GITHUB_OUTPUT": str(tmp_path / "out"),
           "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}  # fmt: skip
    done = subprocess.run(["bash", ROOT / ".github" / "nightly.sh"], env=env, check=False)
    assert done.returncode == 1
    assert (tmp_path / "out").read_text() == "code=1\n"
    assert (tmp_path / "calls").read_text().splitlines() == [
        "nightly c.yaml --date 2026-11-01; rm -rf x --device cpu", "nightly c.yaml --prune --yes"
    ]  # fmt: skip
    assert not (tmp_path / "summary").exists()  # there is no record of such a night
    subprocess.run(["bash", ROOT / ".github" / "nightly.sh"], env={**env, "NIGHT": "2026-11-01"}, check=False)
    assert (tmp_path / "summary").read_text() == "# the night\n"
