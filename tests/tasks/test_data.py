"""Where data comes from, what is recorded about it, and what a damaged file says."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from tasks import _data
from tasks._data import Hub, Published, Url, load, load_file
from tasks._schema import did_you_mean, read_content, read_rows
from tasks._types import LoadRequest, TaskError

ROW = b'{"a": "x"}\n'
HUB = Hub("some/data", "main", "test", "f" * 40)


def published(**changes: object) -> Published:
    base: dict[str, object] = {
        "name": "Some data",
        "task": "some",
        "paths": ("some/data.parquet", "some/data.jsonl"),
        "sha256": {hashlib.sha256(ROW).hexdigest(): "v1"},
        "remote": HUB,
    }
    return Published(**(base | changes))  # type: ignore[arg-type]


def test_a_named_file_wins_over_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "data.jsonl").write_bytes(ROW)
    (tmp_path / "mine.jsonl").write_bytes(b'{"a": "mine"}\n')
    request = LoadRequest(data_dir=tmp_path)
    assert load(published(), request).rows[0].text("a") == "x"
    mine = load(published(), request, tmp_path / "mine.jsonl")
    assert mine.rows[0].text("a") == "mine"
    assert not mine.source.pinned
    assert "is not the Some data this release was checked with" in mine.notes[0]
    assert mine.source.sha256 == hashlib.sha256(b'{"a": "mine"}\n').hexdigest()


def test_a_known_hash_is_pinned_to_its_revision(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(ROW)
    loaded = load_file(tmp_path / "d.jsonl", "Some data", published().sha256)
    assert (loaded.source.pinned, loaded.source.revision, loaded.notes) == (True, "v1", ())


def test_first_path_that_exists_is_read(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "data.jsonl").write_bytes(ROW)
    pq.write_table(pa.table({"a": ["from parquet", "b"], "n": [1, 2]}), tmp_path / "some" / "data.parquet")
    rows = load(published(), LoadRequest(data_dir=tmp_path)).rows
    assert [(row.text("a"), row.whole("n")) for row in rows] == [("from parquet", 1), ("b", 2)]
    assert rows[1].where.endswith("data.parquet row 2")


def test_missing_in_the_data_directory_says_so_and_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Table:
        def to_list(self) -> list[dict[str, str]]:
            return [{"a": "from the hub"}]

    def fake(*args: object, **kwargs: object) -> Table:
        calls.append((args, kwargs))
        return Table()

    monkeypatch.setattr("datasets.load_dataset", fake)
    said: list[str] = []
    loaded = load(published(), LoadRequest(data_dir=tmp_path, notify=said.append))
    assert calls == [(("some/data", "main"), {"split": "test", "revision": "f" * 40})]
    assert loaded.rows[0].text("a") == "from the hub"
    assert (loaded.source.revision, loaded.source.pinned) == ("f" * 40, True)
    assert len(loaded.source.sha256) == 64
    assert "some/data.parquet or some/data.jsonl" in said[0]


def test_offline_hub_is_one_sentence() -> None:
    with pytest.raises(TaskError) as caught:
        load(published(remote=Hub("no-such-owner/no-such-data", None, "test", "f" * 40)), LoadRequest())
    text = str(caught.value)
    assert "--data-dir DIR" in text
    assert "--data some=FILE" in text
    assert "\n" not in text


def test_url_downloads_once_and_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "remote.jsonl").write_bytes(ROW)
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(Url, "address", property(lambda _: (tmp_path / "remote.jsonl").as_uri()))
    fetched: list[str] = []

    def copy(url: str, output_file: str, _pooch: object, **_: object) -> None:
        fetched.append(url)
        Path(output_file).write_bytes((tmp_path / "remote.jsonl").read_bytes())

    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: copy)
    what = published(remote=Url("owner/repo", "v1", "data.jsonl"))
    first, second = load(what, LoadRequest()), load(what, LoadRequest())
    assert len(fetched) == 1
    assert (list(first.rows), first.source) == (list(second.rows), second.source)
    assert (first.source.location, first.source.revision, first.source.pinned) == ("owner/repo/data.jsonl", "v1", True)


def test_a_download_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))

    def forged(_url: str, output_file: str, _pooch: object, **_: object) -> None:
        Path(output_file).write_bytes(b'{"a": "forged"}\n')

    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: forged)
    with pytest.raises(TaskError, match=r"could not be fetched from owner/repo/data\.jsonl"):
        load(published(remote=Url("owner/repo", "v1", "data.jsonl")), LoadRequest())


def test_no_such_data_directory(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no such data directory"):
        load(published(), LoadRequest(data_dir=tmp_path / "nowhere"))


def rows_of(path: Path, content: bytes) -> list[dict[str, object]]:
    path.write_bytes(content)
    return [dict(row.data) for row in read_rows(read_content(path))]


def test_formats_are_told_apart_by_content(tmp_path: Path) -> None:
    want = [{"a": 1}, {"a": 2}]
    lines = b'{"a": 1}\n\n{"a": 2}\n'
    assert rows_of(tmp_path / "x.json", lines) == want
    assert rows_of(tmp_path / "x.jsonl", json.dumps(want, indent=2).encode()) == want
    assert rows_of(tmp_path / "x.txt", gzip.compress(lines)) == want
    assert rows_of(tmp_path / "x.bom", b"\xef\xbb\xbf" + lines) == want
    assert rows_of(tmp_path / "x.crlf", lines.replace(b"\n", b"\r\n")) == want


def test_unicode_line_separators_stay_inside_strings(tmp_path: Path) -> None:
    text = '{"a": "one\u2028two\u0085three"}\n{"a": "four"}\n'
    rows = rows_of(tmp_path / "x.jsonl", text.encode())
    assert [row["a"] for row in rows] == ["one\u2028two\u0085three", "four"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty"]),
        (b" \n \n", ["is empty"]),
        (b"[]", ["is empty"]),
        (b'{"a": 1}\n{"a": }\n', ["x.jsonl:2", "not valid JSON", "column 7"]),
        (b'{"a": 1}\n{"a": "cut of', ["x.jsonl:2", "not valid JSON"]),
        (b'{"a": 1}\n[1, 2]\n', ["x.jsonl:2", "object", "[1, 2]"]),
        (b'[{"a": 1}, 3]', ["row 2", "object", "3"]),
        (b'[\n{"a": 1},\n{"a": \n]', ["line 4"]),
        (b'{"a": "\xff"}\n', ["x.jsonl:1", "UTF-8"]),
        (b"\x1f\x8b not gzip", ["gzip", "damaged"]),
        (gzip.compress(ROW * 50)[:-12], ["gzip", "damaged"]),
        (b"PAR1 is not enough", ["Parquet", "damaged"]),
        (b'{"a": ' + b"[" * 100_000 + b"\n", ["x.jsonl:1", "nested too deeply"]),
        (b'{"a": ' + b"9" * 5000 + b"}\n", ["x.jsonl:1", "not valid JSON"]),
    ],
)
def test_damaged_files_say_where(tmp_path: Path, content: bytes, words: list[str]) -> None:
    with pytest.raises(TaskError) as caught:
        rows_of(tmp_path / "x.jsonl", content)
    assert all(word in str(caught.value) for word in ["x.jsonl", *words]), str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no such file"):
        read_content(tmp_path / "nothing.jsonl")
    with pytest.raises(TaskError, match="is a folder"):
        read_content(tmp_path)


def test_did_you_mean() -> None:
    assert did_you_mean("curent", ["current", "old"]) == "did you mean 'current'? known: current, old"
    assert did_you_mean("zzz", []) == "known: none"


def test_heavy_libraries_are_imported_only_when_needed() -> None:
    import subprocess
    import sys

    code = (
        "import sys, tasks.rewardbench, tasks.autoj, tasks.gsm8k_bon, tasks.mbpp_bon, tasks._custom\n"
        "print([m for m in ('datasets', 'pooch', 'pyarrow', 'torch', 'numpy', 'tasks.sandbox') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sources_are_pinned_to_full_commits() -> None:
    from tasks import autoj, gsm8k_bon, mbpp_bon, rewardbench

    sources = (rewardbench.DATA, autoj.DATA, gsm8k_bon.DATA, gsm8k_bon.SOLUTIONS, mbpp_bon.FULL, mbpp_bon.SANITIZED)
    for what in sources:
        assert len(what.remote.revision) == 40
        assert all(len(digest) == 64 for digest in what.sha256)
        if isinstance(what.remote, _data.Url):
            assert what.remote.revision in what.sha256.values()
