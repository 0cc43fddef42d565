"""The errors a user can cause by asking for a number that the stored results cannot give."""


class LeaderboardError(ValueError):
    """The text is one sentence for the user: what cannot be said, about which run or key, and what to do."""
