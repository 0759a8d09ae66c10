"""The order of texts in Java: by UTF-16 code units, not by characters.

The two differ only where a character beyond U+FFFF meets one from U+E000 to U+FFFF.

Used by `language/expressions/functions/system.py`, `language/expressions/functions/traversals.py`
and `language/expressions/values.py`.
"""

from typing import Final

_FIRST_OF_PAIRS: Final = 0x10000
_HIGH: Final = 0xD800
_LOW: Final = 0xDC00
_BITS_OF_LOW: Final = 10


def text_difference(left: str, right: str) -> int:
    """Return what Java's ``left.compareTo(right)`` gives.

    That is the difference of the first code units that differ, or of the lengths in code
    units where one text begins with the other.

    >>> text_difference("apple", "banana"), text_difference("ab", "abcd")
    (-1, -2)
    """
    place = _first_difference(left, right)
    if place == min(len(left), len(right)):
        return _units(left[place:]) - _units(right[place:])
    one, other = ord(left[place]), ord(right[place])
    difference = _high(one) - _high(other)
    return difference or _low(one) - _low(other)


def utf16_key(text: str) -> bytes:
    """Return what sorts as Java sorts the text."""
    return text.encode("utf-16-be", "surrogatepass")


def _first_difference(left: str, right: str) -> int:
    """Return the first index at which two texts differ, or the length of the shorter one.

    Halving the range, with comparisons in C, reads every character about once.
    """
    start, end = 0, min(len(left), len(right))
    if left[:end] == right[:end]:
        return end
    while end - start > 1:
        middle = (start + end) // 2
        if left[start:middle] == right[start:middle]:
            start = middle
        else:
            end = middle
    return start


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(utf16_key(text)) // 2


def _high(code: int) -> int:
    """Return the first code unit of a character."""
    if code < _FIRST_OF_PAIRS:
        return code
    return _HIGH + (code - _FIRST_OF_PAIRS >> _BITS_OF_LOW)


def _low(code: int) -> int:
    """Return the second code unit of a character that has one."""
    if code < _FIRST_OF_PAIRS:
        return 0
    return _LOW + (code - _FIRST_OF_PAIRS & (1 << _BITS_OF_LOW) - 1)
