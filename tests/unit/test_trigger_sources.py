"""Each event of a source starts one execution, in the order of its key, then is acknowledged."""

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import pytest

from rillflow.errors import OverloadedError, RequestError, RillflowError, UnavailableError
from rillflow.ids import PARTITIONS
from rillflow.jsontypes import JsonObject, decode_json
from rillflow.ports.clock import Clock
from rillflow.ports.triggers import TriggerEvent, TriggerRow
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import MOST_KEY_CHARACTERS, Options
from rillflow.runtime.triggers.progress import (
    FAILED,
    MOST_REFUSALS,
    WAITING,
    Progress,
    decode_progress,
)
from rillflow.runtime.triggers.sources.reading import SourceReader, key_of_event
from rillflow.runtime.triggers.sources.runner import (
    GIVES_WAY_MS,
    MOST_OF_ONE,
    MOST_SOURCES,
    SUBMISSIONS_AT_ONCE,
    SourceRunner,
)
from rillflow.stores.memory.store import MemoryStore
from tests.record_log import RecordLog, RecordReader

pytestmark = pytest.mark.asyncio

SOON_S: Final = 120.0
SPEC: Final = '{"config":{"log":"a"}}'


class Submitted:
    """Takes submissions, once for each key; ``refusals`` are raised by the context's ``a``."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        self.contexts: dict[str, JsonObject] = {}
        self.refusals: dict[Any, RillflowError] = {}
        self.tries = 0

    async def submit(self, descriptor_id: str, data: bytes, options: Options) -> str:
        self.tries += 1
        assert descriptor_id == "shop:order"
        context: Any = decode_json(data)
        refusal = self.refusals.get(context.get("a"))
        if refusal is not None:
            raise refusal
        key = options.idempotency_key or ""
        if key not in self.contexts:
            self.contexts[key] = context
            self.order.append(context.get("a"))
        return f"execution of {key}"


class ReturningReader(RecordReader):
    """A reader that takes events back."""

    def __init__(self, log: RecordLog) -> None:
        super().__init__(log)
        self.put_back_keys: list[str] = []

    async def put_back(self, event: TriggerEvent) -> None:
        """Return it again, and those after it."""
        partition, offset = event.position
        self._next[partition] = offset
        self.put_back_keys.append(event.key)


class Returning(RecordLog):
    """A log that is read by such a reader, the last of which it keeps."""

    def open(self, trigger_id: str, settings: JsonObject) -> RecordReader:
        super().open(trigger_id, settings)
        self.reader = ReturningReader(self)
        return self.reader


class PartlyReader(RecordReader):
    """A reader one of whose partitions cannot be read."""

    unread = "partition 1 is damaged"


class PartlyRead(RecordLog):
    """A log that is read by such a reader."""

    def open(self, trigger_id: str, settings: JsonObject) -> RecordReader:
        del trigger_id, settings
        return PartlyReader(self)


class World:
    """A store with one trigger, and what is behind it."""

    def __init__(self, log: RecordLog) -> None:
        self.store = MemoryStore()
        self.log = log
        self.submitted = Submitted()

    async def add(self, trigger_id: str = "t", context: str = "", **changes: Any) -> None:
        row = TriggerRow(id=trigger_id, type="log", descriptor_id="shop:order", spec=SPEC)
        changed = msgspec.structs.replace(row, **changes)
        assert await self.store.put_trigger(changed, context, replace=True)

    async def progress(self, trigger_id: str = "t") -> Progress:
        stored = await self.store.trigger(trigger_id)
        assert stored is not None
        return decode_progress(stored[0].progress)

    @asynccontextmanager
    async def runs(
        self, partitions: range = range(PARTITIONS), clock: Clock | None = None
    ) -> AsyncIterator[SourceRunner]:
        runner = SourceRunner(
            store=self.store,
            submissions=self.submitted,
            clock=clock or SystemClock(),
            partitions=partitions,
            types={"log": self.log},
        )
        runner.start()
        yield runner
        await runner.stop()


@asynccontextmanager
async def a_world(log: RecordLog | None = None) -> AsyncIterator[World]:
    world = World(log or RecordLog())
    await world.store.open()
    yield world
    await world.store.close()


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110 - many things are waited for
            await asyncio.sleep(0)


async def until_progress(world: World, holds: Callable[[Progress], Any]) -> Progress:
    async with asyncio.timeout(SOON_S):
        while not holds(await world.progress()):  # noqa: ASYNC110 - of a store
            await asyncio.sleep(0)
    return await world.progress()


async def test_an_event_starts_an_execution_with_its_context_over_that_of_the_trigger() -> None:
    async with a_world() as world:
        await world.add(context='{"a":0,"b":1}')
        world.log.partitions["0"] += [{"a": 1}, {"a": 2}, {"a": 3, "b": 4}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 3)
            progress = await until_progress(world, lambda found: found.fired == 3)
        assert world.submitted.contexts == {
            "trigger/t/log/0/0": {"a": 1, "b": 1},
            "trigger/t/log/0/1": {"a": 2, "b": 1},
            "trigger/t/log/0/2": {"a": 3, "b": 4},
        }
        assert progress.last_execution == "execution of trigger/t/log/0/2"
        assert (progress.state, progress.state_reason, progress.error) == ("connected", "", "")
        assert world.log.closed == 1


async def test_an_event_whose_key_was_used_for_other_data_is_an_error_of_its_trigger() -> None:
    async with a_world() as world:
        await world.add()
        taken = RequestError("idempotency key k was used for other data, by x", http_status=409)
        world.submitted.refusals[1] = taken
        world.log.partitions["0"] += [{"a": 1}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 1)
        progress = await world.progress()
        assert (progress.fired, progress.refused, progress.error) == (0, 0, str(taken))


async def test_what_a_source_cannot_read_is_told_while_it_goes_on() -> None:
    async with a_world(PartlyRead()) as world:
        await world.add()
        world.log.partitions["0"] += [{"a": 1}]
        async with world.runs():
            progress = await until_progress(world, lambda found: found.fired and found.state_reason)
        assert (progress.state, progress.state_reason) == ("connected", "partition 1 is damaged")


async def test_an_event_that_is_not_wanted_is_acknowledged_and_counted() -> None:
    async with a_world() as world:
        await world.add()
        world.log.partitions["0"] += [None, {"a": 1}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 2)
        assert world.submitted.order == [1]
        assert (await world.progress()).skipped == 1


async def test_what_is_refused_for_the_load_is_repeated_before_the_next_of_its_key() -> None:
    async with a_world() as world:
        await world.add()
        world.submitted.refusals[2] = OverloadedError("too many")
        world.log.partitions["0"] += [{"a": 1}, {"a": 2}, {"a": 3}]
        world.log.partitions["1"] += [{"a": 4}, {"a": 5}, {"a": 6}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["1"] == 3)
            await until(lambda: world.submitted.tries >= 6)
            assert world.log.acknowledged["0"] == 0
            assert set(world.submitted.order) == {1, 4, 5, 6}
            del world.submitted.refusals[2]
            await until(lambda: world.log.acknowledged["0"] == 3)
        assert [each for each in world.submitted.order if each < 4] == [1, 2, 3]


async def test_what_has_to_wait_is_put_back_meanwhile_and_started_in_order() -> None:
    log = Returning()
    async with a_world(log) as world:
        await world.add()
        world.submitted.refusals[2] = OverloadedError("too many")
        log.partitions["0"] += [{"a": 1}, {"a": 2}, {"a": 3}]
        log.partitions["1"] += [{"a": 4}]
        async with world.runs() as runner:
            await until(lambda: log.opened and log.reader.put_back_keys)
            await until(lambda: log.acknowledged == {"0": 1, "1": 1})
            assert set(log.reader.put_back_keys) == {"log/0/1"}
            assert not held_by(runner._readers["t"], "0")
            del world.submitted.refusals[2]
            await until(lambda: log.acknowledged["0"] == 3)
        assert [each for each in world.submitted.order if each < 4] == [1, 2, 3]


def held_by(reader: SourceReader, partition: str) -> list[TriggerEvent]:
    """Return the events that the work on a partition holds."""
    frame: Any = reader._under_way[partition].get_coro()
    held: list[TriggerEvent] = frame.cr_frame.f_locals["events"]
    return held


async def test_what_is_refused_is_listed_with_the_reason_and_the_next_one_starts() -> None:
    async with a_world() as world:
        await world.add()
        world.submitted.refusals[1] = RequestError("a must be 2")
        world.log.partitions["0"] += ["the value is no json", {"a": 1}, {"a": 2}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 3)
        progress = await world.progress()
        assert [(each.key, each.reason) for each in progress.refusals] == [
            ("log/0/0", "the value is no json"),
            ("log/0/1", "a must be 2"),
        ]
        assert (progress.refused, progress.fired, progress.error) == (2, 1, "")


async def test_the_list_of_what_was_refused_holds_the_last_ones() -> None:
    async with a_world() as world:
        await world.add()
        count = MOST_REFUSALS + 5
        world.log.partitions["0"] += ["x" * 1000] * count
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == count)
        progress = await world.progress()
        assert progress.refused == count
        assert len(progress.refusals) == MOST_REFUSALS
        assert progress.refusals[-1].key == f"log/0/{count - 1}"
        assert len(progress.refusals[-1].reason) == 300


async def test_what_is_refused_is_not_listed_where_the_source_keeps_it() -> None:
    async with a_world(RecordLog(keeps=True)) as world:
        await world.add()
        world.log.partitions["0"] += ["bad", {"a": 2}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 2)
        progress = await world.progress()
        assert world.log.kept == [("log/0/0", "bad")]
        assert (progress.refused, progress.refusals) == (1, ())


async def test_a_source_that_fails_is_opened_again_and_its_state_tells_why() -> None:
    async with a_world() as world:
        world.log.broken = "the broker is away"
        await world.add()
        world.log.partitions["0"] += [{"a": 1}]
        async with world.runs():
            failed = await until_progress(world, lambda found: found.state == "failed")
            assert failed.state_reason == "the broker is away"
            assert failed.state_ms > 0
            world.log.broken = ""
            connected = await until_progress(world, lambda found: found.state == "connected")
            assert (connected.state_reason, world.log.acknowledged["0"]) == ("", 1)
            world.log.broken = "away again"
            again = await until_progress(world, lambda found: found.state == "failed")
            assert again.state_ms >= connected.state_ms
            await until(lambda: world.log.closed == 1)


async def test_whoever_comes_after_a_crash_starts_nothing_twice_and_loses_nothing() -> None:
    async with a_world() as world:
        await world.add()
        world.log.partitions["0"] += [{"a": each} for each in range(5)]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 5)
        world.log.acknowledged["0"] = 2  # what was started since is not acknowledged
        world.log.partitions["0"] += [{"a": 5}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 6)
        assert world.submitted.order == [0, 1, 2, 3, 4, 5]


async def test_a_trigger_that_is_paused_or_removed_starts_nothing_more() -> None:
    async with a_world() as world:
        await world.add()
        world.log.partitions["0"] += [{"a": 1}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 1)
            assert await world.store.pause_trigger("t", is_paused=True, at_ms=1)
            world.log.partitions["0"] += [{"a": 2}]
            await until(lambda: world.log.closed == 1)
            assert world.submitted.order == [1]
            assert await world.store.pause_trigger("t", is_paused=False, at_ms=2)
            await until(lambda: world.log.acknowledged["0"] == 2)
            assert await world.store.remove_trigger("t", at_ms=3)
            world.log.partitions["0"] += [{"a": 3}]
            await until(lambda: world.log.closed == 2)
        assert world.submitted.order == [1, 2]


async def test_the_owner_of_another_partition_does_not_read_it() -> None:
    async with a_world() as world:
        await world.add()
        world.log.partitions["0"] += [{"a": 1}]
        own = zlib.crc32(b"t") % PARTITIONS
        async with world.runs(range(own)) as others:
            await others._changes.look()
            assert not others._readers
            assert not others._waiting
        async with world.runs(range(own, own + 1)):
            await until(lambda: world.log.acknowledged["0"] == 1)


async def test_so_many_sources_are_read_and_the_others_wait_for_them() -> None:
    async with a_world() as world:
        for number in range(MOST_SOURCES + 3):
            await world.add(f"t{number}", descriptor_id=f"{'ab'[number % 2]}:order")
        async with world.runs() as runner:
            await until(lambda: world.log.opened >= MOST_SOURCES)
            assert len(runner._readers) == MOST_SOURCES
            for number in range(3):
                assert await world.store.remove_trigger(f"t{number}", at_ms=1)
            await until(lambda: world.log.opened == MOST_SOURCES + 3)


async def test_one_workspace_leaves_room_for_the_sources_of_others() -> None:
    async with a_world() as world:
        for number in range(MOST_OF_ONE + 3):
            await world.add(f"t{number}")
        await world.add("z", descriptor_id="other:order")
        async with world.runs() as runner:
            await until(lambda: world.log.opened > MOST_OF_ONE)
            assert "z" in runner._readers
            assert len(runner._waiting) == 3


async def test_workspaces_that_come_later_get_their_share_of_the_sources() -> None:
    async with a_world() as world:
        for number in range(MOST_SOURCES):
            await world.add(f"t{number}", descriptor_id=f"{'ab'[number % 2]}:order")
        async with world.runs() as runner:
            await until(lambda: len(runner._readers) == MOST_SOURCES)
            for number in range(40):
                await world.add(f"c{number}", descriptor_id="c:order")
            await until(lambda: sources_of(runner)["c"] == MOST_SOURCES // 3)
            assert set(sources_of(runner).values()) == {33, 34}
            waiting = [each for each in runner._waiting if each.startswith("t")]
            await runner._write_progress()
            told = [await world.progress(each) for each in waiting]
            assert [each.state for each in told] == [WAITING] * len(waiting)
            before = sources_of(runner)
            for _ in range(3):
                runner._have_most_give_way()
            assert sources_of(runner) == before


def sources_of(runner: SourceRunner) -> Counter[str]:
    return Counter(row.descriptor_id[0] for row in (each.row for each in runner._readers.values()))


async def test_a_source_that_has_failed_for_long_makes_room_for_one_that_waits() -> None:
    class Partly(RecordLog):
        def open(self, trigger_id: str, settings: JsonObject) -> RecordReader:
            if trigger_id != "z":
                raise UnavailableError("there is no such broker")
            return super().open(trigger_id, settings)

    class LaterClock(SystemClock):
        ahead_ms = 0

        def now_ms(self) -> int:
            return super().now_ms() + self.ahead_ms

    clock = LaterClock()
    async with a_world(Partly()) as world:
        for number in range(MOST_OF_ONE):
            await world.add(f"t{number}")
        await world.add("z")
        async with world.runs(clock=clock) as runner:
            await until(lambda: _states(runner) == [FAILED] * MOST_OF_ONE)
            assert list(runner._waiting) == ["z"]
            clock.ahead_ms = GIVES_WAY_MS
            await until(lambda: world.log.opened)
            assert (await world.progress("t0")).state == FAILED


def _states(runner: SourceRunner) -> list[str]:
    return [each.progress.state for each in runner._readers.values()]


async def test_so_many_submissions_of_a_workspace_are_under_way_at_once() -> None:
    class Slow(Submitted):
        most = under_way = 0

        async def submit(self, descriptor_id: str, data: bytes, options: Options) -> str:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0)
            self.under_way -= 1
            return await super().submit(descriptor_id, data, options)

    async with a_world() as world:
        slow = world.submitted = Slow()
        for trigger_id in ("t", "u"):
            await world.add(trigger_id)
        for partition in range(2 * SUBMISSIONS_AT_ONCE):
            world.log.partitions[str(partition)] += [{"a": partition}]
        async with world.runs():
            await until(lambda: len(slow.contexts) == 4 * SUBMISSIONS_AT_ONCE)
        assert slow.most == SUBMISSIONS_AT_ONCE


async def test_a_source_that_gives_events_of_a_busy_ordering_key_has_failed() -> None:
    class CarelessReader(RecordReader):
        async def take(self, busy: Collection[str]) -> Sequence[TriggerEvent]:
            return await super().take(busy and ())

    class Careless(RecordLog):
        def open(self, trigger_id: str, settings: JsonObject) -> RecordReader:
            super().open(trigger_id, settings)
            return CarelessReader(self)

    async with a_world(Careless()) as world:
        await world.add()
        world.submitted.refusals[1] = OverloadedError("too many")
        world.log.partitions["0"] += [{"a": 1}, {"a": 2}, {"a": 3}]
        async with world.runs():
            failed = await until_progress(world, lambda found: found.state == "failed")
        assert "key 0, which is busy" in failed.state_reason


async def test_a_source_that_cancels_what_it_waits_for_has_failed_and_is_opened_again() -> None:
    class Cancelling(RecordReader):
        async def take(self, busy: Collection[str]) -> Sequence[TriggerEvent]:
            del busy
            raise asyncio.CancelledError

        async def close(self) -> None:
            await super().close()
            raise asyncio.CancelledError

    class Log(RecordLog):
        def open(self, trigger_id: str, settings: JsonObject) -> RecordReader:
            reader = super().open(trigger_id, settings)
            return Cancelling(self) if self.opened == 1 else reader

    async with a_world(Log()) as world:
        await world.add()
        world.log.partitions["0"] += [{"a": 1}]
        async with world.runs():
            await until(lambda: world.log.acknowledged["0"] == 1)
        assert world.log.closed == 2


def key_lengths() -> list[str]:
    return [key_of_event("t" * 200, "k" * length) for length in (10, 100, 101)]


async def test_a_key_that_is_too_long_is_a_digest_of_its_own() -> None:
    keys = key_lengths()
    assert len(set(keys)) == 3
    assert all(len(each) <= MOST_KEY_CHARACTERS for each in keys)
    assert keys[0].startswith("trigger/t")
