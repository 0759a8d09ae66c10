"""Threads with a bounded queue that is shared fairly, for work that may take seconds.

There is one, where the work computes, or a few, where it waits for a disk or a server.

A caller who leaves while its work waits frees the place.

Used by `gateways`, `runtime` and `serve/routes`.
"""

import asyncio
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from math import inf
from typing import Any, Final, NamedTuple, TypeVar

from rillflow.errors import OverloadedError

Result = TypeVar("Result")


class Work(NamedTuple):
    """What waits for its turn; of two ``size``s of one key, the smaller may be told to be next."""

    future: "Future[Any]"
    call: Callable[[], Any]
    size: int


class FairThread:
    """A thread that takes the works of all keys in turn, one at a time.

    A work waits for one work of each other key at most, however many those have. The places are
    limited for each key, and for all together. When there is no place for a second work of any key,
    there are as many again for the first of others. Where there are several threads, one key has
    half of them at most.
    """

    def __init__(
        self, *, most: int, most_of_one: int, name: str, rest: float = 0.0, threads: int = 1
    ) -> None:
        """Give ``most`` works a place, and ``most_of_one`` those of one key.

        After each work its thread does nothing for ``rest`` times the processor time that it took.
        """
        self._rest = rest
        self._at_once_of_one = max(threads // 2, 1) if threads > 1 else inf
        self._running: Counter[str] = Counter()
        self._executor: Executor = ThreadPoolExecutor(
            threads, thread_name_prefix=f"rillflow-{name}"
        )
        self._name = name
        self._most = most
        self._most_of_one = most_of_one
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, deque[Work]] = {}
        self._turns: OrderedDict[str, None] = OrderedDict()
        """The keys whose works may begin, the one whose turn it was last at the end."""
        self._lock = threading.Lock()

    async def run(
        self, key: str, work: Callable[[], Result], *, size: int = 0, refuses: bool = True
    ) -> Result:
        """Return what ``work`` returns; it must not touch anything that others change meanwhile.

        What nobody outside has asked for is not refused: it ``refuses`` nothing, and waits for its
        turn beyond the places.

        Raises:
            OverloadedError: There is no place, for this key or for any (429).
        """
        return await self.begin(key, work, size=size, refuses=refuses)

    def begin(
        self, key: str, work: Callable[[], Result], *, size: int = 0, refuses: bool = True
    ) -> "asyncio.Future[Result]":
        """Return the future result of ``run``, whose work waits for its turn from now on.

        Raises:
            OverloadedError: There is no place, for this key or for any (429).
        """
        future: Future[Result] = Future()
        with self._lock:
            self._take_place(key, refuses=refuses)
            works = self._waiting.setdefault(key, deque())
            works.append(Work(future, work, size))
            self._give_turn(key)
        future.add_done_callback(partial(self._give_up, key))
        self._executor.submit(self._run_all)
        return asyncio.wrap_future(future)

    def _take_place(self, key: str, *, refuses: bool) -> None:
        of_one = self._taken.get(key, 0)
        if refuses:
            self._refuse_beyond_places(key, of_one)
        self._taken[key] = of_one + 1

    def _refuse_beyond_places(self, key: str, of_one: int) -> None:
        if of_one >= self._most_of_one:
            named = f"{of_one} {self._name} of {key}"
            raise OverloadedError(f"{named} are under way or waiting; try again later")
        taken = sum(self._taken.values())
        if taken >= (self._most if of_one else 2 * self._most):
            named = f"{taken} {self._name}"
            raise OverloadedError(f"{named} are under way or waiting; try again later")

    def _give_up(self, key: str, future: "Future[Any]") -> None:
        """Free the place of a work whose caller has left while it waited."""
        if not future.cancelled():
            return
        with self._lock:
            works = self._waiting.get(key, deque())
            given_up = next((each for each in works if each.future is future), None)
            if given_up is None:
                return  # its turn has come
            works.remove(given_up)
            if not works:
                del self._waiting[key]
                self._turns.pop(key, None)
            self._free_place(key)

    def _give_turn(self, key: str) -> None:
        """Let a key with waiting works have a turn, unless it has enough of the threads."""
        if key in self._waiting and self._running[key] < self._at_once_of_one:
            self._turns.setdefault(key)

    def _end_turn(self, key: str) -> None:
        self._running[key] -= 1
        self._give_turn(key)
        if not self._running[key]:
            del self._running[key]

    def _free_place(self, key: str) -> None:
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]

    def _take(self, key: str, works: deque[Work]) -> Work:  # noqa: ARG002 - others look at the key
        """Take the work off that is next of those of a key: the oldest."""
        return works.popleft()

    def _run_all(self) -> None:
        """Do works until none may begin: one that had to wait for a thread of its key has no call.

        So whoever ends a work takes the next one.
        """
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Do the work whose turn it is; return whether there was one."""
        with self._lock:
            if not self._turns:
                return False  # whoever waited has left, or has enough threads
            key, _ = self._turns.popitem(last=False)
            works = self._waiting[key]
            future, work, _size = self._take(key, works)
            self._running[key] += 1
            if not works:
                del self._waiting[key]
            self._give_turn(key)
        began_s = time.thread_time()
        outcome = _outcome_of(work) if future.set_running_or_notify_cancel() else None
        del work  # what it holds is not needed any more
        with self._lock:
            self._free_place(key)
            self._end_turn(key)
        # Only now, since whoever gets the result may come with the next work at once.
        if outcome is not None:
            _tell(future, *outcome)
        # The traceback of an error has this frame, which would keep the error and all it refers to.
        del future, outcome
        if self._rest:
            time.sleep(self._rest * (time.thread_time() - began_s))
        return True


def _outcome_of(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Do a work; return its result and its error, one of which is None.

    No frame of the traceback may know the future that gets the error: they would keep each other.
    """
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
        return None, error


def _tell(future: "Future[Any]", result: object, error: BaseException | None) -> None:
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


FOR_CALLBACKS: Final = FairThread(most=512, most_of_one=128, name="large callbacks")
"""The thread of this process that reads large and packed callbacks, which need no key.

Workspaces share it: of executions, and of definitions and triggers below, one may have many.
"""

FOR_SCHEMAS: Final = FairThread(most=64, most_of_one=32, name="schema-checks", rest=1.0)
"""The thread of this process that checks the data of submissions against ``inputSchema``."""
