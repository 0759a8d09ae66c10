"""Which workflows start which, by the newest versions of their aliases: in pages.

Used by `serve/routes/console_api/workflows.py`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from cachetools import LRUCache

from rillflow.core.plan import LevelPlan, Plan
from rillflow.core.tasks.function_tasks import FLOW_PATTERNS
from rillflow.definition.model import FunctionTask
from rillflow.errors import DefinitionError, RequestError
from rillflow.ports.storage.aliases import AliasName, AliasRow
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.definitions.catalogue import stored_text
from rillflow.runtime.stack import Stack

MOST_CALLS: Final = 200
PAGE_S: Final = 1.0
"""After so long a page ends with what it has found; the next one goes on."""
TURN_S: Final = 0.005
"""How long versions are looked through before the event loop gets its turn."""
READ_AT_ONCE: Final = 500
"""How many aliases are read by one query."""
KNOWN_BYTES: Final = 32 << 20
"""How much memory the calls of versions may take that are kept."""
_CALL_BYTES: Final = 300
_LONGEST_TEXT: Final = 4_096
_FLOW: Final = "rillflow://"

Calls: TypeAlias = dict[str, list[tuple[str, str]]]
"""The tasks of a version that start a workflow, with its descriptor id, by that workflow."""


class Place(NamedTuple):
    """Where a page begins: at an alias, after so many of its calls."""

    business: str = ""
    feature: str = ""
    alias: str = ""
    taken: int = 0

    @classmethod
    def of(cls, cursor: str) -> "Place":
        """Read what ``text`` has written; an empty text is the first page.

        Raises:
            RequestError: It is malformed.
        """
        if not cursor:
            return cls()
        parts = cursor.split(":")
        number = parts[-1]
        if len(parts) != len(cls._fields) or not _is_number(number):
            raise RequestError(f"cursor is malformed: {cursor[:100]}", hint="it is an earlier next")
        return cls(parts[0], parts[1], parts[2], int(number))

    @property
    def text(self) -> str:
        """The cursor of the page that begins here."""
        return ":".join(map(str, self))


class CalledFlows:
    """The workflows that versions start, read once for each version."""

    def __init__(
        self, stack: Stack, *, known_bytes: int = KNOWN_BYTES, page_s: float = PAGE_S
    ) -> None:
        self._stack = stack
        self._page_s = page_s
        self._known = LRUCache[str, Calls](known_bytes, getsizeof=_memory_of)

    @property
    def known_bytes(self) -> int:
        """What the calls take that are kept."""
        return int(self._known.currsize)

    async def page(self, wanted: str, begin: Place, limit: int) -> dict[str, Any]:
        """Return what a workflow starts and what starts it, ``limit`` calls together."""
        found: dict[str, list[dict[str, str]]] = {"uses": [], "used_by": []}
        begun_s = turn_s = time.monotonic()
        left, number = limit, 0
        async for row in self._rows(AliasName(*begin[:3])):
            now_s = time.monotonic()
            if left <= 0 or (number and now_s - begun_s > self._page_s):
                return {"flow": wanted, **found, "next": Place(*row.name).text}
            if now_s - turn_s > TURN_S:
                await asyncio.sleep(0)
                turn_s = time.monotonic()
            calls = await self._of(row)
            here = Place(*row.name)
            taken = begin.taken if here == begin._replace(taken=0) else 0
            added = list(islice(_facts(row, calls, wanted), taken, taken + left + 1))
            for kind, fact in added[:left]:
                found[kind].append(fact)
            if len(added) > left:
                return {"flow": wanted, **found, "next": here._replace(taken=taken + left).text}
            left -= len(added)
            number += 1
        return {"flow": wanted, **found, "next": None}

    async def _rows(self, first: AliasName) -> AsyncIterator[AliasRow]:
        """Yield the aliases from a name on; some are read at a time."""
        following: AliasName | None = first
        while following is not None:
            rows = await self._stack.searches.aliases_of((), following, limit=READ_AT_ONCE + 1)
            for row in rows[:READ_AT_ONCE]:
                yield row
            following = rows[READ_AT_ONCE].name if len(rows) > READ_AT_ONCE else None

    async def _of(self, row: AliasRow) -> Calls:
        found = self._known.get(row.version)
        if found is None:
            found = await self._read(row.business, row.version)
            if _memory_of(found) <= self._known.maxsize:
                self._known[row.version] = found
        return found

    async def _read(self, business: str, version: str) -> Calls:
        text = await stored_text(self._stack.store, version)
        if _FLOW not in text:
            return {}
        try:
            read = await self._stack.definition(version)
            return await FOR_AUTHORS.run(
                lambda: _calls(Plan(read, version).level), sender=business, text_bytes=len(text)
            )
        except DefinitionError:
            return {}  # of an earlier release: it cannot be run either


def _facts(row: AliasRow, calls: Calls, wanted: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the calls of a version that are asked for, each with the list that it belongs to."""
    user = f"{row.business}:{row.feature}"
    if user == wanted:
        for called, tasks in calls.items():
            for task in tasks:
                yield "uses", {"flow": called, **_fact(row, *task)}
    for task in calls.get(wanted, ()):
        yield "used_by", {"flow": user, **_fact(row, *task)}


def _fact(row: AliasRow, task: str, descriptor_id: str) -> dict[str, str]:
    return {"task": task, "alias": row.alias, "descriptor_id": descriptor_id}


def _calls(level: LevelPlan) -> Calls:
    found: Calls = {}
    for task in level.walk():
        spec = task.spec
        if isinstance(spec, FunctionTask) and spec.pattern in FLOW_PATTERNS:
            name = spec.resource_name or ""
            if name.startswith(_FLOW):
                called = name.removeprefix(_FLOW)[:_LONGEST_TEXT]
                flow = ":".join(called.split(":", 2)[:2])
                found.setdefault(flow, []).append((task.base[:_LONGEST_TEXT], called))
    return found


def _memory_of(calls: Calls) -> int:
    """Estimate what the calls of a version take in memory."""
    return _CALL_BYTES + sum(
        _CALL_BYTES + len(flow) + sum(_CALL_BYTES + len(task) + len(to) for task, to in tasks)
        for flow, tasks in calls.items()
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
