"""Processes one release apart understand each other; others are refused, and told what to do."""

import asyncio
import pickle
import pickletools
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from msgspec.structs import replace

from rillflow.actors.connections.frames import ANSWER, REFUSAL, SocketConnection, exchanged
from rillflow.actors.connections.sockets import SocketServer
from rillflow.core.events import FOREACH_IN_PORTIONS
from rillflow.errors import ProtocolError
from rillflow.ports.cluster import ActorReport, ControllerReport
from rillflow.ports.deployment import (
    PROTOCOL,
    UNSAID,
    Deployment,
    protocol_of,
    refuse_distant,
)
from rillflow.ports.executions import decode_refusal
from rillflow.settings import Settings
from tests.deployments import FIRST
from tests.unit.wire_schema import methods, schema, stored

WRITE_ANEW: Final = (
    "a new kind of message or event: raise PROTOCOL unless this release has done so, and write the"
    " file anew by `python -m tests.unit.wire_schema`"
)
HEADER: Final = struct.Struct(">IQB")
WITHIN_S: Final = 60.0
DISTANT: Final = (PROTOCOL - 2, PROTOCOL + 2, 60)
IN_PICKLES: Final = {
    Deployment: (
        *("store_id", "version", "partition_map", "settings_digest", "code_version"),
        *("execution_actors", "dispatcher_actors", "secrets_digest"),
    ),
    ActorReport: (
        *("name", "node", "pid", "life", "is_ready", "deployment", "code_version"),
        *("execution_id", "partitions", "epoch", "hot", "calls"),
    ),
    ControllerReport: (
        *("node", "pid", "wanted", "reasons", "steps", "restarts"),
        *("fencings", "causes", "warnings"),
    ),
}
"""What actors answer over Ray, with the fields that the release before knows."""
NEAR: Final = (PROTOCOL - 1, PROTOCOL, PROTOCOL + 1)


@pytest.fixture(name="short_path")
def _short_path() -> Iterator[str]:
    # The path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="rfp-", dir="/tmp") as folder:
        yield f"{folder}/socket"


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    server = SocketServer(lambda message: message.upper(), "rillflow:execution:0")
    await server.start()
    try:
        yield server.path
    finally:
        server.close()


async def _ask(path: str, kind: int, payload: bytes) -> tuple[int, bytes]:
    """Ask as a process of another release does, by the bytes of its frame."""
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(HEADER.pack(len(payload), 7, kind) + payload)
        length, number, answered = HEADER.unpack(await reader.readexactly(HEADER.size))
        assert number == 7
        answer = await reader.readexactly(length)
        writer.close()
        return answered, answer


async def test_a_frame_without_a_protocol_is_answered_without_one() -> None:
    async with _server() as path:
        assert await _ask(path, 0, b"ping") == (ANSWER, b"PING")


@pytest.mark.parametrize("protocol", NEAR)
async def test_a_neighbouring_release_is_answered(protocol: int) -> None:
    async with _server() as path:
        assert await _ask(path, protocol << 2, b"ping") == (PROTOCOL << 2 | ANSWER, b"PING")


@pytest.mark.parametrize("protocol", [each for each in DISTANT if each > 0])
async def test_a_distant_release_is_refused_and_told_what_to_do(protocol: int) -> None:
    async with _server() as path:
        kind, refusal = await _ask(path, protocol << 2, b"ping")
    assert kind & 3 == REFUSAL
    error = decode_refusal(refusal)
    assert isinstance(error, ProtocolError)
    assert str(error).startswith(
        f"a process that asks rillflow:execution:0 speaks protocol {protocol}, and this process"
        f" protocol {PROTOCOL}."
    )
    assert "`rillflow cluster stop` and deploy again" in str(error)


class _Other(asyncio.Protocol):
    """Answers as a process of another release does, by frames of this kind."""

    def __init__(self, kind: int) -> None:
        self._kind = kind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        length, number, _ = HEADER.unpack_from(data)
        answer = data[HEADER.size :].upper()
        self._transport.write(HEADER.pack(length, number, self._kind) + answer)


