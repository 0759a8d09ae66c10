"""A submission enters no more modules before its acknowledgement than the decision on them says.

The replica and the owner are in one process here, with a socket between them. What the owner does
after it has handed its answer to the socket is not counted, though the replica still has to read
the answer; nor is what the replica does after its own answer. Modules that only a Ray cluster needs
are counted without being entered.
"""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx
import pytest

from rillflow.actors.connections.frames import ServerConnection, SocketConnection
from rillflow.actors.connections.sockets import SocketServer
from rillflow.ids import PARTITIONS, ExecutionId
from rillflow.ports.gateway import DispatcherState
from rillflow.ports.messages import GetLoopState, GetMeters
from rillflow.runtime.backpressure.admission import SubmissionLimit, UnansweredCalls
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.endpoints.owner_endpoint import OwnerEndpoint, OwnerGates
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.readiness import ReadinessWatch
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from rillflow.runtime.stack import Stack
from rillflow.settings import Settings
from rillflow.stores import open_store
from rillflow.testing import FakeOpenFaaS
from serve.api import create_api
from tests.api.definition_texts import calling
from tests.api.serving import Api, MovableClock, NoActors, OneActor, listening

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "decisions" / "processes" / "path-of-a-submission.md"
ON_A_CLUSTER: Final = (
    "rillflow/actors/peers.py",
    "rillflow/private_apis/ray_serve/shortcut.py",
    "rillflow/runtime/process/clock.py",
)
"""That, and the clock of the machine, which tests replace."""
BESIDE_IT: Final = ("rillflow/runtime/process/loop_watch.py",)
"""Entered by a timer, whatever comes in."""
OF_THE_OWNER: Final = tuple(
    f"{ROOT}/rillflow/runtime/{package}/" for package in ("commands", "dispatch", "owner")
)
"""Whatever these packages do after the owner's answer belongs to no submission that waits."""
MOST_OF_SERVE: Final = 7


class NoDedicatedOwners:
    """No execution of these tests has an actor of its own."""

    def find(self, execution_id: ExecutionId) -> OwnerRef | None:
        raise AssertionError(execution_id)

    def spawn(self, execution_id: ExecutionId) -> OwnerRef:
        raise AssertionError(execution_id)

    def forget(self, execution_id: ExecutionId) -> None:
        raise AssertionError(execution_id)


class NoDispatchers:
    """Nobody asks about dispatchers here."""

    async def states(self) -> list[DispatcherState]:
        return []


class Link:
    """An owner of executions, and the way to it over a socket."""

    def __init__(self, settings: Settings) -> None:
        self.store = open_store("memory:")
        self.routes = ExecutionRouter(
            [OwnerRef(self._call, watcher="replica")], NoDedicatedOwners()
        )
        # Calls leave only once callbacks can come, which is not yet.
        self._dispatcher = DispatcherClient("owner", [self._no_call], asyncio.Event())
        self._owner = ExecutionOwner(
            store=self.store,
            clock=SystemClock(),
            dispatcher=self._dispatcher,
            executions=self.routes,
            callback_host=settings.callback_base_url,
            partitions=range(PARTITIONS),
        )
        endpoint = OwnerEndpoint(
            self._owner,
            self._dispatcher,
            life="first",
            limit=SubmissionLimit(
                unanswered=UnansweredCalls(
                    lambda: sum(map(len, self._dispatcher.unanswered)) + self._owner.held.count
                )
            ),
        )
        self._gates = OwnerGates(endpoint, "owner", self._refuse)
        self._server = SocketServer(self._gates.answer, "owner")
        self._connection: SocketConnection | None = None

    async def start(self) -> None:
        await self._owner.start()
        await self._server.start()
        self._gates.open()
        self._connection = await SocketConnection.connect(self._server.path)

    async def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._server.close()
        await self._dispatcher.stop()
        await self._owner.stop()

    async def _call(self, message: bytes) -> bytes:
        assert self._connection is not None
        return await self._connection.call(message)

    def _refuse(self, asked: GetLoopState | GetMeters) -> bytes:
        raise AssertionError(asked)

    async def _no_call(self, message: bytes) -> bytes:
        raise AssertionError(message)


@asynccontextmanager
async def served_over_a_socket() -> AsyncIterator[Api]:
    with socket.socket(proto=socket.IPPROTO_TCP) as door:
        door.bind(("127.0.0.1", 0))
        settings = Settings(port=door.getsockname()[1])
        link, clock = Link(settings), MovableClock()
        stack = Stack(
            settings,
            store=link.store,
            executions=link.routes,
            dispatchers=NoDispatchers(),
            loops=NoActors(),
            cluster=OneActor(),
            readiness=ReadinessWatch([]),
            clock=clock,
        )
        stack.submissions.suits = link.routes.suits
        app = create_api(stack, link.start)
        async with FakeOpenFaaS({}) as gateway, listening(door, app):
            async with httpx.AsyncClient(base_url=settings.base_url, timeout=30) as client:
                yield Api(client, app, stack, gateway, clock)
            await link.stop()


def _is_answer_of_owner(frame: FrameType) -> bool:
    is_sent = frame.f_code is ServerConnection.send.__code__
    return is_sent and isinstance(frame.f_locals["self"], ServerConnection)


def _is_answer_of_replica(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_name != "send" or "/uvicorn/protocols/http/" not in code.co_filename:
        return False
    return bool(frame.f_locals["message"]["type"] == "http.response.body")


def _is_of_the_owner(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(OF_THE_OWNER):
            return True
        frame = frame.f_back
    return False


@contextmanager
def entered() -> Iterator[list[str]]:
    """Note the modules of this repository that functions are called in, each once."""
    modules: list[str] = []
    root = f"{ROOT}/"
    is_answered = is_acknowledged = False

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal is_answered, is_acknowledged
        code = frame.f_code
        is_acknowledged = is_acknowledged or (event == "call" and _is_answer_of_replica(frame))
        if is_acknowledged:
            return
        if event != "call" or code.co_name == "<module>" or not code.co_filename.startswith(root):
            return
        is_answered = is_answered or _is_answer_of_owner(frame)
        name = code.co_filename.removeprefix(root)
        if not name.startswith(("rillflow/", "serve/")) or name in (*modules, *BESIDE_IT):
            return
        if not (is_answered and _is_of_the_owner(frame)):
            modules.append(name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield modules
    finally:
        sys.setprofile(before)
    assert is_acknowledged


@pytest.fixture(name="path")
async def _path() -> list[str]:
    async with served_over_a_socket() as api:
        version = await api.add(calling("work"))
        await api.submit(version, {"a": 1})  # reads and compiles the definition
        with entered() as modules:
            await api.submit(version, {"a": 1})
    return modules


async def test_a_submission_enters_no_more_modules_than_the_page_of_the_decision_says(
    path: list[str],
) -> None:
    [most] = map(
        int, re.findall(r"^# A submission enters (\d+) modules", PAGE.read_text(encoding="utf-8"))
    )
    assert len({*path, *ON_A_CLUSTER}) <= most, "\n".join(path)


async def test_a_submission_enters_so_many_modules_of_serve(path: list[str]) -> None:
    assert len([name for name in path if name.startswith("serve/")]) <= MOST_OF_SERVE


async def test_the_page_of_the_decision_names_each_module(path: list[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not [name for name in (*path, *ON_A_CLUSTER) if f"`{name}`" not in page]
