"""An event loop that connects only where the rules of a Kafka client let it, in its own thread.

aiokafka opens connections by the event loop that it runs in, to the addresses that are given to it
and to those that brokers name. This loop asks the rules of the client about each, connects to the
very address that was judged, and ends a connection whose other end announces too much.

Used by `gateways/kafka/source.py`.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from rillflow.gateways.kafka.broker_rules import MOST_FRAME_BYTES, BrokerRules

RULES: Final[ContextVar[BrokerRules]] = ContextVar("rules of a Kafka client")
_SIZE_BYTES: Final = 4

T = TypeVar("T")


class GuardedLoop(asyncio.SelectorEventLoop):
    """Connects as ``RULES`` of the calling task let it."""

    async def create_connection(  # type: ignore[override] # only what aiokafka uses
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl: Any = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a broker, at the first of its addresses that answers.

        Raises:
            OSError: None does, or the rules refuse one.
        """
        rules = RULES.get()
        addresses = await rules.addresses(host, port)
        if ssl is not None:
            options["server_hostname"] = host
        failure: OSError = ConnectionError(f"{host} has no address")
        for address in addresses:
            try:
                connected = await super().create_connection(
                    lambda: _BoundedFrames(protocol_factory(), rules),
                    address,
                    port,
                    ssl=ssl,
                    **options,
                )
            except OSError as error:
                failure = error
            else:
                rules.refusal = ""
                return connected
        rules.refusal = f"{host}:{port} cannot be reached: {failure.strerror or failure}"
        raise failure


class _BoundedFrames(asyncio.Protocol):
    """Passes on what comes, unless a frame is announced that is too long."""

    def __init__(self, inner: asyncio.Protocol, rules: BrokerRules) -> None:
        self._inner = inner
        self._rules = rules
        self._transport: asyncio.Transport | None = None
        self._left = 0
        self._size = b""

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # of a stream
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._are_short(data):
            self._inner.data_received(data)
        elif self._transport is not None:
            self._transport.abort()

    def _are_short(self, data: bytes) -> bool:
        """Follow the frames in what comes: four bytes of size, and so many bytes."""
        at = 0
        while at < len(data):
            if self._left:
                passed = min(self._left, len(data) - at)
                self._left -= passed
                at += passed
                continue
            wanted = _SIZE_BYTES - len(self._size)
            self._size += data[at : at + wanted]
            at += wanted
            if len(self._size) == _SIZE_BYTES:
                self._left = int.from_bytes(self._size)
                self._size = b""
                if self._left > MOST_FRAME_BYTES:
                    self._rules.refuse_frame(self._left)
                    return False
        return True


class KafkaThread:
    """The thread of all Kafka clients of a process, which begins with the first of them."""

    def __init__(self) -> None:
        self._loop: GuardedLoop | None = None
        self._lock = threading.Lock()

    async def run(self, rules: BrokerRules, work: Coroutine[Any, Any, T]) -> T:
        """Have the thread do something under the rules of a client."""

        async def ruled() -> T:
            RULES.set(rules)
            return await work

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ruled(), self._started()))

    def _started(self) -> GuardedLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = GuardedLoop()
                threading.Thread(
                    target=_serve, args=(loop,), name="rillflow-kafka", daemon=True
                ).start()
            return self._loop


def _serve(loop: GuardedLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
