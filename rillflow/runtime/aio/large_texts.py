"""Large texts of calls: decoded, weighed and cut beside the event loop, before they are handled.

What is decoded ahead is found by whoever decodes, weighs or stores the same text. It may take
twenty times as much memory as the text, so few texts of a workspace are decoded at a time: the next
ones when these were handled. Small calls of a batch do not wait for the large ones of others, and
large ones of a workspace not for those of another one (``gateways/outbound/threads.py``). What is
refused by its length alone is left out.

Used by `runtime/owner/execution_owner.py`.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias

from rillflow.gateways.outbound.threads import LARGE_BYTES, SHORT_BYTES, in_turn
from rillflow.ids import ExecutionId, workspace_of
from rillflow.jsontypes import DecodedEarly, ahead_of, decoded_ahead, is_ahead
from rillflow.ports.executions import Call, Reply, text_of
from rillflow.ports.storage.store import Journal
from rillflow.runtime.aio.fair_turns import Take, in_several
from rillflow.runtime.aio.workspace_places import WorkspacePlaces

Prepared: TypeAlias = tuple[list[DecodedEarly], AbstractContextManager[None]]
PORTION_BYTES: Final = 2 * LARGE_BYTES
"""The texts of so many bytes of a batch are decoded together; decoded they take some 10 MB."""
MOST_PORTIONS: Final = 2
"""So many portions of a workspace, or of an execution that must be read, are decoded at a time."""
_SHORT: Final = ""


class LargeTexts:
    """Prepares the large texts of the calls of one owner."""

    def __init__(
        self,
        journal: Journal,
        is_refused: Callable[[Call], bool],
        unread: Callable[[Sequence[Call]], AbstractSet[ExecutionId]],
    ) -> None:
        """Cut for ``journal``; calls that are refused anyway are not prepared.

        Executions that are ``unread`` have portions of their own. A call that waits until one is
        read must not hold up calls that keep another one in memory until they are handled.
        """
        self._journal = journal
        self._is_refused = is_refused
        self._unread = unread
        self._places = WorkspacePlaces(MOST_PORTIONS)

    def first(self, calls: Sequence[Call], take: Take) -> Awaitable[list[Reply]]:
        """Prepare the large texts of a batch, and have ``take`` handle it; replies in its order."""
        if not self._large(calls):
            return take(calls)
        return in_several(calls, _groups_of(calls), lambda some: self._in_portions(some, take))

    async def _in_portions(self, calls: Sequence[Call], take: Take) -> list[Reply]:
        """Handle the calls of a group in portions, one after the other."""
        replies: list[Reply] = []
        for portion in _portions_of(calls):
            replies += await self._take(portion, take)
        return replies

    async def _take(self, calls: Sequence[Call], take: Take) -> list[Reply]:
        texts = self._large(calls)
        if not texts:
            return await take(calls)
        execution_id = calls[0].execution_id
        is_unread = bool(self._unread(calls[:1]))
        async with self._places.place(execution_id if is_unread else workspace_of(execution_id)):
            longest = max(map(len, texts))
            with _known(await in_turn(execution_id, longest, lambda: self._prepare(texts))):
                return await take(calls)

    def _large(self, calls: Sequence[Call]) -> list[bytes]:
        return [
            text
            for call in calls
            if len(text := text_of(call)) > SHORT_BYTES
            and not is_ahead(text)
            and not self._is_refused(call)
        ]

    def _prepare(self, texts: Sequence[bytes]) -> Prepared:
        """Decode, weigh and cut texts; runs in a thread."""
        large = [text for text in texts if len(text) > LARGE_BYTES]
        decoded = [ahead_of(text, weighed=len(text) > LARGE_BYTES) for text in texts]
        return decoded, self._journal.cut_ahead(large)


@contextmanager
def _known(prepared: Prepared) -> Iterator[None]:
    decoded, cut = prepared
    with decoded_ahead(decoded), cut:
        yield


def _portions_of(calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    """Divide calls where their large texts would be too long together."""
    start = together = 0
    for number, call in enumerate(calls):
        length = len(text_of(call))
        if length <= SHORT_BYTES:
            continue
        if together and together + length > PORTION_BYTES:
            yield calls[start:number]
            start, together = number, 0
        together += length
    yield calls[start:]


def _groups_of(calls: Sequence[Call]) -> list[list[int]]:
    """Return the places of calls by group; those of one execution keep their order.

    Each execution with a large text is a group, those with texts of some ten kilobytes are one for
    each workspace, and all others are one.
    """
    longest: dict[ExecutionId, int] = {}
    for call in calls:
        of_call = len(text_of(call))
        longest[call.execution_id] = max(longest.get(call.execution_id, 0), of_call)
    groups: dict[str, list[int]] = {}
    for number, call in enumerate(calls):
        groups.setdefault(_group_of(call.execution_id, longest), []).append(number)
    return list(groups.values())


def _group_of(execution_id: ExecutionId, longest: dict[ExecutionId, int]) -> str:
    if longest[execution_id] <= SHORT_BYTES:
        return _SHORT
    is_large = longest[execution_id] > LARGE_BYTES
    return execution_id if is_large else workspace_of(execution_id)


async def taken_after(
    learn: Callable[[Sequence[Call]], Awaitable[None]], take: Take, calls: Sequence[Call]
) -> list[Reply]:
    """Have calls taken when what they teach is known."""
    await learn(calls)
    return await take(calls)
