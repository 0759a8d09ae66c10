"""The readiness checks of a stack: Ray's processes, and Rillflow's.

Used by `actors/stack.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from rillflow.actors.cluster import controller_report
from rillflow.actors.peers import Peer
from rillflow.actors.placing import dispatchers, owners
from rillflow.actors.ray_context import gcs_address, is_controlled, own_raylet
from rillflow.errors import RillflowError
from rillflow.ports.clock import Clock
from rillflow.ports.cluster import ControllerReport
from rillflow.ports.deployment import Deployments
from rillflow.ports.messages import GetHealth, GetProcessToken, encode_message
from rillflow.ports.readiness import (
    CALLBACKS_UNREACHABLE,
    STORE_FULL,
    STORE_UNREADABLE,
    TOLD_BY_OWNERS,
    Reason,
    decode_reasons,
)
from rillflow.ports.storage.store import Store
from rillflow.private_apis.ray_core.state import RayletQuestions, ask_gcs, raylet_pid
from rillflow.runtime.backpressure.store_room import StoreRoom
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.readiness import Check, ReadinessWatch, reading
from rillflow.settings import Settings

log = logging.getLogger("rillflow.readiness")

GCS_S: Final = 1.0
"""Time limit for Ray's GCS, and for the raylet of this node."""
CONNECTION_S: Final = 0.3
"""Time limit for a connection to it; all three together are less than 2 s, with ``PAUSE_S``."""
CONTROLLER_PAUSE_S: Final = 2.0
"""Time between two questions to the controller."""
OWNERS_PAUSE_S: Final = 5.0
"""Time between two questions to an owner for its warnings."""
ANSWER_S: Final = 1.0
CONTROLLER_GONE: Final = Reason(
    "controller_missing",
    "the controller of the deployment does not answer; no actor is replaced or moved",
)
GCS_GONE: Final = Reason(
    "ray_gcs_gone", "Ray's GCS does not answer; nothing that dies is started again"
)
OTHER_STORE: Final = Reason(
    "other_store",
    "the actors of this cluster use another store than this replica, which a deployment has"
    " changed; if this stays, deploy again",
)
RAYLET_GONE: Final = Reason(
    "ray_raylet_gone", "Ray's raylet of this node has ended, and its workers end with it"
)
RAYLET_SILENT: Final = Reason(
    "ray_raylet_silent", "Ray's raylet of this node does not answer; no process starts here"
)


def ray_readiness(settings: Settings, store: Store) -> ReadinessWatch:
    """Return the readiness of the stack with these settings.

    Execution actors report whether the store accepts writes, because their writes matter; this
    process checks whether it can be read.
    """
    controller = ControllerCheck(settings, store) if is_controlled() else None
    return ReadinessWatch(
        _checks(settings, store, controller), warnings=_warnings(settings, controller)
    )


def _checks(
    settings: Settings, store: Store, controller: "ControllerCheck | None"
) -> Iterator[Check]:
    yield reading(store)
    if controller is not None:
        yield Check(controller.other_store, STORE_UNREADABLE, CONTROLLER_PAUSE_S)
    yield Check(GcsCheck(), GCS_GONE)
    yield Check(RayletCheck(), RAYLET_SILENT)
    for number, name in enumerate(owners(settings)):
        message = f"the execution actor {number} does not answer; its executions wait"
        yield Check(
            _health_of(Peer(name, settings.namespace)), Reason("execution_actor_missing", message)
        )
    for number, name in enumerate(dispatchers(settings)):
        message = f"the dispatcher {number} does not answer; its calls wait"
        yield Check(_life_of(Peer(name, settings.namespace)), Reason("dispatcher_missing", message))


def _warnings(settings: Settings, controller: "ControllerCheck | None" = None) -> Iterator[Check]:
    yield full_store(settings, SystemClock())
    for name in owners(settings):
        asks = _warnings_of(Peer(name, settings.namespace))
        yield Check(asks, CALLBACKS_UNREACHABLE, OWNERS_PAUSE_S)
    if controller is not None:
        yield Check(controller, CONTROLLER_GONE, CONTROLLER_PAUSE_S)


class ControllerCheck:
    """Asks the controller what keeps actors from being as wanted, and notes which store it wants.

    A replica of an earlier deployment on another store must not answer beside those of the next
    one: it knows neither their definitions nor their executions.
    """

    def __init__(
        self,
        settings: Settings,
        store: Deployments,
        ask: Callable[[Settings], Awaitable[ControllerReport | None]] = controller_report,
    ) -> None:
        """Ask the controller of these settings by ``ask``; ``store`` is that of this process."""
        self._settings = settings
        self._store = store
        self._ask = ask
        self._wanted = ""
        self._own = ""

    async def __call__(self) -> Sequence[Reason]:
        """Ask once; a controller that does not answer has not changed the store."""
        report = await self._ask(self._settings)
        if report is None:
            return (CONTROLLER_GONE,)
        self._wanted = report.wanted.store_id
        return report.reasons

    async def other_store(self) -> Sequence[Reason]:
        """Compare the store of this process with the one that the controller was last seen with.

        Raises:
            StoreError: The store cannot be read.
        """
        if self._wanted in ("", self._own):
            return ()
        stored = await self._store.deployment()
        if stored is None:
            return ()
        self._own = stored.store_id
        return () if self._wanted == self._own else (OTHER_STORE,)


