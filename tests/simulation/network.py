"""Messages between simulated processes: lost, repeated, late, out of order.

A connection does what a peer of the actors does: it makes a call again when it was lost, looks
its receiver up anew after each loss, and gives up after half a minute, or at once when
its receiver has left for good. Until a loss it stays with the process it has reached,
even when that one was replaced meanwhile. Each message has the protocol of its sender; a process
of a distant release is refused, by the rule of the product.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias, get_args

import msgspec

from rillflow.errors import DefectError, GoneError, RillflowError, UnavailableError
from rillflow.ports.deployment import refuse_distant
from rillflow.ports.executions import decode_refusal, encode_refusal
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.messages import Answers, OwnerMessage, decode_owner_message
from rillflow.runtime.dispatch.client import Connection
from tests.simulation.releases import NOW, Release
from tests.simulation.surroundings import Surroundings
from tests.simulation.virtual_loop import LIFE, Life

Serve: TypeAlias = Callable[[bytes], Awaitable[bytes]]

REACH_S: Final = 30.0
PAUSE_S: Final = 0.1
_TO_OWNERS: Final = {kind.__struct_config__.tag for kind in get_args(OwnerMessage)}
"""Kinds of messages to owners. A dispatcher that meets a defect with a call fails it."""


class Frame(NamedTuple):
    """A message as its sender sends it, and the protocol of that."""

    protocol: int
    message: bytes


class Address:
    """Where a process takes calls during one life."""

    def __init__(self, life: Life, serve: Serve) -> None:
        self.life = life
        self.serve = serve
        self.waiting: dict[asyncio.Future[bytes], None] = {}
        life.mourners.append(self._hang_up)

    def _hang_up(self, life: Life) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_exception(ConnectionError(f"{life} is gone"))
        self.waiting.clear()


class Network:
    """Carries calls by name."""

    def __init__(
        self,
        around: Surroundings,
        is_gone: Callable[[str], bool],
        dropped: Callable[[list[DispatchAnswer]], None],
    ) -> None:
        """Carry calls; ``is_gone`` tells who has left for good.

        ``dropped`` hears of the answers that a dispatcher has, and that nobody takes. ``moved``
        tells which owner has ended, since others own its partitions now. ``release_of`` tells the
        release of a process.
        """
        self._around = around
        self.is_gone = is_gone
        self.moved: Callable[[str], bool] = lambda _: False
        self.release_of: Callable[[Life | None], Release] = lambda _: NOW
        self._dropped = dropped
        self._addresses: dict[str, Address] = {}

    def has_moved(self, name: str) -> bool:
        """Tell callers of an owner whether it has ended."""
        return self.moved(name)

    def register(self, life: Life, serve: Serve) -> None:
        """Be reached under the life's name, in the place of whoever was before."""
        self._addresses[life.name] = Address(life, serve)

    def connection_to(self, name: str, leaves: Callable[[str], bool] | None = None) -> Connection:
        """Return a way to whoever has a name; ``leaves`` tells in other ways who is gone."""
        reached: Address | None = None
        is_gone = leaves or self.is_gone

        async def call(message: bytes) -> bytes:
            nonlocal reached
            give_up_s = self._around.loop.time() + REACH_S
            while True:
                address = reached if reached and not reached.life.dead else self._find(name)
                try:
                    if address is None:
                        raise ConnectionError(f"there is no {name}")
                    reached = address
                    return await self._call_once(address, message)
                except ConnectionError as error:
                    reached = None
                    if is_gone(name):
                        # Whoever has found this out hears of it later.
                        await asyncio.sleep(self._delay_s())
                        self._note_dropped(message)
                        raise GoneError(f"{name} has left") from error
                    if self._around.loop.time() > give_up_s:
                        if self.moved(name):
                            self._note_dropped(message)
                            raise GoneError(f"{name} has ended") from error
                        raise UnavailableError(f"{name} cannot be reached") from error
                await asyncio.sleep(PAUSE_S)

        return call

    def _note_dropped(self, message: bytes) -> None:
        if kind_of(message) == Answers.__name__:
            answers = decode_owner_message(message)
            assert isinstance(answers, Answers)
            self._dropped(answers.answers)

    def _find(self, name: str) -> Address | None:
        address = self._addresses.get(name)
        return None if address is None or address.life.dead else address

    async def _call_once(self, address: Address, message: bytes) -> bytes:
        around = self._around
        sender = self.release_of(LIFE.get())
        frame = Frame(sender.protocol, sender.sent(message))
        future: asyncio.Future[bytes] = around.loop.create_future()
        address.waiting[future] = None
        if around.happens(around.faults.repeated):
            self._send(address, frame, None)
        if around.happens(around.faults.lost):
            around.note("lost", f"{kind_of(message)} to {address.life}")
            around.later(self._delay_s(), _fail, future)
        else:
            self._send(address, frame, future)
        try:
            return await future
        finally:
            address.waiting.pop(future, None)

    def _send(self, address: Address, frame: Frame, future: "asyncio.Future[bytes] | None") -> None:
        around = self._around

        def arrive() -> None:
            if not address.life.dead:
                around.loop.spawn(address.life, self._serve(address, frame, future))

        around.later(self._delay_s(), arrive)

    async def _serve(
        self,
        address: Address,
        frame: Frame,
        future: "asyncio.Future[bytes] | None",
    ) -> None:
        around, message = self._around, frame.message
        receiver = self.release_of(address.life)
        answer: bytes | RillflowError
        has_defect = kind_of(message) in _TO_OWNERS and around.happens(around.faults.defects)
        try:
            if has_defect and around.happens(0.5):
                raise DefectError(f"unexpected TypeError in {address.life}")
            whose = f"a process that asks {address.life}"
            refuse_distant(frame.protocol, whose, receiver.protocol, repr(address.life))
            answer = await address.serve(receiver.read(message))
            answer = receiver.answered(kind_of(message), answer)
            if has_defect:
                raise DefectError(f"unexpected TypeError in {address.life}")
        except RillflowError as error:
            answer = decode_refusal(encode_refusal(error))
            if has_defect:
                around.note("defect", f"{kind_of(message)} at {address.life}")
        if future is None:
            return
        if around.happens(around.faults.lost):
            around.note("lost", f"answer to {kind_of(message)} of {address.life}")
            around.later(self._delay_s(), _fail, future)
        else:
            around.later(self._delay_s(), _settle, future, answer)

    def _delay_s(self) -> float:
        around = self._around
        if around.happens(around.faults.slow):
            return around.random.choice([0.05, 0.5, 3.0]) * around.random.random()
        return 0.0005 + 0.001 * around.random.random()


def kind_of(message: bytes) -> str:
    """Return the kind of an encoded message."""
    kind: str = msgspec.msgpack.decode(message)[0]
    return kind


def _fail(future: "asyncio.Future[bytes]") -> None:
    if not future.done():
        future.set_exception(ConnectionError("lost on the way"))


def _settle(future: "asyncio.Future[bytes]", answer: "bytes | RillflowError") -> None:
    if future.done():
        return
    if isinstance(answer, bytes):
        future.set_result(answer)
    else:
        future.set_exception(answer)
