"""What the rows of ended sessions mean, and which of them are needed.

A session that was ended before its time has a row until it would have ended by itself. Whoever has
a key may begin and end sessions without an end, so a key has a limited number of rows: where there
are more, one row ends all of its sessions that end by themselves no later than some time, also
those that nobody has ended. So the oldest give way, and their people sign in again.

Used by `serve/schemas/session_ends.py`.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

MOST_OF_KEY: Final = 100
"""Rows of one key above which the oldest half gives way."""
MOST_ROWS: Final = 2_000
"""Rows of all keys, of which each has the same share."""
ALL: Final = "*"
"""Stands in a row for the name of a session: all of the key until a time."""


class Session(NamedTuple):
    """A session of the console: its name, and when it ends by itself."""

    session_id: str
    ends_ms: int

    @property
    def key_id(self) -> str:
        """The key that it was begun with; empty for the key of the settings."""
        return self.session_id.partition(".")[2]


def is_ended(rows: Mapping[str, int], session: Session) -> bool:
    """Tell whether a row ends a session."""
    _, point, key_id = session.session_id.partition(".")
    return session.session_id in rows or session.ends_ms <= rows.get(f"{ALL}{point}{key_id}", 0)


def needed(rows: Mapping[str, int], now_ms: int) -> dict[str, int]:
    """Return the rows that are needed, with those that stand for what is left out."""
    by_key: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    kept = {}
    for session_id, ends_ms in rows.items():
        name, point, key_id = session_id.partition(".")
        if ends_ms <= now_ms:
            continue
        if name == ALL:
            kept[session_id] = ends_ms
        elif ends_ms > rows.get(f"{ALL}{point}{key_id}", 0):
            by_key[point + key_id].append((ends_ms, session_id))
    most = max(min(MOST_OF_KEY, MOST_ROWS // max(len(by_key), 1)), 1)
    for key, ended in by_key.items():
        if len(ended) > most:
            ended.sort()
            kept[ALL + key] = ended[-(most // 2) - 1][0]
        until_ms = kept.get(ALL + key, 0)
        kept.update((session_id, ends_ms) for ends_ms, session_id in ended if ends_ms > until_ms)
    return kept