def _health_of(peer: Peer) -> Callable[[], Awaitable[Sequence[Reason]]]:
    async def ask() -> Sequence[Reason]:
        return [each for each in await _told_by(peer) if each not in TOLD_BY_OWNERS]

    return ask


def _warnings_of(peer: Peer) -> Callable[[], Awaitable[Sequence[Reason]]]:
    async def ask() -> Sequence[Reason]:
        try:
            told = await asyncio.wait_for(_told_by(peer), ANSWER_S)
        except (RillflowError, TimeoutError):
            return ()  # That it does not answer is a reason of its own.
        return [each for each in told if each in TOLD_BY_OWNERS]

    return ask


async def _told_by(peer: Peer) -> list[Reason]:
    return decode_reasons(await peer.call(encode_message(GetHealth())))


def _life_of(peer: Peer) -> Callable[[], Awaitable[Sequence[Reason]]]:
    async def ask() -> Sequence[Reason]:
        await peer.call(encode_message(GetProcessToken()))
        return ()

    return ask


def full_store(settings: Settings, clock: Clock) -> Check:
    """Return the check that new executions have room on the disk of the store."""
    room = StoreRoom(settings, clock)

    async def look() -> Sequence[Reason]:
        return (STORE_FULL,) if room.is_full() else ()

    return Check(look, STORE_FULL)


class RayServer(Protocol):
    """A server of Ray that can be asked whether it answers."""

    async def ask(self, timeout_s: float, /) -> None:
        """Return once it has answered; an error says that it has not."""
        ...


class _ServerCheck:
    """Asks a server of Ray whether it answers.

    A slow answer is no death: where the port takes connections, a question that failed is asked
    again before that is told. A server that was killed takes none, and is told of at once.
    """

    def __init__(self, ask: Callable[[], Awaitable[None]], address: Callable[[], str]) -> None:
        self._ask = ask
        self._address = address
        self._answered = False

    async def __call__(self) -> Sequence[Reason]:
        """Ask once.

        Raises:
            Exception: The server is gone, or has not answered twice in a row.
        """
        answered, self._answered = self._answered, False
        try:
            await self._ask()
        except Exception:
            if not answered or not await _takes_connections(self._address()):
                raise
        else:
            self._answered = True
        return ()


class GcsCheck(_ServerCheck):
    """The check that Ray's GCS answers; it waits in a thread of its own."""

    def __init__(
        self,
        ask: Callable[[float], None] = ask_gcs,
        address: Callable[[], str] = gcs_address,
    ) -> None:
        """Ask by ``ask``, with a time limit in seconds; ``address`` is ``host:port``."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rillflow-gcs")

        async def wait() -> None:
            await asyncio.get_running_loop().run_in_executor(thread, ask, GCS_S)

        super().__init__(wait, address)


class RayletCheck:
    """The check that the raylet of this process runs and answers, if it has one."""

    def __init__(
        self,
        find: Callable[[], tuple[str, int]] = own_raylet,
        reach: Callable[[str, int], RayServer] = RayletQuestions,
    ) -> None:
        """Ask by what ``reach`` returns for where ``find``, which may wait, says it listens."""
        self._find = find
        self._reach = reach
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rillflow-raylet")
        self._asked: _ServerCheck | None = None

    async def __call__(self) -> Sequence[Reason]:
        """Ask once.

        Raises:
            Exception: It has not answered twice in a row, or is not found.
        """
        pid = raylet_pid()
        if pid is None:
            return ()
        if not runs(pid):
            return (RAYLET_GONE,)
        try:
            return await (await self._questions())()
        except Exception:
            if not runs(pid):
                return (RAYLET_GONE,)
            raise

    async def _questions(self) -> _ServerCheck:
        if self._asked is None:
            loop = asyncio.get_running_loop()
            host, port = await loop.run_in_executor(self._thread, self._find)
            questions = self._reach(host, port)
            self._asked = _ServerCheck(lambda: questions.ask(GCS_S), lambda: f"{host}:{port}")
        return self._asked


async def _takes_connections(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        opened = asyncio.open_connection(host.strip("[]"), int(port))
        _, writer = await asyncio.wait_for(opened, CONNECTION_S)
    except (OSError, ValueError):  # a TimeoutError is an OSError
        return False
    writer.close()
    return True


def runs(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists()  # without /proc it cannot be told
    except OSError:
        return True  # nor without a file left to look
    return stat.rpartition(")")[2].split()[0] not in "ZX"
