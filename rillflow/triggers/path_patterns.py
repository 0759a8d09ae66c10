"""A limit of the regular expressions in the paths of a trigger, checked before any is compiled.

Used by `triggers/kafka.py` and `triggers/webhooks.py`.
"""

from collections.abc import Iterable
from typing import Final

MOST_PATTERNS: Final = 10
"""Each may take milliseconds to compile, for each event, in a thread that all triggers share."""
_MATCHES: Final = "=~"


def excess_patterns(paths: Iterable[object]) -> str:
    """Say that paths have too many regular expressions; empty if they have not."""
    count = sum(path.count(_MATCHES) for path in paths if isinstance(path, str))
    if count <= MOST_PATTERNS:
        return ""
    return f"its paths have {count} regular expressions (=~), and up to {MOST_PATTERNS} are taken"
