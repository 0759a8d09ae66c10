"""Lists of executions: what may be asked for, and in which steps."""

from dataclasses import replace
from typing import Final

from rillflow.client.exchanges import Exchange
from rillflow.client.operations import ListedExecution, ListExecutions
from rillflow.core.status import DagStatus
from rillflow.errors import RequestError
from rillflow.ids import ExecutionId

LONGEST_PAGE: Final = 1000
STATUSES: Final = tuple(status.name.lower() for status in DagStatus)


def status_named(text: str | None) -> str | None:
    """Read the name of a status of executions, in any case; None and blank are any status.

    Raises:
        RequestError: There is none of this name. The server would list all of them.
    """
    name = (text or "").strip().lower()
    if name and name not in STATUSES:
        raise RequestError(f"there is no status {text}; one of {', '.join(STATUSES)} is meant")
    return name or None


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
        found |= {one.id: one for one in page}
        if len(page) < wanted.page_size or len(found) >= limit:
            return list(found.values())[:limit]
        # Those that come meanwhile would move what is on the next page.
        to_ms = page[0].submitted_at_ms if wanted.to_ms is None else wanted.to_ms
        wanted = replace(wanted, page=wanted.page + 1, to_ms=to_ms)
