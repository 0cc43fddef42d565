"""Nights with real tiny checkpoints: the gate, the history, doing it twice, being killed, two at once, pruning."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.nightly import _night
from leaderboard.nights import as_text, read_nights
from results.digest import digest
from results.store import open_store


def test_three_nights_with_a_ruined_model(world: Any, tmp_path: Path) -> None:
    first = world.night("2026-11-01")
    assert (first.night.exit_code, first.night.verdicts, first.report) == (0, [], None)
    second = world.night("2026-11-02")
    assert (second.night.exit_code, second.night.verdict) == (0, "identical")
    world.change(0.5)
    third = world.night("2026-11-03")
    assert (third.night.exit_code, third.night.verdict) == (1, "regression")
    assert [(v.role, v.verdict, v.against) for v in third.night.verdicts] == [
        ("production", "regression", "2026-11-02"),
        ("length", "identical", "2026-11-02"),
    ]
    good, bad = (n.night.score("production", "mine").metrics["score"] for n in (second, third))
    assert good[0] == pytest.approx(0.9)
    assert bad[0] < 0.7
    page = (tmp_path / "site" / "nights.html").read_text()
    assert "3 nights, the last one 2026-11-03" in page
    assert "▼ regression" in page
    assert page.count('<svg class="chart"') == 2
    assert "regression: worse by more than 0.5 points" in (tmp_path / "history/nights/2026-11-03.md").read_text()


def test_the_page_of_nights_from_any_database(world: Any, harness: Any, tmp_path: Path) -> None:
    world.night("2026-11-01")
    built = harness("leaderboard", "build", "--db", "nightly.duckdb", "--history", "history", "-o", "other")
    assert built.returncode == 0, built.stderr
    assert "1 night, the last one 2026-11-01" in (tmp_path / "other" / "nights.html").read_text()


def test_one_glob_reads_every_night(world: Any, tmp_path: Path) -> None:
    import duckdb

    world.night("2026-11-01")
    world.change(0.5)
    world.night("2026-11-02")
    glob = f"'{tmp_path}/history/rewards/**/*.parquet', hive_partitioning=true"
    rows = duckdb.sql(f"SELECT night::VARCHAR, candidate, count(*) FROM read_parquet({glob}) GROUP BY ALL ORDER BY ALL")
    assert rows.fetchall() == [  # each night has its own players and nobody else's
        (night, name, 300) for night in ("2026-11-01", "2026-11-02") for name in ("baseline:length", "production")
    ]


def test_the_same_night_again_changes_nothing(world: Any, tmp_path: Path, files: Any) -> None:
    world.night("2026-11-01")
    world.change(0.5)
    done = world.night("2026-11-02")
    before, database = files(), (tmp_path / "nightly.duckdb").read_bytes()
    again = world.night("2026-11-02")
    assert world.notes[-1] == "the night of 2026-11-02 is finished: nothing to do"
    assert as_text(again.night) == as_text(done.night)
    assert again.night.exit_code == 1  # a repeated job does not turn green
    assert files() == before
    assert (tmp_path / "nightly.duckdb").read_bytes() == database


def test_another_model_on_the_same_date_replaces_the_night(world: Any) -> None:
    world.night("2026-11-01")
    world.change(0.5)
    assert world.night("2026-11-02").night.exit_code == 1
    world.change(0.0)
    again = world.night("2026-11-02").night
    assert again.exit_code == 0
    assert [(v.verdict, v.against) for v in again.verdicts] == [("identical", "2026-11-01")] * 2  # not against itself
    assert any("is done again: models, data or gate are others than before" in note for note in world.notes)
    assert [n.night for n in read_nights(world.config.history)] == ["2026-11-01", "2026-11-02"]


@pytest.mark.parametrize("step", ["judge_night", "export", "clear_night", "write_whole", "write_night", "build_site"])
def test_a_night_stopped_at_any_step_is_finished_by_the_same_command(
    world: Any, files: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    world.night("2026-11-01")
    world.change(0.5)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_night, step, stop)
        with pytest.raises(KeyboardInterrupt):
            world.night("2026-11-02")
    assert world.night("2026-11-02").night.exit_code == 1
    stopped = {path: text for path, text in files().items() if path.startswith("history/nights")}
    content = _content(tmp_path / "nightly.duckdb")
    for path in ("history", "site"):
        _remove(tmp_path / path)
    (tmp_path / "nightly.duckdb").unlink()
    world.change(0.0)
    world.night("2026-11-01")
    world.change(0.5)
    world.night("2026-11-02")
    assert {path: text for path, text in files().items() if path.startswith("history/nights")} == stopped
    assert _content(tmp_path / "nightly.duckdb") == content


def _content(db: Path) -> str:
    with open_store(db, read_only=True) as store:
        return digest(store).total


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "nightly", "nightly.yaml", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("world")
def test_killed_for_good_and_run_again(tmp_path: Path) -> None:
    for stage in ("nightly.duckdb", "history/rewards/night=2026-11-01", "history/nights/2026-11-01.json"):
        process = start(tmp_path, "--date", "2026-11-01")
        limit = time.monotonic() + 120
        while not (tmp_path / stage).exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = start(tmp_path, "--date", "2026-11-01")
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert "production on mine: complete, 90.00" in out
    assert (tmp_path / "site" / "nights.html").is_file()
    assert sorted(p.name for p in (tmp_path / "history" / "nights").iterdir()) == ["2026-11-01.json", "2026-11-01.md"]


def test_two_at_once_the_second_waits_and_finds_the_night_finished(world: Any, tmp_path: Path) -> None:
    from harness.nightly._lock import alone

    with alone(world.config.db, lambda _: None):
        second = start(tmp_path, "--date", "2026-11-01", "--json")
        assert second.stderr is not None
        assert second.stderr.readline() == "waiting: another 'harness nightly' is at work on nightly.duckdb\n"
        assert not (tmp_path / "history").exists()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert json.loads(out)["night"] == "2026-11-01"
    both = [start(tmp_path, "--date", "2026-11-02", "--json") for _ in range(2)]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert told[0][0] == told[1][0]
    assert sum("is finished: nothing to do" in err for _, err in told) == 1


def prune(harness: Any, *more: str) -> Any:
    return harness("nightly", "nightly.yaml", "--prune", *more)


def test_pruning_prints_first_keeps_releases_and_can_be_repeated(world: Any, harness: Any, tmp_path: Path) -> None:
    for number, scale in enumerate((0.0, 0.3, 0.4, 0.5), start=1):
        world.change(scale)
        world.night(f"2026-11-0{number}")
    world.configure(retention={"nights": 1}, releases={"v1": "2026-11-02"})
    before = _content(tmp_path / "nightly.duckdb")
    shown = prune(harness)
    assert shown.returncode == 0, shown.stderr
    assert "nights kept: 2026-11-02, 2026-11-04" in shown.stdout
    assert "nights whose per-example rows go: 2026-11-01, 2026-11-03" in shown.stdout
    assert "2 runs with 600 rewards" in shown.stdout
    assert shown.stdout.endswith("nothing was deleted: --prune --yes does it\n")
    assert _content(tmp_path / "nightly.duckdb") == before
    assert prune(harness, "--yes").stdout.endswith("deleted; summaries are kept\n")
    assert prune(harness, "--yes").stdout.startswith("nothing to prune")
    kept = {p.name for p in (tmp_path / "history" / "rewards").iterdir()}
    assert kept == {"night=2026-11-02", "night=2026-11-04"}
    for table in ("runs", "metrics"):
        assert len(list((tmp_path / "history" / table).iterdir())) == 4
    assert len(read_nights(tmp_path / "history")) == 4
    assert harness("db", "check", "--db", "nightly.duckdb").returncode == 0
    world.configure(retention={"nights": 1}, releases={"v1": "2026-11-02"}, gate={"baseline": "v1"})
    night = world.night("2026-11-05").night  # the release's rows are there to be held against
    assert [v.against for v in night.verdicts if v.role == "production"] == ["v1"]
    assert {v.verdict for v in night.verdicts} <= {"regression", "not worse", "inconclusive", "identical"}


def test_a_release_without_a_record_stops_pruning_and_gating(world: Any, harness: Any) -> None:
    world.night("2026-11-01")
    world.configure(releases={"v1": "2026-10-01"}, gate={"baseline": "v1"})
    for done in (prune(harness, "--yes"), harness("nightly", "nightly.yaml", "--date", "2026-11-02")):
        assert done.returncode == 2
        assert "2026-10-01, which is not in history" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_sweep_has_a_role_for_every_lambda(world: Any, tiny: Path, tmp_path: Path) -> None:
    recipe = {"rm": str(tiny / "rm"), "experts": [str(tiny / "sft")], "sweep": [0.1, 0.3], "baselines": ["rm"]}
    (tmp_path / "maths.yaml").write_text(json.dumps(recipe))
    world.configure(recipes={"maths": "maths.yaml"})
    night = world.night("2026-11-01").night
    assert night.roles == ["production", "length", "maths: rm", "maths λ=0.1", "maths λ=0.3"]
    assert night.score("maths: rm", "mine").run == night.score("production", "mine").run  # one content, two roles


def test_a_failed_run_is_recorded_and_tried_again(world: Any) -> None:
    world.configure(tasks=["mbpp_bon"])
    for _ in range(2):
        night = world.night("2026-11-01").night
        assert night.exit_code == 3
        assert {s.status for s in night.scores if s.task == "mbpp_bon"} == {"failed"}
        assert night.score("production", "mine") is not None
    assert "the night of 2026-11-01 is finished: nothing to do" not in world.notes
