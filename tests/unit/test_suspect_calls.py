"""A call that is fatal to its dispatcher fails after a few deaths, and no other call does."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.errors import UnavailableError
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.messages import Dispatches, decode_dispatcher_message
from rillflow.runtime.crashes.crash_history import HandlingRecord
from rillflow.runtime.dispatch import client as client_module
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.dispatch.suspect_calls import DIED, REFUSED_S, SuspectCalls
from tests.loopback import ManualClock, answers_in, attempt
from tests.unit.dying_dispatcher import ANSWERS, LENGTH, REPLY

PATIENCE_S: Final = 120.0
HTTP: Final = "http://f.test/x"
PLUGIN: Final = "plugin:x"


def of(task: str, number: int, resource_name: str = HTTP) -> DispatchRequest:
    """Return a call of a workspace of its own."""
    execution_id = f"w{number}:f_c_0193b3c4-0000-7000-8000-00000000000{number}"
    return attempt(resource_name, execution_id=execution_id, task=task)


class Dispatcher:
    """A dispatcher that is started again whenever its process has ended."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / "record"
        self.lives = 0
        self.orders: list[Dispatches] = []
        self.answers: dict[str, DispatchAnswer] = {}
        self.changed = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._replies: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self.client = DispatcherClient("owner", [self.send])

    async def send(self, data: bytes) -> bytes:
        message = decode_dispatcher_message(data)
        if isinstance(message, Dispatches):
            self.orders.append(message)
        async with self._turn:
            process = self._process or await self._start()
            assert process.stdin is not None
            process.stdin.write(len(data).to_bytes(LENGTH) + data)
            reply = await self._replies.get()
        if reply is None:
            raise UnavailableError("it has died")
        return reply

    async def _start(self) -> asyncio.subprocess.Process:
        self.lives += 1
        pipe = asyncio.subprocess.PIPE
        module = ("-m", "tests.unit.dying_dispatcher", str(self._record), str(self.lives))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *module, stdin=pipe, stdout=pipe
        )
        self._process, self._replies = process, asyncio.Queue()
        self._reading = asyncio.create_task(self._read(process, self._replies))
        return process

    async def _read(
        self, process: asyncio.subprocess.Process, replies: asyncio.Queue[bytes | None]
    ) -> None:
        output = process.stdout
        assert output is not None
        with contextlib.suppress(asyncio.IncompleteReadError):
            while kind := await output.readexactly(1):
                data = await output.readexactly(int.from_bytes(await output.readexactly(LENGTH)))
                if kind == REPLY:
                    replies.put_nowait(data)
                    continue
                assert kind == ANSWERS
                taken = answers_in(data)
                self.client.answered(taken)
                self.answers |= {each.task: each for each in taken}
                self.changed.set()
        await process.wait()
        self._process = None
        replies.put_nowait(None)

    async def until_answered(self, task: str) -> DispatchAnswer:
        async with asyncio.timeout(PATIENCE_S):
            while task not in self.answers:
                self.changed.clear()
                await self.changed.wait()
        return self.answers[task]

    async def close(self) -> None:
        await self.client.stop()
        if self._process is not None:
            self._process.kill()
        if self._reading is not None:
            await self._reading


@pytest.fixture(name="dispatcher")
async def _dispatcher(tmp_path: Path) -> AsyncIterator[Dispatcher]:
    opened = Dispatcher(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "BEAT_S", 0.01)
        watching = asyncio.create_task(opened.client.watch_dispatchers())
        yield opened
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    await opened.close()


@pytest.mark.parametrize(
    ("fatal", "deaths"),
    [(of("step", 1), 2), (of("beside", 1, PLUGIN), 3), (of("beside", 1), 5)],
    ids=["in a step", "in a plugin", "beside its steps"],
)
async def test_a_fatal_call_fails_after_some_deaths_and_others_under_way_go_on(
    dispatcher: Dispatcher, fatal: DispatchRequest, deaths: int
) -> None:
    dispatcher.client.send([fatal, of("long", 2, fatal.resource_name)])
    answer = await dispatcher.until_answered(fatal.task)
    assert answer.error == f"handle fails: {DIED}"
    assert dispatcher.lives == deaths + 1
    dispatcher.client.send([of("short", 3)])
    assert (await dispatcher.until_answered("short")).error is None
    assert dispatcher.lives == deaths + 1
    assert set(dispatcher.answers) == {fatal.task, "short"}


async def test_a_call_that_was_not_under_way_at_a_death_is_no_suspect(
    dispatcher: Dispatcher,
) -> None:
    dispatcher.client.send([of("step", 1)])
    await dispatcher.until_answered("step")
    dispatcher.client.send([of("short", 3)])
    await dispatcher.until_answered("short")
    suspects = [each.suspects for each in dispatcher.orders]
    call = of("step", 1).call
    assert suspects == [[], [(call, 1)], [(call, 2)], []]


async def test_further_attempts_of_a_fatal_task_fail_at_once_for_a_while(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "record"
    record, fatal = HandlingRecord(path), of("step", 1)
    record.open()
    record.begin(fatal.execution_id, "call step")
    suspects = SuspectCalls(HandlingRecord(path), clock)
    again = attempt(HTTP, execution_id=fatal.execution_id, task="step", attempt=7)
    other = attempt(HTTP, execution_id=fatal.execution_id, task="other")
    assert [suspects.is_fatal(each) for each in (fatal, again, other)] == [True, True, False]
    clock.forward(REFUSED_S + 1)
    assert not suspects.is_fatal(again)
    assert not suspects.knows_fatal
    assert not SuspectCalls(HandlingRecord(path), clock).knows_fatal


async def test_a_call_that_is_not_made_any_more_leaves_nothing_to_wait_for(tmp_path: Path) -> None:
    suspects = SuspectCalls(HandlingRecord(tmp_path / "record"), ManualClock())
    begun = asyncio.Event()

    async def make(request: DispatchRequest) -> DispatchAnswer:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError(request)

    for deaths in (1, 9):
        begun.clear()
        making = asyncio.ensure_future(suspects.made(of("long", 2), deaths, make))
        await asyncio.wait_for(begun.wait(), PATIENCE_S)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
    suspects.made(of("long", 2), 1, make)
    assert HandlingRecord(tmp_path / "record").left == ()