async def _answer_by(path: str, kind: int) -> bytes:
    """Ask a process of another release, whose answers have this kind."""
    loop = asyncio.get_running_loop()
    async with (
        asyncio.timeout(WITHIN_S),
        await loop.create_unix_server(lambda: _Other(kind), path),
    ):
        connection = await SocketConnection.connect(path)
        try:
            return await connection.call(b"ping")
        finally:
            connection.close()


@pytest.mark.parametrize("kind", [ANSWER, *(each << 2 | ANSWER for each in NEAR)])
async def test_the_answer_of_a_neighbouring_release_is_taken(kind: int, short_path: str) -> None:
    assert await _answer_by(short_path, kind) == b"PING"


@pytest.mark.parametrize("protocol", [each for each in DISTANT if each > 0])
async def test_the_answer_of_a_distant_release_is_refused(protocol: int, short_path: str) -> None:
    with pytest.raises(ProtocolError, match=f"answers speaks protocol {protocol}, and"):
        await _answer_by(short_path, protocol << 2 | ANSWER)


async def test_a_message_over_ray_has_the_protocol_too() -> None:
    async def answer() -> bytes:
        return b"pong"

    assert await exchanged(UNSAID, answer, "a") == (PROTOCOL, ANSWER, b"pong")
    protocol, kind, refusal = await exchanged(PROTOCOL + 2, answer, "a")
    assert (protocol, kind) == (PROTOCOL, REFUSAL)
    assert isinstance(decode_refusal(refusal), ProtocolError)


def test_the_version_of_the_code_has_the_protocol() -> None:
    assert protocol_of("0.1.0+e1/7") == 7
    assert protocol_of("") == UNSAID


@pytest.mark.parametrize("protocol", DISTANT)
def test_what_is_more_than_one_apart_is_refused(protocol: int) -> None:
    with pytest.raises(ProtocolError):
        refuse_distant(protocol, "it")


def test_what_the_release_before_sends_and_reads_is_still_there() -> None:
    protocol, before, _ = stored()
    assert PROTOCOL - 1 <= protocol <= PROTOCOL
    now = schema()
    for name, fields in before.items():
        assert [each.strip("!") for each in now[name]][: len(fields)] == [
            each.strip("!") for each in fields
        ], name
        added = [each for each in now[name][len(fields) :] if each.endswith("!")]
        assert not added, f"{name} has new fields without a default: {added}"
    if protocol == PROTOCOL:
        assert now.keys() == before.keys(), WRITE_ANEW


def test_what_changes_a_replay_is_used_once_the_release_before_knows_it() -> None:
    _, before, _ = stored()
    known = {name.split()[0]: fields for name, fields in before.items()}["ExecutionSubmitted"]
    assert ("foreach_in_portions" in known) == FOREACH_IN_PORTIONS


def test_actors_have_the_methods_by_which_the_release_before_loads_their_classes() -> None:
    _, _, before = stored()
    assert methods() == before, "mark a new method with `sent_by_value`, and keep the others"


def test_answers_over_ray_have_no_field_that_the_release_before_cannot_load() -> None:
    deployment = replace(FIRST, languages=((1, 0),))
    report = ActorReport(name="a", node="n", pid=1, life="l", is_ready=True, deployment=deployment)
    controller = ControllerReport(
        node="n", pid=1, wanted=deployment, reasons=[], steps=0, restarts={}
    )
    for each in (deployment, report, controller):
        pickled = pickle.dumps(each)
        strings = {told for _, told, _ in pickletools.genops(pickled) if isinstance(told, str)}
        assert strings & set(each.__struct_fields__) == set(IN_PICKLES[type(each)])


def test_settings_of_the_release_before_get_the_defaults_of_what_it_did_not_know() -> None:
    settings = Settings(execution_actors=3)
    known = {name: value for name, value in settings if name != "drain_timeout_s"}
    state = settings.__getstate__() | {"__dict__": known}
    earlier = Settings.__new__(Settings)
    earlier.__setstate__(state)
    assert (earlier.execution_actors, earlier.drain_timeout_s) == (3, settings.drain_timeout_s)
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - own bytes
