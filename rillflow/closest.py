"""Suggestions for misspelt names."""

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Final

_LONGEST: Final = 64
_MOST: Final = 300


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Make a hint of the option nearest to the word, or of nothing near an empty text."""
    found = closest(word, options)
    return f"did you mean `{found}`?" if found else ""


def closest(word: str, options: Iterable[str]) -> str | None:
    """Return the option nearest to the word, None when nothing is near.

    Only the first 300 options of similar length are looked at, so that hostile
    definitions cannot make this slow.
    """
    if len(word) > _LONGEST:
        return None
    similar = (option for option in options if abs(len(option) - len(word)) <= 4)
    found = difflib.get_close_matches(word, list(islice(similar, _MOST)), n=1)
    return found[0] if found else None
