"""A connection is used by one workspace, and a host has no more of them than calls at once."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from contextlib import ExitStack

from rillflow.gateways.http.gateway import HttpGateway
from tests.loopback import RawServer, attempt, gateway, raw_server, read_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LONG_S = 60.0
FALSE = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"false"'


async def _answers(
    opened: HttpGateway, server: RawServer, workspaces: Sequence[str]
) -> list[bytes | None]:
    calls = (
        opened.call(attempt(server.url, execution_id=f"{name}:f_c_1", task=f"t{number}"))
        for number, name in enumerate(workspaces)
    )
    return [answer.body for answer in await asyncio.gather(*calls)]


async def _at_once(_: StreamReader, writer: StreamWriter) -> None:
    writer.write(OK)


async def test_a_function_answers_for_no_other_workspace_however_late_it_answers_twice() -> None:
    hostile: list[StreamWriter] = []

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(OK)
        if not hostile:
            hostile.append(writer)
            await read_request(reader)
            writer.write(FALSE)

    async with raw_server(talk) as server, gateway() as opened:
        assert await _answers(opened, server, ["hostile"]) == [b"{}"]
        for _ in range(3):
            assert await _answers(opened, server, ["other"]) == [b"{}"]
        assert server.connections == 2
        assert await _answers(opened, server, ["hostile"]) == [b'"false"']


async def test_each_workspace_uses_its_connections_again() -> None:
    async with raw_server(_at_once) as server, gateway() as opened:
        for _ in range(5):
            assert await _answers(opened, server, ["a", "b", "c"]) == 3 * [b"{}"]
        assert (server.connections, server.requests) == (3, 15)


class _Open:
    """Counts the connections that are open, at the server, and tells when one ends."""

    def __init__(self) -> None:
        self.now = 0
        self.has_ended = asyncio.Event()

    async def talk(self, reader: StreamReader, writer: StreamWriter) -> None:
        with ExitStack() as ends:
            self.now += 1
            ends.callback(self._ended)
            writer.write(OK)
            while await read_request(reader):
                writer.write(OK)

    def _ended(self) -> None:
        self.now -= 1
        self.has_ended.set()


async def test_a_host_has_no_more_connections_than_calls_at_once() -> None:
    counting = _Open()
    names = [f"w{number}" for number in range(6)]
    limits = {"limit_per_host": 4, "keep_alive_s": 600.0}
    async with raw_server(counting.talk) as server, gateway(**limits) as opened:
        for _ in range(4):
            assert await _answers(opened, server, 3 * names) == 18 * [b"{}"]
            async with asyncio.timeout(LONG_S):
                while counting.now > 4:  # those that were given up are about to end
                    counting.has_ended.clear()
                    await counting.has_ended.wait()
            assert counting.now == 4


async def test_the_workspace_that_keeps_most_gives_a_connection_up() -> None:
    async with raw_server(_at_once) as server, gateway(limit_per_host=4) as opened:
        await _answers(opened, server, ["many"] * 3)
        await _answers(opened, server, ["one"])
        await _answers(opened, server, ["next"])
        before = server.connections
        await _answers(opened, server, ["one", "next", "many", "many"])
        assert (before, server.connections) == (5, 5)
