"""Who waits for an acknowledged execution outlives a server that goes away and comes back.

Only what is harmless to repeat is asked again, and only for a bounded time; a refusal never.
"""

import asyncio
import json
from collections.abc import Callable
from copy import copy
from typing import Any, Final

import pytest
from aiohttp import web
from typer.testing import CliRunner

import rillflow
from rillflow import errors
from rillflow.cli import app
from rillflow.client.exchanges import Exchange, ask, result
from rillflow.client.operations import Control, Operation, Read, Rest, Submit
from rillflow.client.patience import LONGEST_PAUSE_S, Patience
from tests.loopback import closed_port

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
READ: Final = Read(execution_id=ID)
WAITING: Final = Read(execution_id=ID, wait_s=20.0, within_s=61.0)
ENDED: Final = {"execution_id": ID, "dag_status": "SUCCEED", "context": {"n": 1}}
RUNNING: Final = ENDED | {"dag_status": "RUNNING"}
GONE: Final = errors.UnreachableError("no answer")
SILENCES: Final = (
    GONE,
    errors.StoreError("the store is away"),
    errors.UnavailableError("an owner is away"),
    *(errors.ServerError("no Rillflow", http_status=status) for status in (502, 503, 504)),
)
REFUSALS: Final = (
    errors.RequestError("malformed"),
    errors.UnknownExecutionError("unknown"),
    errors.OverloadedError("too many"),
    errors.ExecutionError("not now"),
    errors.DamagedError("a part is missing"),
    errors.DefectError("unexpected TypeError"),
    *(errors.ServerError("no Rillflow", http_status=status) for status in (401, 404, 500)),
)


class Waiter:
    """Holds a conversation by hand: silences last as long as it rests, on a clock of its own."""

    def __init__(self, patience_s: float = 60.0, **known: Any) -> None:
        self.now_s = 100.0
        self.told: list[float] = []
        self.patience = Patience(
            patience_s,
            lambda _, borne_s: self.told.append(borne_s),
            **({"acknowledged": True} | known),
            now_s=lambda: self.now_s,
        )
        self.pauses: list[float] = []
        self.asked: list[Operation] = []

    def hold(self, exchange: Exchange[Any], answer: Callable[[], Any]) -> Any:
        try:
            operation = next(exchange)
            while True:
                if isinstance(operation, Rest):
                    self.pauses.append(operation.seconds)
                    self.now_s += operation.seconds
                    operation = exchange.send(None)
                    continue
                self.asked.append(operation)
                try:
                    answered = answer()
                except errors.RillflowError as error:
                    operation = exchange.throw(error)
                else:
                    operation = exchange.send(answered)
        except StopIteration as end:
            return end.value


def answers(*given: Any) -> Callable[[], Any]:
    """Give one answer after the other, and the last one again and again."""
    left = list(given)

    def answer() -> Any:
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise copy(found)
        return found

    return answer


# -- the rule --------------------------------------------------------------------------


@pytest.mark.parametrize("silence", SILENCES, ids=lambda error: f"{error!r}")
def test_a_silent_server_is_asked_again_until_it_answers(silence: Exception) -> None:
    waiter = Waiter()
    assert waiter.hold(waiter.patience.ask(READ), answers(silence, silence, ENDED)) == ENDED
    assert waiter.asked == [READ] * 3
    assert waiter.told == [60.0]


def test_pauses_grow_from_a_tenth_of_a_second_to_two_seconds_until_patience_is_over() -> None:
    waiter = Waiter(patience_s=9.0)
    with pytest.raises(errors.UnreachableError, match="no answer") as caught:
        waiter.hold(waiter.patience.ask(READ), answers(GONE))
    assert caught.value.hint.startswith("retried for 9 s; an accepted execution goes on")
    assert waiter.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 1.9])
    assert max(waiter.pauses) == LONGEST_PAUSE_S
    assert waiter.told == [9.0]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: f"{error!r}")
def test_a_refusal_is_not_asked_again(refusal: Exception) -> None:
    waiter = Waiter()
    with pytest.raises(type(refusal)):
        waiter.hold(waiter.patience.ask(READ), answers(refusal))
    assert (waiter.asked, waiter.told) == ([READ], [])


def test_a_refusal_ends_a_silence() -> None:
    waiter = Waiter()
    with pytest.raises(errors.UnknownExecutionError):
        waiter.hold(waiter.patience.ask(READ), answers(GONE, errors.UnknownExecutionError("x")))


def test_a_server_that_has_never_answered_is_not_asked_again() -> None:
    waiter = Waiter(acknowledged=False)
    with pytest.raises(errors.UnreachableError):
        waiter.hold(waiter.patience.ask(READ), answers(GONE))
    assert len(waiter.asked) == 1
    waiter.hold(waiter.patience.ask(READ), answers(ENDED))
    assert waiter.hold(waiter.patience.ask(READ), answers(GONE, ENDED)) == ENDED


