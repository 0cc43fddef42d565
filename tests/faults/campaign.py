"""Kill real processes at random moments, again and again, and see that nothing is lost, doubled or half-done.

    python tests/faults/campaign.py [--kills 240] [--seed 0] [--only eval,merge] [--folder DIR]

Each trial starts a command in a process group of its own, kills the whole group (SIGKILL, sometimes SIGTERM first)
at a random moment of its usual time, up to eight times in a row, and after every kill checks that the database opens
and has no error. Then the same command runs to its end: the content digest must equal an undisturbed run's. A forked
server keeps imports out of the time that is hit. One JSON line a scenario; exit code 1 where one failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import duckdb
from scenarios import DB, SCENARIOS, Scenario

from results.check import check
from results.digest import digest
from results.records import StoreError
from results.store import open_store

# Imports once, then forks a command for each line it reads ([folder, argv]); tells its pid, then its exit code.
SERVER = """
import json, os, sys
import duckdb, pyarrow, numpy
from harness.cli import main as cli
import harness.runner, harness.importing._run, harness.scoring.fake, harness.scoring.replay, leaderboard.render
import results.merge, results.repair, results.export, tasks.gsm8k_bon, scenarios
import harness.sweep, harness.scoring.hf, harness.generation.hf, harness.generation._pool, harness.merging._live
import transformers.models.llama.modeling_llama
for line in sys.stdin:
    folder, arguments = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(folder)
        with open(os.devnull, "w") as null, open("stderr.txt", "w") as errors:
            os.dup2(null.fileno(), 1), os.dup2(errors.fileno(), 2)
        if arguments[0] in scenarios.PREPARE:
            scenarios.PREPARE[arguments.pop(0)]()
        sys.argv = ["harness", *arguments]
        cli.main(arguments)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Server:
    """Runs commands, each in a fresh process group, and can kill the group after a while."""

    def __init__(self) -> None:
        here = Path(__file__).resolve()
        paths = os.pathsep.join(map(str, (here.parents[2], here.parent, here.parents[1])))
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, folder: Path, arguments: Sequence[str], kill_after: float | None = None, gentle: bool = False) -> int:
        """Exit code of the command; negative where a signal ended it."""
        pipes = self._process
        assert pipes.stdin is not None
        assert pipes.stdout is not None
        pipes.stdin.write(json.dumps([str(folder), list(arguments)]) + "\n")
        pipes.stdin.flush()
        pid = int(pipes.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            for kind in (signal.SIGTERM, signal.SIGKILL) if gentle else (signal.SIGKILL,):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, kind)
                if kind == signal.SIGTERM:
                    time.sleep(random.uniform(0, 0.05))
        return int(pipes.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass(slots=True)
class Tally:
    """What became of one scenario's trials."""

    kills: int = 0
    hit: int = 0  # kills that met a running command
    trials: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def failed(self) -> bool:
        return any(name not in ("equal",) for name in self.outcomes)


def content(folder: Path, scenario: Scenario) -> str | None:
    """Digest of the folder's database, None where there is none. Raises StoreError for errors in it."""
    if not (folder / DB).exists():
        return None
    if scenario.content is not None:
        return scenario.content(folder)
    sound(folder)
    with open_store(folder / DB, read_only=True) as store:
        return digest(store).total


def sound(folder: Path) -> None:
    """Raise StoreError unless the database opens and has no error."""
    with open_store(folder / DB, read_only=True) as store:
        errors = [finding.code for finding in check(store) if not finding.note]
    if errors:
        raise StoreError(f"check found {errors}")


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, prepared: the folder to start from, an undisturbed end, and the usual time."""

    scenario: Scenario
    start: Path
    whole: Path
    expected: str | None
    seconds: float

    def trial(self, server: Server, tally: Tally, rng: random.Random) -> None:
        """One database, killed up to eight times, then finished."""
        tally.trials += 1
        folder = self.start.parent / f"trial{tally.trials}"
        shutil.copytree(self.start, folder)
        scenario = self.scenario
        try:
            for _ in range(rng.choice((1, 2, 4, 8))):
                moment = rng.uniform(0, 1.1 * self.seconds)
                code = server.run(folder, scenario.command, moment, gentle=rng.random() < 0.2)
                tally.kills += 1
                tally.hit += code != 0
                if scenario.opens_between and (folder / DB).exists():
                    sound(folder)
                scenario.check_between(folder)
            code = server.run(folder, scenario.command)
            if code != 0:
                raise StoreError(f"resumed run exits {code}: {(folder / 'stderr.txt').read_text()[-300:]}")
            same = content(folder, scenario) == self.expected
            scenario.check_end(folder, self.whole)
            outcome = "equal" if same else "DIFFERENT"
        except (StoreError, AssertionError, OSError, duckdb.Error) as error:
            outcome = f"ERROR {type(error).__name__}: {error}"
        tally.outcomes[outcome] += 1
        if outcome == "equal":
            shutil.rmtree(folder)


def run_scenario(server: Server, scenario: Scenario, kills: int, folder: Path, rng: random.Random) -> Tally:
    """Prepare, run undisturbed (three times, for its usual time), then kill `kills` times."""
    start = folder / scenario.name / "start"
    start.mkdir(parents=True)
    scenario.prepare(start, lambda arguments: server.run(start, arguments))
    times = []
    for i in range(3):
        whole = folder / scenario.name / f"whole{i}"
        shutil.copytree(start, whole)
        begun = time.perf_counter()
        code = server.run(whole, scenario.command)
        times.append(time.perf_counter() - begun)
        assert code == 0, f"{scenario.name} undisturbed: exit {code}: {(whole / 'stderr.txt').read_text()}"
    tally, case = Tally(), Case(scenario, start, whole, content(whole, scenario), sorted(times)[1])
    while tally.kills < kills:
        case.trial(server, tally, rng)
    return tally


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(dir=given))
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=240, help="over all scenarios")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="scenarios, with commas between")
    parser.add_argument("--folder", type=Path, default=None, help="keep files of failed trials here")
    options = parser.parse_args()
    wanted = [s for s in SCENARIOS if not options.only or s.name in options.only.split(",")]
    server, bad, total = Server(), False, 0
    try:
        with _folder(options.folder) as folder:
            for scenario in wanted:
                each = -(-options.kills // len(wanted))
                begun = time.perf_counter()
                tally = run_scenario(server, scenario, each, folder, random.Random(f"{options.seed} {scenario.name}"))
                bad, total = bad or tally.failed(), total + tally.kills
                shown = {"scenario": scenario.name, "kills": tally.kills, "met_running": tally.hit,
                         "trials": tally.trials, "outcomes": dict(tally.outcomes),
                         "seconds": round(time.perf_counter() - begun, 1)}  # fmt: skip
                print(json.dumps(shown), flush=True)
    finally:
        server.close()
    print(json.dumps({"kills": total, "ok": not bad}))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
