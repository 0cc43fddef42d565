"""The import itself: load the task, read and join the file, store the rewards as a replayed candidate."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.candidate import named
from harness.executors._types import ExecutorOptions, Work
from harness.executors.local import LocalExecutor
from harness.importing._document import ImportOptions
from harness.importing._read import read_scores
from harness.loading import load_data
from harness.progress import say
from harness.runner import EvalRequest, RunResult, Session
from harness.scoring.replay import ReplayBackend
from results.store import open_store
from tasks._types import TaskError


def import_scores(file: Path, task: str, name: str, request: EvalRequest, options: ImportOptions) -> RunResult:
    """Store a file's scores as the rewards of candidate `name` on `task`; nothing is stored unless all of it joins."""
    with open_store(request.db, wait=request.wait, notify=say) as store:
        data = load_data(task, request.data, store)
        if isinstance(data, TaskError):
            raise data
        known, rewards = read_scores(file, data, options)
        say(f"{file}: {known}: {len(rewards)} of {len(data.examples)} examples of {data.task}")
        backend = ReplayBackend(file, {(data.task, example): values for example, values in rewards.items()})
        executor = LocalExecutor(ExecutorOptions(), backend)
        with file.open("rb") as opened:
            source = {"name": file.name, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}
        session = Session(store, request, executor, also={"scores": source})
        return session.evaluate([named(name, "replay")], {task: Work(data)})[0]
