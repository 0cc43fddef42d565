"""Run hostile programs in a forced tier while watching the host: python observe.py TIER FOLDER -> JSON on stdout.

A program of its own, so that it can run as another user. The host offers what hostile programs reach for: a folder
with the answers and a victim file, listeners that hand the answers out, the answers in the environment, a process.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

os.environ["H2_ANSWERS"] = ANSWERS = json.dumps({str(x): random.randrange(10**6, 10**9) for x in (1, 41, 7)})

from tasks.sandbox import Check, Limits, SandboxError, best_tier
from tasks.sandbox._pool import Pool

FOLDER = Path("/var/tmp/h2c")
PORT = 18765
LIMITS = Limits(cpu_s=2, wall_s=4.0, memory_mb=512)
SHARED = ("/tmp", "/var/tmp", "/dev/shm")


class Host:
    """What a hostile program could reach for, and a count of what it reached."""

    def __init__(self) -> None:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(mode=0o755)
        (FOLDER / "answers.json").touch(0o600)
        (FOLDER / "answers.json").write_text(ANSWERS)
        (FOLDER / "victim.txt").write_text("untouched")
        self.hits = 0
        self.victim = subprocess.Popen(["sleep", "3600"])
        self.sockets = [socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)]
        self.sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for listener, address in zip(self.sockets, [("127.0.0.1", PORT)] * 2 + ["\0h2abs"] * 2, strict=True):
            listener.bind(address)
            if listener.type == socket.SOCK_STREAM:
                listener.listen()
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            if listener.type == socket.SOCK_DGRAM:
                listener.recv(1)
            else:
                client, _ = listener.accept()
                client.sendall(ANSWERS.encode())
                client.close()
            self.hits += 1

    def complaints(self) -> list[str]:
        """What a program changed or reached on the host, in words; empty when nothing."""
        found = [f"file {p.name}" for p in FOLDER.iterdir() if p.name not in ("answers.json", "victim.txt")]
        if (FOLDER / "victim.txt").read_text() != "untouched" or (FOLDER / "answers.json").read_text() != ANSWERS:
            found.append("a file was changed")
        if (FOLDER / "answers.json").stat().st_mode & 0o777 != 0o600:
            found.append("a mode was changed")
        if self.victim.poll() is not None:
            found.append("the victim process is dead")
        if self.hits:
            found.append(f"{self.hits} connections or datagrams")
        return found

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        shutil.rmtree(FOLDER)


class Watch(threading.Thread):
    """Samples our descendants: how many, how much memory; remembers each, to ask at the end who is left."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[tuple[int, str]] = set()
        self.most_tasks = self.most_memory_mb = 0
        self.stopping = False

    @staticmethod
    def _table() -> dict[int, tuple[int, str, int, int]]:
        rows = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            rows[int(entry.parent.name)] = (int(fields[1]), fields[19], int(fields[17]), int(fields[21]))
        return rows

    def sample(self) -> None:
        rows = self._table()
        ours, found = {os.getpid()}, 1
        while found:  # children of ours, until there are no new ones
            new = {pid for pid, row in rows.items() if row[0] in ours} - ours
            ours, found = ours | new, len(new)
        ours -= {os.getpid()}
        self.seen |= {(pid, rows[pid][1]) for pid in ours}
        self.most_tasks = max(self.most_tasks, sum(rows[pid][2] for pid in ours))
        self.most_memory_mb = max(self.most_memory_mb, sum(rows[pid][3] for pid in ours) * 4096 >> 20)

    def run(self) -> None:
        while not self.stopping:
            self.sample()
            time.sleep(0.05)

    def left(self) -> list[int]:
        rows = self._table()
        return [pid for pid, start in self.seen if pid in rows and rows[pid][1] == start]


def _mine(uids: range) -> set[str]:
    found = set()
    for folder in SHARED:
        for entry in os.scandir(folder):
            try:
                if entry.stat(follow_symlinks=False).st_uid in (*uids, os.getuid()):
                    found.add(entry.path)
            except OSError:
                continue
    suspicious = re.compile(r"/(fill|h2|pwned|canary|inode|harness-canary)")  # root owns much else
    return {path for path in found if os.getuid() != 0 or suspicious.search(path)}


def _segments() -> set[str]:
    try:
        return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}
    except OSError:
        return set()


def _tests(source: str) -> tuple[str, ...]:
    own = re.search(r"^# tests: (.*)$", source, re.MULTILINE)
    if own:
        return tuple(json.loads(own[1]))
    if "# task: known" in source:
        return ("assert f(1) == 2", "assert f(41) == 42", "assert f(7) == 8")
    return tuple(f"assert f({x}) == {value}" for x, value in json.loads(ANSWERS).items())


def _peak_mb() -> int:
    """Peak memory of this process; ru_maxrss would be that of whoever started it, if that was larger."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) >> 10  # type: ignore[index]


def main() -> None:
    tier_name, folder = sys.argv[1:]
    try:
        tier = best_tier(tier_name)
    except SandboxError as error:
        sys.exit(f"SKIP {error}")
    programs = sorted(Path(folder).glob("*.py"), key=lambda p: p.name.replace("p58", "a58_then"))
    before, segments, host = _mine(range(60578, 61178)), _segments(), Host()
    watch = Watch()
    report: dict[str, object] = {}
    with Pool(tier, LIMITS, 1) as pool:
        watch.start()
        checks = (Check(source, _tests(source)) for source in (p.read_text() for p in programs))
        for program, verdict in zip(programs, pool.run(checks), strict=True):
            report[program.name] = {**verdict.as_dict(), "complaints": host.complaints()}
        time.sleep(5)  # what was left behind to act later, acts now
    watch.stopping = True
    watch.join()
    deadline = time.monotonic() + 5
    victim = {host.victim.pid}
    while set(watch.left()) - victim and time.monotonic() < deadline:
        time.sleep(0.1)
    report[""] = {
        "complaints": host.complaints(),
        "processes": sorted(set(watch.left()) - victim),
        "files": sorted(_mine(range(60578, 61178)) - before - {str(FOLDER)}),
        "shared_memory": sorted(_segments() - segments),
        "groups": [str(p) for p in Path("/sys/fs/cgroup").glob(f"**/harness-sandbox-{os.getpid()}-*")],
        "most_tasks": watch.most_tasks,
        "most_memory_mb": watch.most_memory_mb,
        "harness_mb": _peak_mb(),
    }
    host.close()
    print(json.dumps(report))


main()
