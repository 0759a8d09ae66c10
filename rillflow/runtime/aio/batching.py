"""Batching: items that arrive while a batch is under way leave with the next one.

Used by `runtime/definitions/catalogue.py` and `runtime/routing/router.py`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from rillflow.errors import DefectError, RillflowError
from rillflow.task_set import TaskSet

log = logging.getLogger("rillflow.batching")

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_IDLE = 64
"""Where so many keys have a batcher, idle ones are dropped before the next is made."""
MOST_IN_BATCH = 512
LONGEST_BATCH_BYTES = 4 << 20
"""Limit of a batch, so that neither end is busy for long; a larger item goes alone."""


class Batcher(Generic[Item, Answer]):
    """Sends items in batches and returns to each its own answer.

    A batch leaves at once if fewer than ``wide`` are under way. ``send`` takes a batch and returns
    the answers in its order. A RillflowError from it reaches every caller of the batch. After a
    DefectError, or any other exception, the items are sent one by one, so that an error reaches
    only its own item; sending an item twice must therefore be harmless.
    """

    def __init__(
        self,
        send: Callable[[list[Item]], Awaitable[list[Answer]]],
        *,
        wide: int = 1,
        size_of: Callable[[Item], int] | None = None,
    ) -> None:
        """Send by ``send``; ``size_of`` returns the bytes of items that may be large."""
        self._send = send
        self._size_of = size_of
        self._free = wide
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._batches = TaskSet[None]()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._batches)

    async def ask(self, item: Item) -> Answer:
        """Send one item with the next batch and return its answer.

        An item whose caller is cancelled before the batch leaves is not sent.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._start()
        try:
            return await future
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove((item, future))
            raise
        finally:
            del future  # the traceback of its error has this frame: they would keep each other

    async def ask_many(self, items: Sequence[Item]) -> "list[Answer | RillflowError]":
        """Send items with the next batches, and return the answer or the error of each.

        They take less than if each had a task that asks. Items whose caller is cancelled before
        their batch leaves are not sent.
        """
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        self._start()
        try:
            await asyncio.wait(futures)
        except asyncio.CancelledError:
            left = set(futures)
            self._waiting = deque(each for each in self._waiting if each[1] not in left)
            raise
        errors = [future.exception() for future in futures]
        return [
            error if isinstance(error, RillflowError) else future.result()
            for future, error in zip(futures, errors, strict=True)
        ]

    def _start(self) -> None:
        if self._free > 0 and self._waiting:
            self._free -= 1
            self._batches.start(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                count = self._that_fit()
                await self._send_batch([self._waiting.popleft() for _ in range(count)])
        finally:
            self._free += 1
        self._start()

    def _that_fit(self) -> int:
        """Return how many items fit into one batch, one at least."""
        most = min(len(self._waiting), MOST_IN_BATCH)
        if self._size_of is None or most == 1:
            return most
        size_bytes = 0
        for count, (item, _) in enumerate(islice(self._waiting, most)):
            size_bytes += self._size_of(item)
            if count and size_bytes > LONGEST_BATCH_BYTES:
                return count
        return most

    async def _send_batch(self, batch: list[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._send([item for item, _ in batch])
            for (_, future), answer in list(zip(batch, answers, strict=True)):
                if not future.done():
                    future.set_result(answer)
        except DefectError as error:
            await self._send_apart(batch, error)
        except RillflowError as error:
            self._fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                log.exception("batch_failed")
            await self._send_apart(batch, DefectError.of(error, "this process"))

    async def _send_apart(
        self, batch: list[tuple[Item, "asyncio.Future[Answer]"]], error: DefectError
    ) -> None:
        if len(batch) == 1:
            self._fail(batch, error)
            return
        for one in batch:
            if not one[1].done():
                await self._send_batch([one])

    def _fail(
        self, batch: list[tuple[Item, "asyncio.Future[Answer]"]], error: RillflowError
    ) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
        batch.clear()  # a frame of the error's traceback has it, and the futures have the error


class KeyedBatcher(Generic[Item, Answer]):
    """Sends items in batches of one key each.

    The answers to a batch come together, so an item waits for those of all others in it. Items of
    another key are never among them.
    """

    def __init__(
        self,
        send: Callable[[list[Item]], Awaitable[list[Answer]]],
        *,
        key_of: Callable[[Item], str],
        wide: int = 1,
        size_of: Callable[[Item], int] | None = None,
    ) -> None:
        """Send by ``send``, up to ``wide`` batches of each key at once; see ``Batcher``."""
        self._key_of = key_of
        self._new = partial(Batcher[Item, Answer], send, wide=wide, size_of=size_of)
        self._batchers: dict[str, Batcher[Item, Answer]] = {}

    def __len__(self) -> int:
        """Count the items that wait, and the batches that are under way."""
        return sum(map(len, self._batchers.values()))

    async def ask(self, item: Item) -> Answer:
        """Send one item with the next batch of its key and return its answer."""
        return await self._of(self._key_of(item)).ask(item)

    async def ask_many(self, items: Sequence[Item]) -> "list[Answer | RillflowError]":
        """Send items, and return the answer or the error of each, in their order."""
        places: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            places.setdefault(self._key_of(item), []).append(place)
        answered = await asyncio.gather(
            *(
                self._of(key).ask_many([items[place] for place in own])
                for key, own in places.items()
            )
        )
        by_place = {
            place: answer
            for own, answers in zip(places.values(), answered, strict=True)
            for place, answer in zip(own, answers, strict=True)
        }
        return [by_place[place] for place in range(len(items))]

    def _of(self, key: str) -> Batcher[Item, Answer]:
        batcher = self._batchers.get(key)
        if batcher is None:
            if len(self._batchers) >= MOST_IDLE:
                self._batchers = {key: each for key, each in self._batchers.items() if len(each)}
            batcher = self._batchers[key] = self._new()
        return batcher
