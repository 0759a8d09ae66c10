"""Splitting of addresses that come from outside.

``urllib`` normalizes a host that is not ASCII, which takes the square of the length of a row of
combining characters: 50,000 of them ten seconds, in one call of a library in C.

Used by `core`, `functions`, `gateways`, `runtime/dispatch`, `serve/routes` and `testing`.
"""

from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

LONGEST_NAME: Final = 253
"""Characters of the longest name that DNS knows."""
_REMOVED: Final = dict.fromkeys(map(ord, "\t\r\n"))
"""``urllib`` reads an address without these."""


def split_url(url: str) -> SplitResult:
    """Split an address as ``urllib.parse.urlsplit`` does.

    Raises:
        ValueError: It is malformed, or has a host that is too long and not ASCII.
    """
    _refuse_long_name(url)
    return urlsplit(url)


def join_url(base: str, url: str) -> str:
    """Return an address that is relative to another, as ``urllib.parse.urljoin`` does.

    Raises:
        ValueError: One of them is malformed, or has a host that is too long and not ASCII.
    """
    _refuse_long_name(base)
    _refuse_long_name(url)
    return urljoin(base, url)


def _refuse_long_name(url: str) -> None:
    if url.isascii():
        return
    rest = url.translate(_REMOVED).partition("//")[2]
    end = min((each for each in map(rest.find, "/?#") if each >= 0), default=len(rest))
    name = rest[:end]
    if end > LONGEST_NAME and not name.isascii():
        raise ValueError(f"a host that is not ASCII has {LONGEST_NAME} characters at most")
