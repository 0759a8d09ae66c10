"""Real sockets between owners and dispatchers: a cut connection loses nothing, and doubles nothing.

Between the two ends of a connection stands a relay, which hangs up in the middle of what it
carries, or carries nothing for a while.
"""

import asyncio
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat
from random import Random
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import pytest
import ray

from rillflow.actors import peers
from rillflow.actors.connections.sockets import ASK_ADDRESS, SocketServer
from rillflow.actors.peers import Peer
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ports.cluster import ActorReport
from rillflow.ports.deployment import PROTOCOL
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.messages import (
    Answers,
    GetProcessToken,
    NetworkAddress,
    decode_network_address,
    decode_owner_message,
    encode_message,
    encode_network_address,
)
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from tests.loopback import attempt, connection_to

DISPATCHER: Final = "dispatcher"
OWNER: Final = "owner"
ASK_LIFE: Final = encode_message(GetProcessToken())
CUTS: Final = 30
BATCHES: Final = 40
AT_ONCE: Final = 5
PIECE_BYTES: Final = 65_536
ENDLESS: Final = 1 << 40
WITHIN_S: Final = 60.0
TOLD: Final = "messages_go_over_ray"


class Budget(NamedTuple):
    """How many bytes are carried in each direction before both are cut."""

    there: int
    back: int


class Relay:
    """Carries bytes to a socket and back, on each connection as many as ``budgets`` say."""

    def __init__(self, server: SocketServer, budgets: Sequence[Budget], *, is_near: bool) -> None:
        self._to = server
        self._is_near = is_near
        self._budgets = chain(budgets, repeat(Budget(ENDLESS, ENDLESS)))
        self._folder = tempfile.TemporaryDirectory(prefix="rfl-", dir="/tmp")
        self._carrying = asyncio.Event()
        self._carrying.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._refusing = socket.socket()
        self.cuts = 0
        self.connections = 0
        self.over_ray = 0
        self.path = f"{self._folder.name}/socket"

    def pause(self) -> None:
        """Read nothing, as a process does that stands still."""
        self._carrying.clear()

    def go_on(self) -> None:
        """Carry what has come meanwhile, and what comes."""
        self._carrying.set()

    def hang_up(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def start(self) -> None:
        if self._is_near:
            self._server = await asyncio.start_unix_server(self._carry, self.path)
        else:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
            self._here = self._server.sockets[0].getsockname()

    def keep_out(self) -> None:
        """Have connections refused, on a port that nobody else gets meanwhile."""
        self._server.close()
        self._refusing.bind(("127.0.0.1", 0))
        self._here = self._refusing.getsockname()

    async def exchange(self, protocol: int, message: bytes) -> tuple[int, int, bytes]:
        """Answer over Ray, with the address of the relay in the place of the actor's."""
        await asyncio.sleep(0)  # as nobody else is answered within the same turn
        theirs, kind, answer = await self._to.exchange(protocol, message)
        if message != ASK_ADDRESS:
            self.over_ray += 1
            return theirs, kind, answer
        there = decode_network_address(answer)
        assert there is not None
        self._there = there.host, there.port
        host, port = self._here
        return theirs, kind, encode_network_address(NetworkAddress(host, port, there.key))

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._is_near:
            return await asyncio.open_unix_connection(self._to.path)
        return await asyncio.open_connection(*self._there)

    def close(self) -> None:
        self._server.close()
        self._refusing.close()
        self.hang_up()
        self._folder.cleanup()

    async def _carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.connections += 1
        budget = next(self._budgets)
        far, onwards = await self._open()
        pair = [onwards, back]
        self._writers += pair
        await asyncio.gather(
            self._pump(near, onwards, budget.there), self._pump(far, back, budget.back)
        )
        for writer in pair:
            writer.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int
    ) -> None:
        """Carry one direction, and hang up when more than what is left has come."""
        try:
            while data := await source.read(PIECE_BYTES):
                await self._carrying.wait()
                carried = data[:left]
                left -= len(carried)
                sink.write(carried)
                await sink.drain()
                if len(carried) < len(data):
                    self.cuts += 1
                    self.hang_up()
        except ConnectionError:
            return
        finally:
            sink.close()


