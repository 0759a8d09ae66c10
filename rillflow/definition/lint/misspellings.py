"""Pairs of names that are so similar that one is probably a misspelling of the other.

This is stricter than a suggestion for a name that is known to be wrong: only the similarity decides
here. ``url`` and ``urls``, or ``clip1`` and ``clip2``, are different names.

Used by `definition/lint/context.py`.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

_LONGEST: Final = 64
_SHORTEST_SWAPPED: Final = 4
_SHORTEST_CHANGED: Final = 6
_MOST: Final = 300


class Spellings:
    """Known names, arranged so that a slip is found quickly."""

    def __init__(self, names: Iterable[str]) -> None:
        self._plain: dict[str, str] = {}
        self._by_length: dict[int, list[str]] = {}
        for name in sorted(names):
            if len(name) <= _LONGEST:
                self._plain.setdefault(_plain(name), name)
                self._by_length.setdefault(len(name), []).append(name)

    def near(self, name: str) -> str:
        """Return the known name that another one is a slip of; empty where there is none."""
        if len(name) > _LONGEST:
            return ""
        same = self._plain.get(_plain(name), "")
        if same and same != name:
            return same
        for length in (len(name), len(name) - 1, len(name) + 1):
            for known in islice(self._by_length.get(length, ()), _MOST):
                if known != name and _is_slip(name, known):
                    return known
        return ""


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _is_slip(name: str, known: str) -> bool:
    """Tell whether one letter, not the first or last, is changed, left out, added or swapped."""
    begin = 0
    shorter = min(len(name), len(known))
    while begin < shorter and name[begin] == known[begin]:
        begin += 1
    end = 0
    while end < shorter - begin and name[-1 - end] == known[-1 - end]:
        end += 1
    mine, theirs = name[begin : len(name) - end], known[begin : len(known) - end]
    if not (mine + theirs).isalpha():
        return False
    if len(mine) == len(theirs) == 2:
        return mine == theirs[::-1] and shorter >= _SHORTEST_SWAPPED
    return max(len(mine), len(theirs)) == 1 and min(begin, end, shorter - _SHORTEST_CHANGED + 1) > 0