def test_no_patience_asks_nothing_again_and_tells_nothing() -> None:
    waiter = Waiter(patience_s=0)
    with pytest.raises(errors.UnreachableError) as caught:
        waiter.hold(waiter.patience.ask(READ), answers(GONE))
    assert (len(waiter.asked), waiter.told, caught.value.hint) == (1, [], "")


def test_every_silence_is_told_once_and_has_the_whole_patience() -> None:
    waiter = Waiter(patience_s=1.0)
    for _ in range(3):
        assert waiter.hold(waiter.patience.ask(READ), answers(GONE, GONE, GONE, ENDED)) == ENDED
    assert waiter.told == [1.0] * 3


def test_the_whole_wait_bounds_a_silence_and_what_a_read_waits_for() -> None:
    waiter = Waiter(timeout_s=3.0)
    with pytest.raises(errors.ExecutionTimeoutError, match=r"has not ended within 3 s") as caught:
        waiter.hold(waiter.patience.ask(WAITING), answers(GONE))
    assert caught.value.hint.endswith("the server did not answer at last: no answer")
    assert sum(waiter.pauses) == pytest.approx(3.0)
    assert waiter.told == [3.0]
    reads = [one for one in waiter.asked if isinstance(one, Read)]
    assert [one.wait_s for one in reads] == pytest.approx([3.0, 2.9, 2.7, 2.3, 1.5, 0.0])
    assert [one.within_s for one in reads] == pytest.approx([4.0, 3.9, 3.7, 3.3, 2.5, 1.0])


def test_a_server_that_takes_requests_and_never_answers_holds_nobody_beyond_the_wait() -> None:
    waiter = Waiter(timeout_s=60.0)

    def mute() -> Any:
        asked = waiter.asked[-1]
        assert isinstance(asked, Read)
        assert asked.within_s is not None
        waiter.now_s += min(30 + asked.wait_s, asked.within_s)
        raise copy(GONE)

    with pytest.raises(errors.ExecutionTimeoutError):
        waiter.hold(waiter.patience.hold(result(ID, 60.0)), mute)
    assert waiter.now_s == pytest.approx(161.0)


def test_a_silence_before_the_end_of_the_wait_is_no_time_out() -> None:
    for known in ({"patience_s": 1.0}, {"patience_s": 0.0}, {"acknowledged": False}):
        waiter = Waiter(**known, timeout_s=3.0)
        with pytest.raises(errors.UnreachableError):
            waiter.hold(waiter.patience.ask(WAITING), answers(GONE))


def test_what_is_read_after_the_end_has_no_time_out_of_the_wait() -> None:
    waiter = Waiter(timeout_s=1.0)
    failed = ENDED | {"dag_status": "FAILED"}
    with pytest.raises(errors.UnreachableError):
        waiter.hold(waiter.patience.hold(result(ID, 1.0)), answers(failed, GONE))


def test_of_a_conversation_only_reads_are_asked_again() -> None:
    waiter = Waiter()
    held = waiter.patience.hold(result(ID, 60))
    assert waiter.hold(held, answers(RUNNING, GONE, GONE, ENDED)) == {"n": 1}
    assert len(waiter.asked) == 4
    for once in (Control(execution_id=ID, order="cancel"), Submit(descriptor_id="b:f", data={})):
        waiter = Waiter()
        with pytest.raises(errors.UnreachableError):
            waiter.hold(waiter.patience.hold(ask(once)), answers(GONE))
        assert waiter.asked == [once]


# -- real servers that go away and come back -------------------------------------------


class Coming:
    """A server on one port that is stopped and started; it shows one execution."""

    def __init__(self) -> None:
        self.port = closed_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.status = "RUNNING"
        self.asked = asyncio.Event()
        self.keys: list[str | None] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        served = web.Application()
        served.router.add_get("/flow/get.json", self._get)
        served.router.add_post("/flow/submit.json", self._submit)
        served.router.add_post("/flow/pause.json", self._submit)
        self._runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def restart_with_the_end(self) -> None:
        """Go away once somebody asks, and come back when the execution has ended."""
        await self.asked.wait()
        await self.stop()
        self.status = "SUCCEED"
        await self.start()

    async def _get(self, _: web.Request) -> web.Response:
        self.asked.set()
        return web.json_response({"ret": ENDED | {"dag_status": self.status}})

    async def _submit(self, request: web.Request) -> web.Response:
        self.keys.append(request.query.get("idempotency_key"))
        return web.json_response({"execution_id": ID})