class Owner:
    """Orders calls of a dispatcher, and takes their answers."""

    def __init__(self, dispatcher: Peer) -> None:
        self.client = DispatcherClient(OWNER, [dispatcher.call])
        self.client.serve(self)
        self.taken: set[tuple[str, str, int, int]] = set()
        self._changed = asyncio.Condition()

    @property
    def epoch(self) -> int:
        return 1

    async def is_replaced(self) -> bool:
        return False

    async def still_awaited(self, requests: Sequence[DispatchRequest]) -> list[DispatchRequest]:
        return list(requests)

    async def has_started(self) -> None:
        """It has started."""

    async def ended_calls(self, _: Sequence[CallId]) -> list[CallId]:
        return []

    async def unawaited(self, _: Iterable[DispatchRequest]) -> list[DispatchRequest]:
        return []

    async def answers_arrived(self, answers: Sequence[DispatchAnswer]) -> None:
        async with self._changed:
            self.taken.update(answer.call for answer in answers)
            self._changed.notify_all()

    async def take(self, data: bytes) -> bytes:
        message = decode_owner_message(data)
        assert isinstance(message, Answers)
        answers = message.answers
        await self.answers_arrived(answers)
        self.client.answered(answers)
        return b""

    async def until_taken(self, requests: Sequence[DispatchRequest]) -> None:
        calls = {request.call for request in requests}
        async with self._changed, asyncio.timeout(WITHIN_S):
            await self._changed.wait_for(lambda: calls <= self.taken)


class CountingGateway:
    """Answers every call with what it was sent, and counts them."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str, int, int]] = Counter()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.calls[request.call] += 1
        return DispatchAnswer(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            body=request.input,
        )

    async def close(self) -> None:
        """Hold nothing open."""


class Pair:
    """An owner and a dispatcher, on one node or on two, with a relay before each of them."""

    def __init__(self, budgets: dict[str, list[Budget]], *, is_near: bool) -> None:
        self._is_near = is_near
        self.gateway = CountingGateway()
        self.peer = Peer(DISPATCHER, "lines")
        self._back = Peer(OWNER, "lines")
        self.owner = Owner(self.peer)
        endpoint = DispatcherEndpoint(self.gateway, life=b"life", connect=lambda _: self._back.call)
        takers = {DISPATCHER: connection_to(endpoint), OWNER: self.owner.take}
        self.servers = {name: SocketServer(take, name) for name, take in takers.items()}
        self.relays = {
            name: Relay(server, budgets.get(name, []), is_near=is_near)
            for name, server in self.servers.items()
        }

    async def start(self) -> None:
        for server in self.servers.values():
            await server.start()
        for relay in self.relays.values():
            await relay.start()

    async def stop(self) -> None:
        await self.owner.client.stop()
        for peer in (self.peer, self._back):
            peer.close()
        for relay in self.relays.values():
            relay.close()
        for server in self.servers.values():
            server.close()

    def handle(self, name: str, **_: str) -> Any:
        """Return what Ray returns for an actor's name, as far as peers use it."""

        async def socket() -> tuple[str, str]:
            return "here" if self._is_near else "there", self.relays[name].path

        async def report() -> ActorReport:
            code = f"1/{PROTOCOL}"
            return ActorReport(
                name=name, node="there", pid=1, life="life", is_ready=True, code_version=code
            )

        methods = {"socket": socket, "report": report, "exchange": self.relays[name].exchange}
        return SimpleNamespace(
            **{each: SimpleNamespace(remote=method) for each, method in methods.items()}
        )


@asynccontextmanager
async def pair_of(
    patch: pytest.MonkeyPatch, *, is_near: bool, **budgets: list[Budget]
) -> AsyncIterator[Pair]:
    pair = Pair(budgets, is_near=is_near)
    here = SimpleNamespace(get_node_id=lambda: "here")
    patch.setattr(peers, "PAUSE_S", 0.0)
    patch.setattr(peers, "LOOK_AGAIN_S", 0.0)
    # A port whose handshakes are cut again and again would be gone round.
    patch.setattr(peers, "MOST_FAILURES", ENDLESS if budgets else peers.MOST_FAILURES)
    patch.setattr(ray, "get_actor", pair.handle)
    patch.setattr(ray, "get_runtime_context", lambda: here)
    patch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    await pair.start()
    try:
        yield pair
    finally:
        await pair.stop()


