"""What a short look at a database finds, for `rillflow doctor`.

Used by `stores`, `stores/sqlite` and `stores/postgres`.
"""

from typing import Final, NamedTuple

PATIENCE_S: Final = 5.0
"""How long a look may take; a whole verification takes as long as it takes."""


class StoreCheck(NamedTuple):
    """What was found.

    Attributes:
        problem: What is wrong; empty if nothing was found.
        looked: How far the look has come, in words.
        ahead_s: By how many seconds the clock of the database is ahead of this machine's; None if
            it is the same clock.
    """

    problem: str = ""
    looked: str = ""
    ahead_s: float | None = None
