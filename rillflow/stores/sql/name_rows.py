"""The registered names of the catalogue as rows of one table, for every adapter.

A list of names is read in pages, each of which is one text. So it takes one row, and others have
their turns between two pages.

Used by `stores/memory/catalogue.py`, `stores/postgres/tables/catalogue.py` and
`stores/sqlite/tables/catalogue.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

NAMES_AT_ONCE: Final = 2_000
"""Names of a page; reading and decoding them takes about a millisecond."""
_decode: Final = msgspec.json.Decoder(list[str]).decode


async def all_names(read: Callable[[str, int], Awaitable[str]], at_once: int) -> list[str]:
    """Return the names of all pages.

    Args:
        read: Returns a JSON list of the names that follow one, in their order, so many at most.
        at_once: How many a page has.
    """
    names: list[str] = []
    while True:
        page = _decode((await read(names[-1] if names else "", at_once)).encode())
        names += page
        if len(page) < at_once:
            return names


def name_rows(
    business: str, feature: str | None = None, alias: str | None = None
) -> list[tuple[str, str, str]]:
    """Return the row of a name after those of the names above it.

    A missing lower name is the empty string, which is not a valid name.
    """
    rows = [(business, "", "")]
    if feature is not None:
        rows.append((business, feature, ""))
        if alias is not None:
            rows.append((business, feature, alias))
    return rows
