"""No answer holds the event loop of a dispatcher: all connections share what a turn may parse."""

import asyncio
from collections.abc import Callable
from time import thread_time
from typing import Final

import pytest

from rillflow.errors import BrokenExchangeError
from rillflow.gateways.http_client.connection import DIRECT_BYTES, HttpConnection
from rillflow.gateways.http_client.parse_queue import SLICE_S, TURN_S, ParseQueue
from rillflow.gateways.outbound.exchange import Reply
from tests.machine_speed import slowness, tries

WITHIN_S: Final = 60.0
LONGEST_TURN_S: Final = 0.05
READ_BYTES: Final = 256 * 1024
CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT_CHUNK: Final = b"c\r\n" + b"x" * 12 + b"\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()  # it has no socket
        self.reads = True
        self.is_aborted = False

    def write(self, data: object) -> None:
        """Send nothing."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def abort(self) -> None:
        self.is_aborted = True


class Asked:
    """A connection, with a request whose response is awaited."""

    def __init__(self, queue: ParseQueue, peer: str = "192.0.2.1") -> None:
        self.wire = Wire()
        self.lost: list[HttpConnection] = []
        self.connection = HttpConnection(("http://f.test", "w"), peer, queue, self.lost.append)
        self.connection.connection_made(self.wire)
        self.reply: asyncio.Future[Reply] = self.connection.ask(
            b"GET / HTTP/1.1\r\n\r\n", None, is_head=False, most_bytes=10 << 20
        )


async def longest_turn_s(begin: Callable[[], None], until: "asyncio.Future[list[Reply]]") -> float:
    """Return the processor time of the longest turn of the loop."""
    loop = asyncio.get_running_loop()
    longest_s, last_s = 0.0, thread_time()

    def look() -> None:
        nonlocal longest_s, last_s
        now_s = thread_time()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
        if not until.done():
            loop.call_soon(look)

    loop.call_soon(begin)
    loop.call_soon(look)
    await asyncio.wait_for(until, WITHIN_S)
    return longest_s


async def test_what_many_connections_receive_in_one_turn_is_parsed_in_many() -> None:
    data = CHUNKED + SHORT_CHUNK * (READ_BYTES // len(SHORT_CHUNK)) + LAST_CHUNK

    async def received_s() -> float:
        queue = ParseQueue()
        asked = [Asked(queue) for _ in range(100)]

        def receive() -> None:
            for each in asked:
                each.connection.data_received(data)

        replies = asyncio.gather(*(each.reply for each in asked))
        longest_s = await longest_turn_s(receive, replies)
        assert {len(reply.body) for reply in replies.result()} == {data.count(b"x")}
        assert all(each.wire.reads and each.connection.is_free for each in asked)
        return longest_s

    for _ in tries():
        if (longest_s := await received_s()) < LONGEST_TURN_S * slowness():
            break
    else:
        pytest.fail(f"a turn takes {longest_s:.3f} s")


async def test_a_connection_with_unparsed_data_is_not_read() -> None:
    queue = ParseQueue()
    asked = [Asked(queue) for _ in range(10)]
    for each in asked:
        each.connection.data_received(CHUNKED + SHORT_CHUNK * 10_000)
    assert not asked[-1].wire.reads
    assert not asked[-1].reply.done()
    for each in asked:
        each.connection.data_received(LAST_CHUNK)
    await asyncio.wait_for(asyncio.gather(*(each.reply for each in asked)), WITHIN_S)
    assert all(each.wire.reads for each in asked)


async def test_a_small_answer_is_parsed_at_once_whatever_waits() -> None:
    queue = ParseQueue()
    for _ in range(10):
        Asked(queue).connection.data_received(CHUNKED + SHORT_CHUNK * 10_000)
    small = Asked(queue)
    small.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    assert small.reply.done()


async def test_an_answer_of_some_kilobytes_is_parsed_at_once_while_nothing_waits() -> None:
    asked = Asked(ParseQueue())
    length = 4 * DIRECT_BYTES
    asked.connection.data_received(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length
    )
    assert asked.reply.done()
    assert asked.wire.reads


async def test_the_peers_take_turns() -> None:
    """A peer with many connections delays that of another one by a slice, not by all of them."""
    queue = ParseQueue()
    order: list[str] = []
    done = asyncio.Event()

    class Busy:
        """Takes a slice for each piece, and has five of them."""

        def __init__(self, peer: str) -> None:
            self.peer = peer
            self.left = 5

        def parse_some(self) -> bool:
            order.append(self.peer)
            until_s = thread_time() + SLICE_S * 1.5
            while thread_time() < until_s:
                pass
            self.left -= 1
            if self.peer == "one" and not self.left:
                done.set()
            return self.left > 0

    for peer in ("many",) * 20 + ("one",):
        queue.add(Busy(peer))
    await asyncio.wait_for(done.wait(), WITHIN_S)
    last = len(order) - order[::-1].index("one")
    assert order[:last].count("many") <= 6
    assert SLICE_S * 5 <= TURN_S


async def test_an_answer_that_ends_with_its_connection_is_parsed_to_its_end() -> None:
    queue = ParseQueue()
    for _ in range(10):
        Asked(queue).connection.data_received(CHUNKED + SHORT_CHUNK * 10_000)
    asked = Asked(queue)
    asked.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)
    asked.connection.eof_received()
    asked.connection.connection_lost(None)
    assert (asked.reply.done(), asked.lost) == (False, [])
    assert len((await asyncio.wait_for(asked.reply, WITHIN_S)).body) == 100_000
    assert asked.lost == [asked.connection]


@pytest.mark.parametrize("ends", ["given up", "reset"])
async def test_a_connection_that_ends_while_it_waits_is_let_go_once(ends: str) -> None:
    queue = ParseQueue()
    for _ in range(10):
        Asked(queue).connection.data_received(CHUNKED + SHORT_CHUNK * 10_000)
    asked = Asked(queue)
    asked.connection.data_received(CHUNKED + SHORT_CHUNK * 10_000)
    if ends == "given up":
        asked.connection.connection_lost(None)
        asked.connection.close()
    else:
        asked.connection.connection_lost(ConnectionResetError(104, "reset"))
        with pytest.raises(BrokenExchangeError):
            await asked.reply
    assert asked.lost == [asked.connection]
    for _ in range(200):
        await asyncio.sleep(0)
    assert asked.lost == [asked.connection]


async def test_data_after_an_answer_are_of_no_other_one() -> None:
    queue = ParseQueue()
    for _ in range(10):
        Asked(queue).connection.data_received(CHUNKED + SHORT_CHUNK * 10_000)
    asked = Asked(queue)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9_000
    asked.connection.data_received(answer * 2 + b"HTTP/1.1 200 OK\r\n" * 2_000)
    assert len((await asyncio.wait_for(asked.reply, WITHIN_S)).body) == 9_000
    assert not asked.connection.is_free


@pytest.mark.parametrize("chunk", [b"1\r\n \r\n", b"4\r\n    \r\n"])
async def test_an_answer_in_tiny_chunks_is_refused_early(chunk: bytes) -> None:
    asked = Asked(ParseQueue())
    received = 0
    data = CHUNKED + chunk * 3_000
    while not asked.reply.done():
        asked.connection.data_received(data)
        received += len(data)
        data = chunk * 3_000
        await asyncio.sleep(0)
    with pytest.raises(BrokenExchangeError, match="packaging"):
        await asked.reply
    assert received < 512 * 1024
