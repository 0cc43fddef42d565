"""Check finds every kind of damage; repair says what it would do, does that, and leaves a sound database."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored import dataset, fill

from results import queries
from results.check import Finding, check
from results.digest import digest
from results.repair import plan, repair
from results.store import Store, open_store

DAMAGE = {
    "orphan-rewards": "INSERT INTO rewards VALUES (77, 1, 1, 0, 1.0, 1, false, ''), (1, 1, 1, 9, 1.0, 1, false, '')",
    "doubled-rewards": "INSERT INTO rewards VALUES (1, 1, 1, 0, 0.0, 5, false, ''), (1, 1, 2, 0, 7.5, 5, false, '')",
    "orphan-links": "DELETE FROM examples WHERE key = 3; DELETE FROM rewards WHERE example = 3",
    "orphan-runs": "DELETE FROM protocols; DELETE FROM rewards",
    "changed-examples": 'UPDATE examples SET prompt = \'[["user", "other"]]\' WHERE key = 2',
    "changed-protocols": 'UPDATE protocols SET settings = \'{"backend": "hf"}\'',
    "changed-datasets": "UPDATE dataset_examples SET labels = [0, 1] WHERE position = 1",
    "false-complete": "DELETE FROM rewards WHERE example = 2",
    "pool-rows": "INSERT INTO pool_responses VALUES (9, '0', 0, 'text', '', NULL, NULL, '')",
}


def _errors(store: Store) -> list[Finding]:
    return [finding for finding in check(store) if not finding.note]


def test_a_sound_database_has_no_findings(store: Store) -> None:
    fill(store, dataset())
    assert check(store) == []
    assert plan(store) == []


@pytest.mark.parametrize("code", DAMAGE)
def test_damage_is_found_repaired_and_scored_again(path: Path, code: str) -> None:
    with open_store(path) as store:
        fill(store, dataset())
        whole = digest(store)
        for statement in DAMAGE[code].split(";"):
            store.sql.execute(statement)
        found = [finding.code for finding in _errors(store)]
        assert code in found
        planned = plan(store)
        assert code in [finding.code for finding in planned]
        damaged = digest(store).total
        assert digest(store).total == damaged  # a plan changes nothing
        assert repair(store) == planned
        assert _errors(store) == []
        fill(store, dataset())  # the same eval again
        parts = digest(store).parts
    kept = {"other_rewards"} if code == "doubled-rewards" else set()
    assert {name for name in parts if parts[name] != whole.parts[name]} == kept


def test_a_doubled_reward_keeps_both_values(store: Store) -> None:
    fill(store, dataset())
    store.sql.execute(DAMAGE["doubled-rewards"])
    repair(store)
    assert store.sql.execute("SELECT example, response, reward FROM other_rewards").fetchall() == [(2, 0, 7.5)]
    assert store.sql.execute("SELECT reward FROM rewards WHERE example = 2 AND response = 0").fetchall() == [(2.0,)]


def test_an_interrupted_run_is_a_note_and_becomes_what_it_is(store: Store) -> None:
    fill(store, dataset(), finish=False)
    (finding,) = check(store)
    assert (finding.code, finding.note) == ("interrupted", True)
    repair(store)
    assert [r["status"] for r in queries.runs(store)] == ["complete"]  # every reward was there
    fill(store, dataset(), "n", finish=False)
    store.sql.execute("DELETE FROM rewards WHERE candidate = 2 AND example = 1")
    repair(store)
    row = queries.runs(store)[1]
    assert (row["status"], row["reason"]) == ("failed", "stopped before its end: 2 of 6 responses have no reward")


def test_a_repair_that_fails_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from results import repair as module

    fill(store, dataset())
    store.sql.execute(DAMAGE["doubled-rewards"])
    store.sql.execute(DAMAGE["false-complete"])
    before = digest(store).total
    monkeypatch.setitem(module._REPAIRS, "false-complete", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        repair(store)
    assert digest(store).total == before
