"""An execution that brings down its owner's process is set apart after the second death."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.core.events import (
    DispatchAnswered,
    RedoRequested,
    WakeUpReceived,
)
from rillflow.errors import CrashedError
from rillflow.ports.executions import (
    ELSEWHERE,
    Delivery,
    Query,
    Watch,
)
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.messages import decode_dispatcher_message, encode_calls
from rillflow.runtime.crashes.crash_history import HandlingRecord
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.dispatch.inherited_calls import InheritedCalls
from tests.fatal_lives import (
    CALL,
    FLOW,
    HANDLE,
    POOR,
    RICH,
    Fatal,
    Killed,
    Lives,
    Owner,
    SharedStore,
    answer,
    callback,
    cancel,
    id_of,
    poor,
)
from tests.loopback import NOW_MS

LONG_S: Final = 20


@pytest.fixture(name="lives")
async def _lives(tmp_path: Path) -> AsyncIterator[Lives]:
    store = SharedStore()
    await store.open()
    found = await add_descriptor(store, "deaths", "order", "release", FLOW, at_ms=1)
    lives = Lives(store, tmp_path, found.version or "")
    yield lives
    await lives.give_up()


async def submitted(lives: Lives) -> None:
    owner = await lives.begin()
    for number in (POOR, RICH):
        assert (await owner.call(lives.submission(number))).error is None


async def twice_fatal(lives: Lives) -> Owner:
    """Have the poor one bring down its owner twice, by one answer."""
    await submitted(lives)
    for _ in range(2):
        await lives.die(poor(HANDLE, "one"), answer(POOR))
    return await lives.begin_and_recover()


REASON: Final = (
    "the process that handled it died 2 times, in the steps 'DispatchAnswered one 1' and"
    " 'DispatchAnswered one 1'; it goes on after a redo or a cancellation"
)


async def test_after_the_second_death_it_is_left_alone_and_others_go_on(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    assert {request.execution_id for request in owner.sent} == {id_of(RICH)}
    assert (await owner.call(answer(RICH))).changed
    reply = await owner.call(answer(POOR))
    assert reply.kind == CrashedError.code
    assert reply.error == f"{id_of(POOR)} is quarantined: {REASON}"


async def test_get_tells_it_without_reading_it(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    lives.store.read = 0
    shown = await owner.shown(POOR)
    assert (shown["dag_status"], shown["quarantine"]) == ("RUNNING", REASON)
    assert (shown["workspace"], shown["dag_name"]) == ("deaths", "order")
    assert (await owner.shown(POOR, "brief"))["quarantine"] == REASON
    assert await owner.shown(POOR, "status") == {"dag_status": "RUNNING"}
    assert (await owner.call(Query(execution_id=id_of(POOR), kind="context"))).error
    assert lives.store.read == 0
    assert "quarantine" not in await owner.shown(RICH)


async def test_nothing_is_read_for_inherited_calls_before_deaths_are_known(lives: Lives) -> None:
    await submitted(lives)
    for _ in range(2):
        await lives.die(poor(HANDLE, "one"), answer(POOR))
    lives.store.deaths_are_asked.clear()
    lives.store.deaths_are_read.clear()
    beginning = asyncio.create_task(lives.begin())
    await lives.store.deaths_are_asked.wait()
    owner = lives.last
    asked: list[object] = []

    async def dispatcher(message: bytes) -> bytes:
        asked.append(decode_dispatcher_message(message))
        call = (id_of(POOR), "one", 1, 1)
        return encode_calls([call] if len(asked) == 2 else [])

    inherited = asyncio.create_task(InheritedCalls("owner", dispatcher).end_unawaited(owner.host))
    await asyncio.sleep(0)
    assert asked == []
    lives.store.read = 0
    lives.store.deaths_are_read.set()
    await asyncio.gather(beginning, inherited)
    assert len(asked) == 3
    assert lives.store.read == 0
    assert (await owner.call(answer(POOR))).kind == CrashedError.code


async def test_it_stays_apart_in_every_later_life(lives: Lives) -> None:
    await twice_fatal(lives)
    for _ in range(2):
        owner = await lives.begin_and_recover(poor(HANDLE, "one"))
        assert (await owner.call(answer(POOR))).kind == CrashedError.code


async def test_a_step_that_was_taken_since_without_harm_is_forgiven(lives: Lives) -> None:
    await submitted(lives)
    for task, step in (("one", answer(POOR)), ("two", answer(POOR, "two"))):
        await lives.die(poor(HANDLE, task), step)
        owner = await lives.begin_and_recover()
        assert (await owner.call(step)).changed
    await lives.die(poor(HANDLE, "two"), callback(POOR))
    owner = await lives.begin_and_recover()
    assert (await owner.call(callback(POOR))).changed
    assert (await owner.shown(POOR))["dag_status"] == "SUCCEED"
    await lives.give_up()
    assert await lives.store.deaths() == []


async def test_ten_kills_between_which_it_goes_on_set_nothing_apart(lives: Lives) -> None:
    await submitted(lives)
    for _ in range(10):
        # Nobody finds this fatal: the process is killed while it happens to be at it.
        await lives.die(poor(CALL, "one"))
        assert len(await lives.store.deaths()) <= 1
        owner = await lives.begin_and_recover()
        assert "quarantine" not in await owner.shown(POOR)
    assert {request.task for request in owner.sent} == {"one", "two"}


async def test_a_start_that_is_repeated_counts_a_death_once(lives: Lives) -> None:
    await submitted(lives)
    await lives.die(poor(HANDLE, "one"), answer(POOR))
    owner = await lives.begin_and_recover()
    for _ in range(2):
        await owner.host.stop()
        await owner.host.start()
        await owner.host.recovered()
    assert (await owner.call(answer(POOR))).changed


async def test_a_kill_while_nothing_is_handled_counts_against_nobody(lives: Lives) -> None:
    await submitted(lives)
    for _ in range(3):
        shutil.copy(lives.path, lives.found)
        await lives.begin_and_recover()
    assert await lives.store.deaths() == []


async def test_what_it_asks_for_may_be_fatal_too(lives: Lives) -> None:
    await lives.die(poor(CALL, "one"), lives.submission(POOR))
    await lives.die(poor(CALL, "one"))
    owner = await lives.begin_and_recover(poor(CALL, "one"))
    assert "'commands' and 'commands'" in (await owner.shown(POOR))["quarantine"]
    assert not owner.sent


async def test_two_steps_in_a_row_may_be_fatal(lives: Lives) -> None:
    await submitted(lives)
    await lives.die(poor(HANDLE, "one"), answer(POOR))
    await lives.die(poor(CALL, "one"))
    owner = await lives.begin_and_recover()
    assert "'DispatchAnswered one 1' and 'commands'" in (await owner.shown(POOR))["quarantine"]


async def test_one_that_is_fatal_to_read_is_read_no_more(lives: Lives) -> None:
    await submitted(lives)
    for _ in range(2):
        owner = await lives.begin()
        lives.store.kill = owner.kill
        with pytest.raises(Killed):
            await owner.call(Query(execution_id=id_of(POOR), kind="brief"))
    lives.store.read = 0
    owner = await lives.begin_and_recover()
    assert "'replay' and 'replay'" in (await owner.shown(POOR))["quarantine"]
    assert (await owner.deliver(POOR, WakeUpReceived(at_ms=1, task="one"))).error
    assert lives.store.read == 0


@pytest.mark.parametrize("moment", ["read", "decoded", "replayed"])
async def test_a_large_execution_that_is_fatal_to_read_is_left_alone_after_the_second_death(
    lives: Lives, moment: str
) -> None:
    await submitted(lives)
    lives.store.large = moment
    for _ in range(2):
        owner = await lives.begin()
        lives.store.kill = owner.kill
        with pytest.raises(Killed):
            await owner.call(Query(execution_id=id_of(POOR), kind="brief"))
    owner = await lives.begin_and_recover()
    assert "'replay' and 'replay'" in (await owner.shown(POOR))["quarantine"]


async def test_a_large_execution_that_was_read_beside_a_fatal_one_is_forgiven(lives: Lives) -> None:
    await submitted(lives)
    record = HandlingRecord(lives.path)
    record.open()
    record.begin_beside(id_of(POOR), "replay")
    record.begin(id_of(RICH), "DispatchAnswered one 1")
    shutil.copy(lives.path, lives.found)
    owner = await lives.begin_and_recover()
    assert (await owner.call(answer(RICH))).changed
    await lives.give_up()
    assert await lives.store.deaths() == []


async def test_a_fatal_submission_is_refused_the_third_time(lives: Lives) -> None:
    lives.store.kill = None
    owner = await lives.begin()
    await owner.call(lives.submission(RICH))
    for _ in range(2):
        # As if making it were fatal: no hook is asked, so its step is played by the record.
        record = HandlingRecord(lives.path)
        record.open()
        record.begin(id_of(POOR), "Submission")
        shutil.copy(lives.path, lives.found)
        owner = await lives.begin_and_recover()
    reply = await owner.call(lives.submission(POOR))
    assert reply.kind == CrashedError.code
    assert "'Submission' and 'Submission'" in (reply.error or "")
    assert await owner.shown(POOR) == {}
    assert await lives.store.load(id_of(POOR)) is None


async def test_a_repeated_submission_of_one_that_is_stored_is_a_repetition(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    reply = await owner.call(lives.submission(POOR))
    assert (reply.error, reply.changed) == (None, False)


async def test_who_waits_for_its_end_waits(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    reply = await owner.call(Watch(execution_id=id_of(POOR), watcher="me"))
    assert (reply.error, reply.changed) == (None, True)
    assert (await owner.call(cancel(POOR))).error is None
    [ended] = await owner.host.watchers.take("me", LONG_S, ())
    assert ended.execution_id == id_of(POOR)


async def test_a_cancellation_ends_it_and_nothing_counts_any_more(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    assert (await owner.call(cancel(POOR))).changed
    shown = await owner.shown(POOR)
    assert (shown["dag_status"], shown.get("quarantine")) == ("FAILED", None)
    await lives.give_up()
    assert await lives.store.deaths() == []


async def test_a_cancellation_comes_before_what_it_asked_for(lives: Lives) -> None:
    fatal = poor(CALL, "one")
    await lives.die(fatal, lives.submission(POOR))
    await lives.die(fatal)
    owner = await lives.begin_and_recover(fatal)
    assert (await owner.call(cancel(POOR))).changed
    async with asyncio.timeout(LONG_S):
        await owner.host.settled(id_of(POOR))
    assert (await owner.shown(POOR))["dag_status"] == "FAILED"
    assert not lives.found.exists()


async def test_a_redo_has_it_go_on_with_the_answers_that_came_meanwhile(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    kept = DispatchAnswer(execution_id=id_of(POOR), task="one", attempt=1, body=b"{}")
    await owner.host.answers_arrived([kept])
    redo = RedoRequested(at_ms=NOW_MS, tasks=("two",))
    assert (await owner.deliver(POOR, redo)).error is None
    again = DispatchAnswered(at_ms=NOW_MS, task="two", attempt=2, body=b"{}")
    assert (await owner.deliver(POOR, again)).changed
    assert (await owner.call(callback(POOR))).changed
    async with asyncio.timeout(LONG_S):
        await owner.host.settled(id_of(POOR))
    shown = await owner.shown(POOR)
    assert (shown["dag_status"], shown.get("quarantine")) == ("SUCCEED", None)
    assert shown["tasks"]["one"]["status"] == "SUCCEEDED"


async def test_a_dedicated_one_is_left_alone_by_its_own_owner_and_by_that_of_its_partition(
    lives: Lives,
) -> None:
    apart = id_of(POOR, dedicated=True)
    fatal: Fatal = lambda moment, _, task: (moment, task) == (HANDLE, "one")  # noqa: E731
    event = answer(POOR).event
    owner = await lives.begin(dedicated=apart)
    assert (await owner.call(lives.submission(POOR, dedicated=True))).error is None
    home_path, lives.path = lives.path, lives.path.with_name("apart")
    for _ in range(2):
        owner = await lives.begin(fatal, dedicated=apart)
        with pytest.raises(Killed):
            await owner.call(Delivery(execution_id=apart, event=event))
    owner = await lives.begin(fatal, dedicated=apart)
    reply = await owner.call(Delivery(execution_id=apart, event=event))
    assert reply.kind == CrashedError.code
    lives.path = home_path
    owner = await lives.begin()
    reply = await owner.call(Query(execution_id=apart, kind="brief"))
    assert b'"quarantine"' in (reply.body or b"")
    assert (await owner.call(Delivery(execution_id=apart, event=event))).kind == ELSEWHERE
