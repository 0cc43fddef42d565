"""Models by hub id, against a small server on this machine: what is fetched, and when."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from merging_models import edit_json, save_model

from harness._hashing import weights_hash

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves folders as repositories `org/NAME`, with ranges, and counts the bytes of each file that it sends."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.sent: Counter[str] = Counter()

    def weights_sent(self) -> int:
        return sum(count for file, count in self.sent.items() if file.endswith(".safetensors"))


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        listed = re.fullmatch(r"/api/models/org/([\w.-]+)(/revision/[\w.-]+)?", path)
        tree = re.fullmatch(r"/api/models/org/([\w.-]+)/tree/[\w.-]+", path)
        file = re.fullmatch(r"/org/([\w.-]+)/resolve/[\w.-]+/(.+)", path)
        if listed and (self.server.folder / listed[1]).is_dir():
            names = sorted(p.name for p in (self.server.folder / listed[1]).iterdir())
            value = {"id": f"org/{listed[1]}", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body)
        elif tree and (self.server.folder / tree[1]).is_dir():
            files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40}
                     for p in sorted((self.server.folder / tree[1]).iterdir())]  # fmt: skip
            self._send(200, json.dumps(files).encode(), {"Content-Type": "application/json"}, body)
        elif file and (self.server.folder / file[1] / file[2]).is_file():
            self._file(self.server.folder / file[1] / file[2], body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound" if file else "RepoNotFound"}, body)

    def _file(self, path: Path, body: bool) -> None:
        raw = path.read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(raw).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span:
            first, last = int(span[1]), min(int(span[2] or len(raw) - 1), len(raw) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(raw)}"
            raw = raw[first : last + 1]
        if body:
            self.server.sent[f"{path.parent.name}/{path.name}"] += len(raw)
        self._send(206 if span else 200, raw, headers, body)

    def _send(self, code: int, raw: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if body:
            self.wfile.write(raw)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A reward model in shards and an expert in one file, 6 MB each."""
    folder = tmp_path / "hub"
    size = {"rows": 8000, "hidden_size": 128, "dtype": torch.bfloat16}
    save_model(folder / "rm", seed=1, reward=True, shard="1MB", **size)
    save_model(folder / "sft", seed=2, reward=False, **size)
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def harness(hub: Hub, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`harness merge` in a process of its own: the hub client reads its address when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}", "HF_HOME": str(hub.folder.parent / "home"),
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    command = [sys.executable, "-m", "harness", "merge", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


MODELS = ("--rm", "org/rm", "--sft", "org/sft@main", "--lambda", 0.35)


def test_a_dry_run_fetches_no_weights(hub: Hub) -> None:
    local = harness(
        hub, "--rm", hub.folder / "rm", "--sft", hub.folder / "sft", "--lambda", 0.35, "--dry-run", "--json"
    )
    done = harness(hub, *MODELS, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    said, expected = json.loads(done.stdout), json.loads(local.stdout)
    assert said == expected | {"rm": "org/rm", "experts": ["org/sft@main"]}
    whole = sum(p.stat().st_size for p in hub.folder.rglob("*.safetensors"))
    assert hub.weights_sent() < whole / 4  # one range a file, of 100 kB


def test_a_merge_fetches_them_once(hub: Hub, tmp_path: Path) -> None:
    local = harness(hub, "--rm", hub.folder / "rm", "--sft", hub.folder / "sft", "--lambda", 0.35, "-o", tmp_path / "a")
    done = harness(hub, *MODELS, "-o", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert weights_hash(tmp_path / "a") == weights_hash(tmp_path / "b"), local.stderr
    before = hub.weights_sent()
    again = harness(hub, *MODELS, "-o", tmp_path / "c")
    assert again.returncode == 0, again.stderr
    assert hub.weights_sent() == before


def test_a_hub_model_with_bin_weights_alone_is_merged_with_consent(hub: Hub, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    local = ("--rm", hub.folder / "rm", "--sft", hub.folder / "sft", "--lambda", 0.35)
    assert harness(hub, *local, "-o", tmp_path / "a").returncode == 0
    torch.save(load_file(hub.folder / "sft" / "model.safetensors"), hub.folder / "sft" / "pytorch_model.bin")
    (hub.folder / "sft" / "model.safetensors").unlink()
    assert harness(hub, *MODELS, "-o", tmp_path / "b").returncode == 2
    for last in (["--dry-run"], ["-o", tmp_path / "b"]):
        done = harness(hub, *MODELS, "--allow-pickle", *last)
        assert done.returncode == 0, done.stderr
    assert weights_hash(tmp_path / "a") == weights_hash(tmp_path / "b")


def test_models_that_do_not_fit_are_refused_before_weights_are_fetched(hub: Hub, tmp_path: Path) -> None:
    edit_json(hub.folder / "sft" / "config.json", rms_norm_eps=1e-3)
    done = harness(hub, *MODELS, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "rms_norm_eps" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    whole = sum(p.stat().st_size for p in hub.folder.rglob("*.safetensors"))
    assert hub.weights_sent() < whole / 4


def test_a_model_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    done = harness(hub, "--rm", "org/none", "--sft", "org/sft", "--lambda", 0.35, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "org/none: there is no such folder, and it cannot be had from the hub: Repository Not Found" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
