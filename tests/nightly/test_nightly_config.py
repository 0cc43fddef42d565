"""The nightly configuration and its roles: what is refused, in which sentence, and which night is the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import ConfigError
from harness.nightly._config import read_nightly
from harness.nightly._gate import earlier_night
from leaderboard._errors import LeaderboardError
from leaderboard.nights import Night, NightScore, NightVerdict, read_nights, write_night

GOOD: dict[str, Any] = {"models": {"a": "baseline:length"}, "tasks": ["autoj"]}


def write(folder: Path, **more: Any) -> Path:
    path = folder / "nightly.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **more}))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"taks": []}, "unknown key 'taks': did you mean 'tasks'?"),
        ({"gate": {"marign": 1}}, "unknown key 'gate.marign': did you mean 'margin'?"),
        ({"gate": {"alpha": 5}}, "gate.alpha: input should be less than 0.5"),
        ({"gate": {"margin": -1}}, "gate.margin: input should be greater than or equal to 0"),
        ({"retention": {"nights": 0}}, "retention.nights: input should be greater than or equal to 1"),
        ({"releases": {"v1": "yesterday"}}, "releases: 'yesterday' is not a date like 2026-11-22"),
        ({"releases": {"previous": "2026-11-22"}}, "a release needs another name"),
        ({"models": {}}, "nothing to evaluate: give 'models' or 'recipes'"),
        ({"tasks": []}, "nothing to evaluate on"),
        ({"recipes": {"a": "x.yaml"}}, "'a' is the name of a model and of a recipe"),
        ({"scoring": {"truncation_side": "middle"}}, "scoring.truncation_side"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write(tmp_path, **change)
    with pytest.raises(ConfigError) as error:
        read_nightly(path)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)


def test_not_yaml_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "nightly.yaml").write_text("models: [")
    with pytest.raises(ConfigError, match=r"nightly.yaml:\d+: not valid YAML"):
        read_nightly(tmp_path / "nightly.yaml")
    with pytest.raises(ConfigError, match="there is no such file"):
        read_nightly(tmp_path / "none.yaml")


def test_paths_are_the_files_own_folders(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    config = read_nightly(write(tmp_path, models={"a": "m", "b": "org/model", "c": "baseline:length"}))
    assert config.models == {"a": str(tmp_path / "m"), "b": "org/model", "c": "baseline:length"}
    assert (config.db, config.history, config.site) == (
        tmp_path / "nightly.duckdb", tmp_path / "history", tmp_path / "site"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--date", "2026-02-30"], "--date: '2026-02-30' is not a date"),
        (["--date", "20261122"], "--date: '20261122' is not a date"),
        (["--yes"], "--yes answers --prune"),
        (["--prune"], "there is no such database: nothing to prune"),
    ],
)
def test_mistakes_on_the_command_line(harness: Any, tmp_path: Path, arguments: list[str], words: str) -> None:
    write(tmp_path)
    done = harness("nightly", "nightly.yaml", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "nightly.duckdb").exists()


def test_an_unknown_baseline_is_told_with_the_known_ones(harness: Any, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"id": "1", "prompt": "p", "responses": ["a", "b c"], "correct": [true, false]}\n'
    )
    write(tmp_path, tasks=[], task_files={"t": "t.jsonl"}, gate={"baseline": "prevoius"})
    done = harness("nightly", "nightly.yaml", "--date", "2026-11-01")
    assert done.returncode == 2
    assert "did you mean 'previous'?" in done.stderr


def night(date: str, verdict: str = "", status: str = "complete") -> Night:
    score = NightScore("a", "t", "m", f"id {date}", f"run {date}", status)
    verdicts = [NightVerdict("a", "t", verdict, "", "", "")] if verdict else []
    return Night(date, "", [score], verdicts, verdict, {}, 0)


@pytest.mark.parametrize(
    ("baseline", "expected"), [("previous", "2026-11-03"), ("last-good", "2026-11-01"), ("v1", "2026-11-02")]
)
def test_which_night_is_the_baseline(tmp_path: Path, baseline: str, expected: str) -> None:
    config = read_nightly(write(tmp_path, gate={"baseline": baseline}, releases={"v1": "2026-11-02"}))
    nights = [night("2026-11-01", "not worse"), night("2026-11-02", "regression"), night("2026-11-03", "regression"),
              night("2026-11-04", status="failed")]  # fmt: skip
    found = earlier_night(config, "a", "t", nights)
    assert found is not None
    assert found.night == expected
    assert earlier_night(config, "b", "t", nights) is None


def test_records_come_back_as_they_were_and_damage_is_told(tmp_path: Path) -> None:
    one = night("2026-11-01", "regression")
    path = write_night(tmp_path, one)
    assert read_nights(tmp_path) == [one]
    path.write_text('{"version": 99}')
    with pytest.raises(LeaderboardError, match="newer release"):
        read_nights(tmp_path)
    path.write_text('{"version": 1')
    with pytest.raises(LeaderboardError, match="not the record of a night"):
        read_nights(tmp_path)