NODES: Final = pytest.mark.parametrize(
    "is_near", [True, False], ids=["on one node", "between nodes"]
)


@NODES
@pytest.mark.parametrize("size", [100, 100_000])
async def test_a_connection_that_is_cut_anywhere_loses_nothing_and_repeats_no_call(
    monkeypatch: pytest.MonkeyPatch, size: int, *, is_near: bool
) -> None:
    random = Random(size)  # noqa: S311 - no secret
    batch_bytes = AT_ONCE * (size + 200)
    # Questions are cut, and the answers to others, which are short.
    # Between nodes the handshake comes first, and a tag with each frame.
    first_bytes = 40 if is_near else 140
    cuts = [(2 * batch_bytes, ENDLESS), (ENDLESS, first_bytes)] * (CUTS // 2)
    budgets = {
        name: [Budget(random.randrange(there), random.randrange(back)) for there, back in cuts]
        for name in (DISPATCHER, OWNER)
    }
    async with pair_of(monkeypatch, is_near=is_near, **budgets) as pair:
        for number in range(BATCHES):
            batch = [request_of(number * AT_ONCE + each, size) for each in range(AT_ONCE)]
            pair.owner.client.send(batch)
            await pair.owner.until_taken(batch)
        assert all(relay.cuts > CUTS // 2 for relay in pair.relays.values())
    assert len(pair.gateway.calls) == BATCHES * AT_ONCE
    assert set(pair.gateway.calls.values()) == {1}


@NODES
@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_peer_that_stops_reading_is_waited_for_and_asked_again_when_it_is_cut(
    monkeypatch: pytest.MonkeyPatch, *, is_cut: bool, is_near: bool
) -> None:
    async with pair_of(monkeypatch, is_near=is_near) as pair:
        first, meanwhile = [request_of(1, 100)], [request_of(n, 100_000) for n in range(2, 50)]
        pair.owner.client.send(first)
        await pair.owner.until_taken(first)
        relay = pair.relays[DISPATCHER]
        relay.pause()
        pair.owner.client.send(meanwhile)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pair.peer.call(ASK_LIFE), 0.1)
        if is_cut:
            relay.hang_up()
        relay.go_on()
        await pair.owner.until_taken(meanwhile)
        assert await pair.peer.call(ASK_LIFE) == b"life"
    assert set(pair.gateway.calls.values()) == {1}


def request_of(number: int, size: int) -> DispatchRequest:
    return attempt("http://127.0.0.1/work", attempt=number, input=b"x" * size)


async def test_while_a_port_cannot_be_reached_messages_go_over_ray(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair_of(monkeypatch, is_near=False) as pair, asyncio.timeout(WITHIN_S):
        relay = pair.relays[DISPATCHER]
        relay.keep_out()
        first, second = [request_of(1, 100)], [request_of(2, 100)]
        pair.owner.client.send(first)
        await pair.owner.until_taken(first)
        assert (relay.connections, relay.over_ray > 0) == (0, True)
        assert [each.__dict__["actor"] for each in caplog.records if each.msg == TOLD][:1] == [
            DISPATCHER
        ]
        await relay.start()
        while not relay.connections:
            assert await pair.peer.call(ASK_LIFE) == b"life"
        # The connection may be under way still.
        while await _is_over_ray(pair, relay):
            assert relay.connections
        before = relay.over_ray
        pair.owner.client.send(second)
        await pair.owner.until_taken(second)
        assert relay.over_ray == before
    assert set(pair.gateway.calls.values()) == {1}


async def _is_over_ray(pair: Pair, relay: Relay) -> bool:
    before = relay.over_ray
    assert await pair.peer.call(ASK_LIFE) == b"life"
    return relay.over_ray > before
