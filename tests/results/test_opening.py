"""Opening a database: made whole, held by one, refused in one sentence when it cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from stored import dataset, fill

from results import migrations, queries
from results.records import StoreError
from results.store import Store, open_store

Holder = Callable[..., "subprocess.Popen[str]"]


def _refusal(path: Path, **options: bool) -> str:
    with pytest.raises(StoreError) as caught, open_store(path, **options):
        pass
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_a_second_writer_is_told_who_holds_the_file(path: Path, holder: Holder) -> None:
    process = holder()
    for read_only in (False, True):
        text = _refusal(path, read_only=read_only)
        assert f"process {process.pid} (" in text
        assert "--wait" in text


def test_the_sentence_names_the_command_but_none_of_its_values(path: Path, tmp_path: Path) -> None:
    script = tmp_path / "harness"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom results.store import open_store\n"
        "with open_store(Path(sys.argv[-1])):\n    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, str(script), "eval", "--token", "hf_secret", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        text = _refusal(path)
        process.kill()
    assert f"process {process.pid} (harness eval)" in text
    assert "secret" not in text


def test_wait_waits_for_the_other_process(path: Path, holder: Holder) -> None:
    process = holder()
    told: list[str] = []

    def release(sentence: str) -> None:
        told.append(sentence)
        assert process.stdin is not None
        threading.Timer(0.3, process.stdin.close).start()

    with open_store(path, wait=True, notify=release) as store:
        assert migrations.version(store.sql) == migrations.CURRENT
    assert len(told) == 1
    assert str(process.pid) in told[0]


def test_a_killed_holder_holds_nothing(path: Path, holder: Holder) -> None:
    process = holder("store.add_environment({'a': 1}); sys.stdin.read()")
    process.kill()
    process.wait()
    with open_store(path) as store:
        assert store.sql.execute("SELECT version FROM harness_schema").fetchall() == [(migrations.CURRENT,)]


def test_many_processes_may_read(path: Path) -> None:
    with open_store(path) as store:
        fill(store, dataset())
    with open_store(path, read_only=True):
        program = (
            f"import duckdb; print(duckdb.connect({str(path)!r}, read_only=True).sql('FROM runs').fetchall()[0][0])"
        )
        out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "1"


def test_a_newer_version_is_refused_naming_who_can_read_it(path: Path) -> None:
    with open_store(path) as store:
        store.sql.execute("INSERT INTO harness_schema VALUES (99, now()::TIMESTAMP, '7.3.1')")
    for read_only in (False, True):
        text = _refusal(path, read_only=read_only)
        assert "schema version 99" in text
        assert "release 7.3.1" in text


def test_an_older_version_is_not_changed_by_reading(path: Path) -> None:
    with open_store(path) as store:
        store.sql.execute("DELETE FROM harness_schema")
    assert "harness db migrate" in _refusal(path, read_only=True)


def test_a_failed_migration_leaves_the_version_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(path) as store:
        fill(store, dataset())

    def broken(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DROP TABLE rewards")
        raise StoreError("stopped half-way")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, broken))
    monkeypatch.setattr(migrations, "CURRENT", migrations.CURRENT + 1)
    assert "stopped half-way" in _refusal(path)
    monkeypatch.undo()
    with open_store(path, read_only=True) as store:
        assert [c["rewards"] for c in queries.candidates(store)] == [6]


def test_another_programs_database_is_left_alone(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE invoices (a INTEGER)")
    before = path.read_bytes()
    assert "another program (tables: invoices)" in _refusal(path)
    assert "another program" in _refusal(path, read_only=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello", b"not a database" * 10_000])
def test_a_file_that_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "not a DuckDB database" in _refusal(path)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    with open_store(path) as store:
        fill(store, dataset())


def test_a_damaged_database_is_called_damaged(path: Path) -> None:
    with open_store(path) as store:
        fill(store, dataset(200))
    path.write_bytes(path.read_bytes()[:20_000])
    assert "damaged" in _refusal(path)


def test_a_folder_or_a_place_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "folder.duckdb").mkdir()
    assert "is a folder" in _refusal(tmp_path / "folder.duckdb")
    assert "does not exist" in _refusal(tmp_path / "nowhere" / "h.duckdb")
    assert "no such database" in _refusal(tmp_path / "absent.duckdb", read_only=True)
    assert not (tmp_path / "absent.duckdb").exists()


def test_a_name_that_duckdb_reads_as_a_service_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store(Path("md:results")):
        pass
    assert (tmp_path / "md:results").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: the read-only disk below covers it")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert "cannot be written here" in _refusal(folder / "h.duckdb")


def test_unfinished_new_databases_are_swept(path: Path, holder: Holder) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (path.parent / f"{path.name}.new-{dead.pid}").write_bytes(b"half")
    (path.parent / f"{path.name}.new-{dead.pid}.wal").write_bytes(b"half")
    holder()
    assert sorted(p.name for p in path.parent.iterdir() if ".new-" in p.name) == []


def test_two_that_create_at_once_get_one_database(path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom results.store import open_store\n"
        "with open_store(Path(sys.argv[1]), wait=True) as store:\n    store.add_environment({'by': sys.argv[2]})\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(path), str(i)]) for i in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    with open_store(path, read_only=True) as store:
        assert store.sql.execute("SELECT count(*) FROM environments").fetchall() == [(4,)]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_reading_leaves_the_file_as_it_is(path: Path) -> None:
    with open_store(path) as store:
        fill(store, dataset())
    before = path.read_bytes()
    with open_store(path, read_only=True) as store, pytest.raises(StoreError, match="cannot be written"):
        store.add_environment({"a": 1})
    assert path.read_bytes() == before


def test_store_errors_from_inside_name_the_file_once(path: Path) -> None:
    with pytest.raises(StoreError) as caught, open_store(path) as store:
        store.start_run(1, 2, 3, 4, seed=0, command="")
    assert str(caught.value) == f"{path}: candidates has no key 1"


def test_store_is_what_open_store_gives(store: Store) -> None:
    assert store.path.name == "h.duckdb"