class Holding(Coming):
    """The same, and before its first stop it answers nobody who asks for the execution."""

    async def _get(self, request: web.Request) -> web.Response:
        if self.status == "RUNNING":
            self.asked.set()
            await asyncio.Event().wait()
        return await super()._get(request)


@pytest.fixture(name="away")
async def _away() -> Any:
    server = Holding()
    yield server
    await server.stop()


async def test_the_result_is_there_after_a_restart(away: Holding) -> None:
    await away.start()
    told: list[float] = []
    async with rillflow.AsyncClient(away.url) as client:
        execution = await client.submit("b:f")
        waiting = asyncio.create_task(
            execution.result(timeout_s=30, on_silence=lambda _, borne_s: told.append(borne_s))
        )
        await away.restart_with_the_end()
        assert await waiting == {"n": 1}
    assert told == pytest.approx([30], abs=5)


async def test_without_patience_a_restart_is_an_error(away: Holding) -> None:
    await away.start()
    async with rillflow.AsyncClient(away.url) as client:
        execution = await client.submit("b:f")
        waiting = asyncio.create_task(execution.result(timeout_s=30, patience_s=0))
        await away.restart_with_the_end()
        with pytest.raises(errors.UnreachableError):
            await waiting


async def test_a_wait_ends_in_time_although_the_server_never_answers(away: Holding) -> None:
    await away.start()
    async with rillflow.AsyncClient(away.url) as client:
        execution = await client.submit("b:f")
        async with asyncio.timeout(60):
            with pytest.raises(errors.ExecutionTimeoutError):
                await execution.result(timeout_s=0.1)


async def test_any_answer_about_an_execution_makes_it_known(away: Holding) -> None:

    def script() -> dict[str, Any]:
        with rillflow.Client(away.url) as client:
            execution = client.execution(ID)
            execution.pause()
            return dict(execution.result(timeout_s=30))

    await away.start()
    waiting = asyncio.create_task(asyncio.to_thread(script))
    await away.restart_with_the_end()
    assert await waiting == {"n": 1}


async def test_submit_and_wait_outlives_a_restart_and_says_so_once(away: Holding) -> None:
    await away.start()
    waiting = asyncio.create_task(_command("submit", "b:f", "--wait", "--url", away.url))
    await away.restart_with_the_end()
    code, shown, told = await waiting
    assert (code, json.loads(shown)) == (0, {"n": 1})
    assert told.splitlines() == [ID, "the server does not answer; retrying for up to 60 s"]


async def test_watching_outlives_a_restart_and_says_so_once() -> None:
    server = Coming()
    await server.start()
    try:
        waiting = asyncio.create_task(_command("watch", ID, "--every", "0.05", "--url", server.url))
        await server.asked.wait()
        server.asked.clear()
        await server.asked.wait()  # by now the first look was answered
        await server.stop()
        server.status = "SUCCEED"
        # What it says comes with a look that fails, so it is not before that.
        refused = asyncio.Event()
        door = await asyncio.start_server(_hanging_up(refused), "127.0.0.1", server.port)
        await refused.wait()
        door.close()
        await door.wait_closed()
        await server.start()
        code, shown, told = await waiting
    finally:
        await server.stop()
    assert (code, shown) == (0, "the execution ended: SUCCEED\n")
    assert told == "the server does not answer; retrying for up to 60 s\n"


async def test_a_submission_with_a_key_is_sent_again_and_one_without_is_not() -> None:
    server = Coming()
    silent = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with rillflow.AsyncClient(server.url) as client:
        with pytest.raises(errors.UnreachableError):
            await client.submit("b:f")
        sending = asyncio.create_task(
            client.submit(
                "b:f",
                idempotency_key="k1",
                on_silence=lambda *_: loop.call_soon(silent.set),
            )
        )
        await silent.wait()
        await server.start()
        try:
            assert (await sending).id == ID
        finally:
            await server.stop()
    assert server.keys == ["k1"]


class Silent:
    """A way to a stack that does not answer, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Operation] = []

    def perform(self, request: Operation) -> Any:
        self.asked.append(request)
        raise copy(GONE)

    def close(self) -> None:
        self.asked.clear()


@pytest.mark.parametrize("blank", ["", " "])
def test_a_submission_with_a_blank_key_is_one_without(blank: str) -> None:
    silent = Silent()
    with pytest.raises(errors.UnreachableError):
        rillflow.Client(transport=silent).submit("b:f", idempotency_key=blank, patience_s=0.2)
    assert silent.asked == [Submit(descriptor_id="b:f", data={}, idempotency_key=None)]


def _hanging_up(refused: asyncio.Event) -> Any:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        refused.set()

    return hang_up


async def _command(*arguments: str) -> tuple[int, str, str]:
    ended = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    return ended.exit_code, ended.stdout, ended.stderr
