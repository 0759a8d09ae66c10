"""Large texts of calls: decoded, weighed and cut beside the event loop, before they are handled.

What is decoded ahead is found by whoever decodes, weighs or stores the same text. Small calls of a
batch do not wait for the large ones of others, and large ones of a workspace not for those of
another one (``gateways/outbound/threads.py``). What is refused by its length alone is left out.

Used by `runtime/owner/execution_owner.py`.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, TypeAlias

from rillflow.gateways.outbound.threads import LARGE_BYTES, SHORT_BYTES, in_turn
from rillflow.jsontypes import DecodedEarly, ahead_of, decoded_ahead, is_ahead
from rillflow.ports.executions import Call, Reply, text_of
from rillflow.ports.storage.store import Journal
from rillflow.runtime.aio.fair_turns import Take, in_several

Prepared: TypeAlias = tuple[list[DecodedEarly], AbstractContextManager[None]]
_TOGETHER: Final = ""


class LargeTexts:
    """Prepares the large texts of the calls of one owner."""

    def __init__(self, journal: Journal, is_refused: Callable[[Call], bool]) -> None:
        """Cut for ``journal``; calls that are refused anyway are not prepared."""
        self._journal = journal
        self._is_refused = is_refused

    def first(self, calls: Sequence[Call], take: Take) -> Awaitable[list[Reply]]:
        """Prepare the large texts of a batch, and have ``take`` handle it; replies in its order."""
        return self._prepared(calls, take) if self._large(calls) else take(calls)

    async def ahead(self, calls: Sequence[Call]) -> AbstractContextManager[None]:
        """Prepare the large texts of calls; within the context that is known."""
        texts = self._large(calls)
        if not texts:
            return nullcontext()
        longest = max(map(len, texts))
        execution_id = calls[0].execution_id
        return _known(await in_turn(execution_id, longest, lambda: self._prepare(texts)))

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

    def _prepared(self, calls: Sequence[Call], take: Take) -> Awaitable[list[Reply]]:
        return in_several(calls, _groups_of(calls), lambda some: self._take(some, take))

    async def _take(self, calls: Sequence[Call], take: Take) -> list[Reply]:
        with await self.ahead(calls):
            return await take(calls)


@contextmanager
def _known(prepared: Prepared) -> Iterator[None]:
    decoded, cut = prepared
    with decoded_ahead(decoded), cut:
        yield


def _groups_of(calls: Sequence[Call]) -> list[list[int]]:
    """Return the places of calls: those of each execution with a large text, and all others."""
    apart = {call.execution_id for call in calls if len(text_of(call)) > LARGE_BYTES}
    groups: dict[str, list[int]] = {}
    for number, call in enumerate(calls):
        name = call.execution_id if call.execution_id in apart else _TOGETHER
        groups.setdefault(name, []).append(number)
    return list(groups.values())
