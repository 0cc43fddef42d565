"""The errors a user can cause, each one sentence: what is wrong, where, what to do.

    UserError            exit code 2
    |- ConfigError       recipe or option
    |- CandidateError    a folder that is not a usable model
    |- MergeError        parents that cannot be merged
    |- ScoringError      a model, template or backend that cannot score
    RunFailed            exit code 3: a run stopped before its end; what was finished is stored

Other layers have their own base (tasks.TaskError, results.StoreError, leaderboard.LeaderboardError);
harness.cli.main turns all of them into one line on stderr.
"""

from __future__ import annotations

from tasks._schema import did_you_mean

__all__ = [
    "CandidateError",
    "ConfigError",
    "MergeError",
    "RunFailed",
    "ScoringError",
    "UserError",
    "did_you_mean",
]


class UserError(ValueError):
    """Something the user can put right."""


class ConfigError(UserError):
    """A recipe or an option is wrong."""


class CandidateError(UserError):
    """A model folder or hub id is not a usable candidate."""


class MergeError(UserError):
    """These models cannot be merged this way."""


class ScoringError(UserError):
    """This model cannot be scored this way."""


class RunFailed(RuntimeError):
    """A run stopped before its end; finished work is stored and the same command resumes it."""
