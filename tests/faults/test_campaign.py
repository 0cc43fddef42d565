"""The fault campaign, small: every scenario is killed at least once; `campaign.py` does it hundreds of times."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from campaign import Server, run_scenario
from scenarios import SCENARIOS, Scenario


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_killed_command_finishes_as_if_undisturbed(server: Server, scenario: Scenario, tmp_path: Path) -> None:
    tally = run_scenario(server, scenario, 1, tmp_path, random.Random(scenario.name))
    assert tally.kills >= 1
    assert dict(tally.outcomes) == {"equal": tally.trials}
