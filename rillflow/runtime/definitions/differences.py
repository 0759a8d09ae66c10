"""The difference of two texts, line by line, in a time that no text can make long.

Lines that occur once in both texts are anchors, as in a patience diff. What lies between two
anchors is compared exactly if it is short, and counts as replaced if it is long.

Used by `serve/routes`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

SHORT: Final = 2_500
"""A part is compared exactly if the product of its numbers of lines is no larger."""


class Line(NamedTuple):
    """One line of a difference: kept (a blank), removed (``-``) or added (``+``)."""

    op: str
    text: str


class Hunk(NamedTuple):
    """Changed lines with some around them; the lines of both texts are counted from 1."""

    from_line: int
    to_line: int
    lines: tuple[Line, ...]


class Difference(NamedTuple):
    """The hunks; ``is_exact`` is False if more lines may count as replaced than needed."""

    added: int
    removed: int
    hunks: tuple[Hunk, ...]
    is_exact: bool


def difference(before: Sequence[str], after: Sequence[str], context: int) -> Difference:
    """Compare two texts by their lines, with so many unchanged lines around each change."""
    lines: list[Line] = []
    is_exact = True
    for old, new in _parts(before, after):
        part, is_part_exact = _compared(before[old], after[new])
        lines += part
        is_exact = is_exact and is_part_exact
    return Difference(
        added=sum(line.op == "+" for line in lines),
        removed=sum(line.op == "-" for line in lines),
        hunks=tuple(_hunks(lines, max(context, 0))),
        is_exact=is_exact,
    )


def _parts(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[slice, slice]]:
    """Yield the parts between anchors; each part ends with its anchor."""
    old, new = 0, 0
    for old_at, new_at in _anchors(before, after):
        yield slice(old, old_at), slice(new, new_at)
        yield slice(old_at, old_at + 1), slice(new_at, new_at + 1)
        old, new = old_at + 1, new_at + 1
    yield slice(old, len(before)), slice(new, len(after))


def _anchors(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    """Return the longest rising sequence of lines that occur once in both texts."""
    of_old, of_new = Counter(before), Counter(after)
    places = {text: at for at, text in enumerate(after) if of_new[text] == 1}
    pairs = [
        (at, places[text]) for at, text in enumerate(before) if of_old[text] == 1 and text in places
    ]
    ends: list[int] = []
    lasts: list[int] = []
    previous: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        previous.append(lasts[length - 1] if length else -1)
        if length == len(ends):
            ends.append(place)
            lasts.append(number)
        else:
            ends[length], lasts[length] = place, number
    found: list[tuple[int, int]] = []
    number = lasts[-1] if lasts else -1
    while number >= 0:
        found.append(pairs[number])
        number = previous[number]
    return found[::-1]


def _compared(before: Sequence[str], after: Sequence[str]) -> tuple[list[Line], bool]:
    if list(before) == list(after):
        return [Line(" ", text) for text in before], True
    if len(before) * len(after) > SHORT:
        removed = [Line("-", text) for text in before]
        return [*removed, *(Line("+", text) for text in after)], False
    lines: list[Line] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, old, old_end, new, new_end in matcher.get_opcodes():
        if tag == "equal":
            lines += [Line(" ", text) for text in before[old:old_end]]
        else:
            lines += [Line("-", text) for text in before[old:old_end]]
            lines += [Line("+", text) for text in after[new:new_end]]
    return lines, True


def _hunks(lines: Sequence[Line], context: int) -> Iterator[Hunk]:
    changed = [at for at, line in enumerate(lines) if line.op != " "]
    old, new, done = 1, 1, 0
    while changed:
        first = max(changed[0] - context, done)
        end = first
        taken = 0
        while taken < len(changed) and changed[taken] - context <= max(end, changed[0]):
            end = min(changed[taken] + context + 1, len(lines))
            taken += 1
        old += sum(line.op != "+" for line in lines[done:first])
        new += sum(line.op != "-" for line in lines[done:first])
        part = tuple(lines[first:end])
        yield Hunk(old, new, part)
        old += sum(line.op != "+" for line in part)
        new += sum(line.op != "-" for line in part)
        done, changed = end, changed[taken:]
