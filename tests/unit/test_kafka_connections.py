"""A Kafka client connects where the egress rules let it, and takes no endless answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rillflow.gateways.http_client.resolver import GuardedResolver
from rillflow.gateways.kafka.broker_rules import MOST_FRAME_BYTES, BrokerRules
from rillflow.gateways.kafka.guarded_loop import KafkaThread
from rillflow.gateways.outbound.egress import EgressRules, egress_rules
from rillflow.gateways.secrets.store import Secrets

pytestmark = pytest.mark.asyncio

FRAME = (5).to_bytes(4) + b"hello"
THREAD = KafkaThread()


def rules_for(
    *brokers: str,
    egress: EgressRules | None = None,
    places: dict[str, list[tuple[object, ...]]] | None = None,
    secret: str | None = None,
    hosts: dict[str, tuple[str, ...]] | None = None,
) -> BrokerRules:
    egress = egress or egress_rules(allow=(), deny=())

    def look_up(host: str) -> list[tuple[object, ...]]:
        return (places or {})[host]

    return BrokerRules(
        egress=egress,
        resolver=GuardedResolver(egress, timeout_s=5.0, look_up=look_up),
        brokers=brokers,
        secrets=Secrets(environment={}, hosts=hosts),
        secret=secret,
    )


def at(*addresses: str) -> list[tuple[object, ...]]:
    """Return addresses as the system's resolver does."""
    return [(0, 0, 0, "", (address, 0)) for address in addresses]


async def test_a_broker_that_a_public_one_names_is_not_looked_for_in_private() -> None:
    rules = rules_for("kafka.test:9092", places={"kafka.test": at("8.8.8.8")})
    assert await rules.addresses("kafka.test", 9092) == ["8.8.8.8"]
    for named in ("127.0.0.1", "10.0.0.1"):
        with pytest.raises(ConnectionRefusedError, match="must not lead to a loopback or private"):
            await rules.addresses(named, 9092)
    assert await rules.addresses("8.8.4.4", 9092) == ["8.8.4.4"]


async def test_a_private_broker_may_name_private_ones() -> None:
    rules = rules_for("[::1]:9092", "10.0.0.1:9092")
    assert await rules.addresses("::1", 9092) == ["::1"]
    assert await rules.addresses("10.0.0.2", 9092) == ["10.0.0.2"]


@pytest.mark.parametrize("host", ["169.254.169.254", "meta.test"])
async def test_addresses_of_metadata_are_reached_in_no_way(host: str) -> None:
    places = {"meta.test": at("8.8.8.8", "169.254.169.254")}
    rules = rules_for(f"{host}:80", places=places)
    with pytest.raises(ConnectionRefusedError, match="is not allowed"):
        await rules.addresses(host, 80)
    assert "egress to" in rules.refusal


async def test_a_password_goes_only_to_the_brokers_that_it_is_for() -> None:
    rules = rules_for("10.0.0.1:9092", secret="KAFKA", hosts={"KAFKA": ("10.0.0.1",)})
    assert await rules.addresses("10.0.0.1", 9092) == ["10.0.0.1"]
    with pytest.raises(ConnectionRefusedError, match="secret KAFKA may not be sent to"):
        await rules.addresses("10.0.0.2", 9092)


@asynccontextmanager
async def a_broker(*answers: bytes) -> AsyncIterator[tuple[str, int]]:
    """Serve what sends answers in these pieces, and then waits."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in answers:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]


async def read_from(place: tuple[str, int], rules: BrokerRules, count: int) -> bytes:
    """Read some bytes in the thread of Kafka, as its client does."""

    async def read() -> bytes:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.create_connection(
            lambda: asyncio.StreamReaderProtocol(reader), *place
        )
        try:
            return await reader.readexactly(count)
        finally:
            transport.close()

    return await THREAD.run(rules, read())


async def test_answers_pass_in_whatever_pieces_they_come() -> None:
    whole = FRAME + FRAME
    async with a_broker(*(bytes([byte]) for byte in whole)) as place:
        assert await read_from(place, rules_for(), len(whole)) == whole
    async with a_broker(whole) as place:
        assert await read_from(place, rules_for(), len(whole)) == whole


async def test_an_answer_that_is_announced_as_too_long_ends_the_connection() -> None:
    announced = (MOST_FRAME_BYTES + 1).to_bytes(4)
    async with a_broker(FRAME, announced[:1], announced[1:], b"x" * 100) as place:
        rules = rules_for()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await read_from(place, rules, 1000)
        assert f"a broker sends {MOST_FRAME_BYTES + 1} bytes at once" in rules.refusal


async def test_a_name_with_several_addresses_is_tried_at_each() -> None:
    async with a_broker(FRAME) as (_, port):
        rules = rules_for(places={"kafka.test": at("127.0.0.3", "127.0.0.1")})
        assert await read_from(("kafka.test", port), rules, len(FRAME)) == FRAME
        assert not rules.refusal
        rules = rules_for(places={"kafka.test": at("127.0.0.3")})
        with pytest.raises(ConnectionRefusedError):
            await read_from(("kafka.test", port), rules, len(FRAME))
        assert rules.refusal.startswith(f"kafka.test:{port} cannot be reached")
