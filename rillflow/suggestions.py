"""Suggestions for misspelt names.

Used by most packages.
"""

import difflib
from collections.abc import Iterable
from heapq import nlargest
from itertools import islice, pairwise
from typing import Final

_LONGEST: Final = 64
_MOST: Final = 300
_COMPARED: Final = 5
"""Options that are compared exactly, which takes some 200 us for long names."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Make a hint of the option nearest to the word, or of nothing near an empty text."""
    found = closest(word, options)
    return f"did you mean `{found}`?" if found else ""


def closest(word: str, options: Iterable[str]) -> str | None:
    """Return the option nearest to the word, None when nothing is near; case makes no difference.

    Hostile definitions cannot make this slow: of the first 300 options of similar length,
    only the five that share most letters and pairs of letters with the word are compared.
    """
    if len(word) > _LONGEST:
        return None
    similar = [*islice((each for each in options if abs(len(each) - len(word)) <= 4), _MOST)]
    if not similar:
        return None
    folded = word.lower()
    parts = _parts(folded)
    likely = nlargest(_COMPARED, similar, lambda each: len(parts & _parts(each.lower())))
    written = {each.lower(): each for each in reversed(likely)}
    found = difflib.get_close_matches(folded, written, n=1)
    return written[found[0]] if found else None


def _parts(word: str) -> set[str | tuple[str, str]]:
    return {*word, *pairwise(word)}
