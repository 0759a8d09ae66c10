"""Lists of executions, read page by page.

Used by `client/clients.py`.
"""

from dataclasses import replace
from typing import Final

from rillflow.client.exchanges import Exchange
from rillflow.client.operations import ListedExecution, ListExecutions
from rillflow.errors import RequestError, ServerError
from rillflow.ids import ExecutionId

LONGEST_PAGE: Final = 1000
MOST_OLD_PAGES: Final = 10
"""How many pages one after the other may bring nothing new, before the list is given up."""


def executions(wanted: ListExecutions, limit: int) -> Exchange[list[ListedExecution]]:
    """List up to ``limit`` executions, newest first, in pages as long as a server gives.

    Raises:
        RequestError: The limit is below 1.
        ServerError: The list has no end.
    """
    if limit < 1:
        raise RequestError(f"a list has at least one line, not {limit}")
    found: dict[ExecutionId, ListedExecution] = {}
    wanted = replace(wanted, page_size=min(limit, LONGEST_PAGE))
    old_pages = 0
    while True:
        page: list[ListedExecution] = yield wanted
        before = len(found)
        for one in page:
            found.setdefault(one.id, one)
        old_pages = 0 if len(found) > before else old_pages + 1
        if len(page) < wanted.page_size or len(found) >= limit:
            return list(found.values())[:limit]
        if old_pages > MOST_OLD_PAGES:
            raise ServerError("the server lists the same executions again and again")
        wanted = _next(wanted, page)


def _next(wanted: ListExecutions, page: list[ListedExecution]) -> ListExecutions:
    """Go on where a full page ended, by time.

    Numbers of pages would pass over some when others leave the list meanwhile, and repeat
    some when others come; only what was submitted in one millisecond has to be told apart so.
    """
    last_ms = page[-1].submitted_at_ms
    number = wanted.page + 1 if last_ms == wanted.to_ms else 1
    return replace(wanted, page=number, to_ms=last_ms)
