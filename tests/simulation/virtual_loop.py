"""An event loop of virtual time that runs what is ready in a seeded order, one life at a time.

Nothing waits for real: when nothing is ready, the clock moves to the next timer. Every
callback belongs to the `Life` whose code scheduled it. What belongs to a life that was
killed never runs; what belongs to a frozen one waits until it is thawed. So a process
can die, or stop for a while, at every ``await``, and its code need not know.

Work on large texts, which a process does in a thread, is a callback too (`virtual_threads`).
"""

import asyncio
import heapq
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from random import Random
from typing import Any, Final, TypeVar

from rillflow.gateways.outbound import threads
from rillflow.gateways.outbound.fair_thread import FairThread

Result = TypeVar("Result")

MOST_STEPS: Final = 400_000


class LivelockError(Exception):
    """The loop took more steps than any sane run, or nothing is left that could happen."""


class Life:
    """One life of a simulated process, from its start until it is killed.

    ``frailty`` is how likely it dies before any one of its callbacks. Whoever must know
    of the end adds itself to ``mourners``.
    """

    def __init__(self, name: str, number: int, *, frailty: float = 0.0) -> None:
        self.name = name
        self.number = number
        self.frailty = frailty
        self.dead = False
        self.frozen = False
        self.held: list[_Step] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.mourners: list[Callable[[Life], None]] = []

    def __repr__(self) -> str:
        return f"{self.name}#{self.number}"

    def kill(self) -> None:
        """End this life at once, as ``kill -9`` does."""
        if not self.dead:
            self.dead = True
            self.held.clear()
            for mourner in self.mourners:
                mourner(self)


LIFE: Final[ContextVar[Life | None]] = ContextVar("life", default=None)


class _Step(asyncio.TimerHandle):
    """A callback that is to run, at once or at a time; as lean as a handle can be."""

    __slots__ = ("args", "call", "context", "life")

    def __init__(
        self,
        when: float,
        call: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> None:
        # The fields of asyncio's handles that anybody looks at; their __init__ costs more.
        self._when = when
        self._cancelled = False
        self.context = copy_context() if context is None else context
        self.life = self.context.get(LIFE)
        self.call = call
        self.args = args

    def __repr__(self) -> str:
        return f"{self.call} of {self.life}"

    def cancel(self) -> None:
        self._cancelled = True


class VirtualLoop(asyncio.AbstractEventLoop):
    """See the module."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._now_s = 0.0
        self._number = 0
        self._ready: list[_Step] = []
        self._timers: list[tuple[float, int, _Step]] = []
        self._running = False
        self._closed = False
        self._thread = threading.get_ident()
        self.steps = 0
        self.complaints: list[str] = []
        self.outside = Life("outside", 0)

    # -- what asyncio asks of a loop ------------------------------------------------

    def time(self) -> float:
        return self._now_s

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        step = _Step(self._now_s, callback, args, context)
        self._ready.append(step)
        return step

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Do it soon; complain of a real thread, whose time differs from run to run."""
        if threading.get_ident() != self._thread:
            self.complaints.append("something was done in a thread")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._number += 1
        step = _Step(when, callback, args, context)
        heapq.heappush(self._timers, (when, self._number, step))
        return step

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: Context | None = None,
    ) -> "asyncio.Task[Any]":
        context = copy_context() if context is None else context
        task: asyncio.Task[Any] = asyncio.Task(
            coro, loop=self, name=None if name is None else str(name), context=context
        )
        (context.get(LIFE) or self.outside).tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.default_exception_handler(context)

    async def shutdown_asyncgens(self) -> None:
        """No asynchronous generators are used."""

    # -- running --------------------------------------------------------------------

    def spawn(
        self, life: Life, coro: Coroutine[Any, Any, Result], *, name: str | None = None
    ) -> "asyncio.Task[Result]":
        """Start a task that belongs to a life, whoever asks for it."""
        context = copy_context()
        context.run(LIFE.set, life)
        return self.create_task(coro, name=name, context=context)

    def thaw(self, life: Life) -> None:
        """Let a frozen life go on."""
        life.frozen = False
        self._ready += life.held
        life.held.clear()

    def run_until_complete(self, future: Any) -> Any:
        """Run until a coroutine of no particular life is done."""
        main = self.spawn(self.outside, future, name="main")
        asyncio._set_running_loop(self)
        self._running = True
        try:
            while not main.done():
                self._run_once()
        finally:
            self._running = False
            asyncio._set_running_loop(None)
        return main.result()

    def _run_once(self) -> None:
        ready = self._ready
        if not ready:
            self._advance()
            return
        last = len(ready) - 1
        chosen = self._random.randrange(last + 1) if last else 0
        ready[chosen], ready[last] = ready[last], ready[chosen]
        step = ready.pop()
        life = step.life
        if step.cancelled() or (life is not None and not self._may_run(life, step)):
            return
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise LivelockError(f"{MOST_STEPS} steps and no end; the last was {step}")
        try:
            step.context.run(step.call, *step.args)
        except Exception as error:  # noqa: BLE001 - a loop survives its callbacks
            self.complaints.append(f"a callback raised {error!r}")

    def _may_run(self, life: Life, step: _Step) -> bool:
        if life.dead:
            return False
        if life.frozen:
            life.held.append(step)
            return False
        if life.frailty and self._random.random() < life.frailty:
            life.kill()
            return False
        return True

    def _advance(self) -> None:
        """Move the clock to the next timer, and all timers of that moment to what is ready."""
        timers = self._timers
        while timers and _is_void(timers[0][2]):
            heapq.heappop(timers)
        if not timers:
            raise LivelockError("nothing is ready and no timer is set")
        now_s = self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= now_s:
            self._ready.append(heapq.heappop(timers)[2])

    def close(self) -> None:
        """Forget what is left to do."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    def bury(self, lives: Sequence[Life]) -> None:
        """Close what some lives left unfinished; nothing of it may run any more.

        Closing runs what is in ``finally``, which may begin tasks that are closed as well.
        """
        asyncio._set_running_loop(self)
        try:
            for life in (*lives, self.outside):
                life.kill()
                while life.tasks:
                    _close(life.tasks.pop())
        finally:
            asyncio._set_running_loop(None)
        self.close()


class _VirtualThread(Executor):
    """Does works as callbacks of the loop, in the order in which they came.

    They belong to no life: nobody but whoever asked for one notices that it was done.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._works: deque[Callable[[], object]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self._works.append(partial(fn, *args, **kwargs))
        self._loop.call_soon(self._do_next, context=Context())
        return Future()

    def _do_next(self) -> None:
        self._works.popleft()()

    def finish(self) -> None:
        """Do what is left when the loop has ended."""
        while self._works:
            self._do_next()


@contextmanager
def virtual_threads(loop: VirtualLoop) -> Iterator[None]:
    """Have the loop do the work on large texts meanwhile."""
    used: tuple[FairThread, ...] = (threads._FOR_MIDDLE_TEXTS, threads._FOR_LARGE_TEXTS)
    before = [(each._executor, each._rest) for each in used]
    virtual = _VirtualThread(loop)
    for thread in used:
        thread._executor, thread._rest = virtual, 0.0
    try:
        yield
    finally:
        virtual.finish()
        for thread, (executor, rest) in zip(used, before, strict=True):
            thread._executor, thread._rest = executor, rest


def _close(task: "asyncio.Task[Any]") -> None:
    if task.done():
        return
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    with suppress(Exception):
        task.get_coro().close()  # type: ignore[union-attr]


def _is_void(step: _Step) -> bool:
    return step.cancelled() or (step.life is not None and step.life.dead)
