"""Lists of executions, read page by page."""

from dataclasses import replace
from typing import Final

from rillflow.client.exchanges import Exchange
from rillflow.client.operations import ListedExecution, ListExecutions
from rillflow.errors import RequestError
from rillflow.ids import ExecutionId

LONGEST_PAGE: Final = 1000


def executions(wanted: ListExecutions, limit: int) -> Exchange[list[ListedExecution]]:
    """List up to ``limit`` executions, newest first, in pages as long as a server gives.

    Raises:
        RequestError: The limit is below 1.
    """
    if limit < 1:
        raise RequestError(f"a list has at least one line, not {limit}")
    found: dict[ExecutionId, ListedExecution] = {}
    wanted = replace(wanted, page_size=min(limit, LONGEST_PAGE))
    while True:
        page: list[ListedExecution] = yield wanted
        for one in page:
            found.setdefault(one.id, one)
        if len(page) < wanted.page_size or len(found) >= limit:
            return list(found.values())[:limit]
        wanted = _next(wanted, page)


def _next(wanted: ListExecutions, page: list[ListedExecution]) -> ListExecutions:
    """Go on where a full page ended, by time.

    Numbers of pages would pass over some when others leave the list meanwhile, and repeat
    some when others come; only what was submitted in one millisecond has to be told apart so.
    """
    last_ms = page[-1].submitted_at_ms
    number = wanted.page + 1 if last_ms == wanted.to_ms else 1
    return replace(wanted, page=number, to_ms=last_ms)
