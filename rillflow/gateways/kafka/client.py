"""What reads a topic, and sends dead letters: a consumer and a producer of aiokafka.

An offset is committed when the executions of its record, and of those before it in its partition,
are on disk. All of this runs in the thread of Kafka, but for what reading a record computes:
that has a thread of its own, in which workspaces take turns.

Used by `gateways/kafka/source.py`.
"""

import asyncio
import sys
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, MessageSizeTooLargeError

from rillflow.core.encoding.stored_context import Cleaner
from rillflow.errors import ExecutionError
from rillflow.gateways.kafka.clients import consumer_of, producer_of
from rillflow.gateways.kafka.record_room import OwnRoom
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.jsontypes import JsonObject, memory_of
from rillflow.ports.triggers import TriggerEvent
from rillflow.private_apis.kafka_client.fetched import let_go
from rillflow.private_apis.kafka_client.limits import UnreadPartitionError, is_full
from rillflow.triggers.kafka_records import (
    WORKSPACE_HEADER,
    Record,
    RecordError,
    context_of,
    is_for,
    key_of_record,
    sender_of,
)

MOST_RECORDS: Final = 50
"""Records that are taken at once, of all partitions."""
MOST_CONTEXT_BYTES: Final = 4 << 20
"""What the context that a mapping makes of a record may weigh: a value may be in it many times."""
HEADER_BYTES: Final = 100
"""The memory of a header beside its name and value."""
PLACE_HEADER: Final = "rillflow-record"
"""The header of a dead letter that says where it was read."""
MOST_DEAD_LETTERS: Final = 2
"""How often a record is sent as a dead letter; each trigger that reads it may send it."""
WAIT_MS: Final = 500
"""How long ``take`` waits for records."""
ALL_BUSY_S: Final = 0.1
LOOK_S: Final = 5.0
"""How often the brokers are asked something, to learn whether they are there."""
AGAIN_S: Final = 60.0
"""How long a partition is left alone whose next records cannot be read."""
ANSWER_S: Final = 20.0
"""How long they may take to answer that."""
FOR_RECORDS: Final = FairThread(most=sys.maxsize, most_of_one=sys.maxsize, name="records")
"""The thread of this process that reads records of Kafka: one may take a tenth of a second.

A trigger has one record in it at a time, so there are no more works than triggers.
"""


class _ReadRecord(NamedTuple):
    """What was made of a record: the context and what it weighs in bytes, or why there is none."""

    context: JsonObject | None = None
    weight_bytes: int = 0
    problem: str = ""


class KafkaClient:
    """A consumer, and a producer of dead letters once there is one."""

    def __init__(
        self,
        trigger_id: str,
        settings: Mapping[str, Any],
        password: str | None,
        ca_file: Path | None,
        room: OwnRoom,
    ) -> None:
        self._room = room
        self._held: dict[TopicPartition, deque[ConsumerRecord[Any, Any]]] = defaultdict(deque)
        self._trigger_id = trigger_id
        self._settings = settings
        self._password = password
        self._ca_file = ca_file
        self._consumer: Any = None  # of a package whose types are incomplete
        self._producer: AIOKafkaProducer | None = None
        self._looked_s = 0.0
        self._unread: dict[int, tuple[str, float]] = {}
        """Why a partition is not read, and when it is tried again."""
        self._aside: set[TopicPartition] = set()
        """Busy partitions that are not fetched from, so that others are."""
        self.unread = ""
        self.again_s = AGAIN_S
        self.behind: int | None = None

    async def take(self, busy: Collection[int]) -> list[TriggerEvent]:
        """Wait a while for records of partitions that are not busy, and for which there is room."""
        consumer = await self._started()
        await self._look()
        assigned = consumer.assignment()
        for place in self._held.keys() - assigned:
            del self._held[place]  # Whoever has the partition now reads them again.
        self._read_again(assigned)
        self._share_what_is_fetched(assigned, busy)
        free = [
            each
            for each in assigned
            if each.partition not in busy and each.partition not in self._unread
        ]
        waits = not any(self._held[each] for each in free)
        events: list[TriggerEvent] = []
        wait_ms = WAIT_MS if waits else 0
        while len(events) < MOST_RECORDS and not self._room.is_full:
            empty = [each for each in free if not self._held[each]]
            if empty or not assigned:
                # One by one: what is fetched takes memory before it is known how much.
                try:
                    found = await consumer.getmany(*empty, timeout_ms=wait_ms, max_records=1)
                except UnreadPartitionError as error:
                    self._leave(error)
                    found = {}
                for place, records in found.items():
                    self._held[place].extend(records)
            taken = [event async for event in self._taken(free)]
            if not taken:
                break
            events += taken
            wait_ms = 0
        if not events and (not waits or self._room.is_full or (assigned and not free)):
            await asyncio.sleep(ALL_BUSY_S)
        return events

    def _leave(self, error: UnreadPartitionError) -> None:
        """Read no more of a partition for a while; the others go on."""
        if error.place in self._consumer.assignment():
            let_go(self._consumer._fetcher, [error.place])  # noqa: SLF001 - no public one
            self._consumer.pause(error.place)
            self._unread[error.place.partition] = str(error), time.monotonic() + self.again_s
            self._tell_unread()

    def _share_what_is_fetched(
        self, assigned: Collection[TopicPartition], busy: Collection[int]
    ) -> None:
        """Fetch again of partitions that are not busy any more.

        While this consumer holds as much as it may, let go of what it holds of those that are busy.
        """
        again = [each for each in self._aside if each.partition not in busy or each not in assigned]
        self._aside.difference_update(again)
        self._consumer.resume(*(each for each in again if self._is_read(each, assigned)))
        fetcher = self._consumer._fetcher  # noqa: SLF001 - no public one
        if is_full(fetcher):
            set_aside = [each for each in assigned if each.partition in busy]
            set_aside = [each for each in set_aside if self._is_read(each, assigned)]
            gone = let_go(fetcher, set_aside)
            self._consumer.pause(*gone)
            self._aside.update(gone)

    def _is_read(self, place: TopicPartition, assigned: Collection[TopicPartition]) -> bool:
        return place in assigned and place.partition not in self._unread

    def _read_again(self, assigned: Collection[TopicPartition]) -> None:
        """Try partitions again whose time has come, and forget those of others."""
        own = {each.partition: each for each in assigned}
        for partition, (_, again_s) in list(self._unread.items()):
            if partition not in own or time.monotonic() >= again_s:
                del self._unread[partition]
                if partition in own:
                    self._consumer.resume(own[partition])
                self._tell_unread()

    def _tell_unread(self) -> None:
        self.unread = "; ".join(reason for _, (reason, _) in sorted(self._unread.items()))

    async def _taken(self, free: Sequence[TopicPartition]) -> AsyncIterator[TriggerEvent]:
        """Yield the next records of partitions as events, while there is room for them."""
        for place in free:
            records = self._held[place]
            while records:
                size_bytes = _memory_of(records[0])
                if not self._room.take(place.partition, size_bytes):
                    return
                yield await self._event(records.popleft(), size_bytes)

    async def commit(self, record: ConsumerRecord[Any, Any]) -> None:
        """Commit the offset after a record, unless its partition is another consumer's by now."""
        place = TopicPartition(record.topic, record.partition)
        try:
            await self._consumer.commit({place: record.offset + 1})
        except (CommitFailedError, IllegalStateError):
            return  # it is another's: that one reads the record again, and finds it started
        finally:
            self._room.give_back(record.partition)

    async def put_back(self, record: ConsumerRecord[Any, Any]) -> None:
        """Give back the room of the records of a partition, and read it again from one of them on.

        Its partition is busy meanwhile, so ``take`` is not at it.
        """
        place = TopicPartition(record.topic, record.partition)
        self._held.pop(place, None)
        self._room.give_back(record.partition)
        let_go(self._consumer._fetcher, [place])  # noqa: SLF001 - no public one
        if place in self._consumer.assignment():  # otherwise whoever has it now reads it again
            self._consumer.seek(place, record.offset)

    async def send_dead(self, record: ConsumerRecord[Any, Any], reason: str) -> bool:
        """Send a record to the topic of dead letters; False without one, or if it does not fit.

        One that has been such a letter twice is sent no more: triggers may have each other's topic.
        """
        topic = self._settings.get("dead_letter_topic")
        sent = sum(name == PLACE_HEADER for name, _ in record.headers)
        if topic is None or sent >= MOST_DEAD_LETTERS:
            return False
        place = f"{record.topic}/{record.partition}/{record.offset}"
        told = {"trigger": self._trigger_id, "record": place, "reason": reason}
        headers = [
            *record.headers,
            (WORKSPACE_HEADER, self._room.workspace.encode()),
            *((f"rillflow-{name}", text.encode("utf-8", "replace")) for name, text in told.items()),
        ]
        if self._producer is None:
            producer = producer_of(self._settings, self._password, self._ca_file)
            await _begun(producer)
            self._producer = producer
        # aiokafka sends no record that has neither a key nor a value.
        value = b"" if record.key is None and record.value is None else record.value
        try:
            await self._producer.send_and_wait(topic, value=value, key=record.key, headers=headers)
        except MessageSizeTooLargeError:
            return False
        return True

    async def close(self) -> None:
        """Leave the group, and close all connections."""
        self._room.close()
        self._held.clear()
        for each in (self._producer, self._consumer):
            if each is not None:
                await each.stop()

    async def _started(self) -> Any:
        if self._consumer is None:
            consumer = consumer_of(self._settings, self._trigger_id, self._password, self._ca_file)
            await _begun(consumer)
            self._consumer = consumer
        return self._consumer

    async def _look(self) -> None:
        """Fail if the brokers are away: the consumer itself tries for ever, and tells nobody."""
        if time.monotonic() - self._looked_s >= LOOK_S:
            async with asyncio.timeout(ANSWER_S):
                self.behind = await self._waiting()
            self._looked_s = time.monotonic()

    async def _waiting(self) -> int | None:
        """Ask the brokers how many records of this consumer's partitions were not taken."""
        assigned = self._consumer.assignment()
        if not assigned:
            await self._consumer.topics()
            return None
        ends = await self._consumer.end_offsets(assigned)
        waiting = 0
        try:
            for place, end in ends.items():
                waiting += max(end - await self._consumer.position(place), 0)
        except IllegalStateError:
            return None  # a partition was given to another meanwhile
        return waiting

    async def _event(self, found: ConsumerRecord[Any, Any], size_bytes: int) -> TriggerEvent:
        """Read a record when it is the turn of the workspace."""
        record = Record(
            found.topic,
            found.partition,
            found.offset,
            found.timestamp,
            found.key,
            found.value,
            found.headers,
        )
        workspace = self._room.workspace
        made = await FOR_RECORDS.run(
            workspace, partial(_made_of, self._settings, workspace, record)
        )
        self._room.add(record.partition, max(made.weight_bytes - size_bytes, 0))
        return TriggerEvent(
            key=key_of_record(record),
            context=made.context,
            ordering_key=str(record.partition),
            problem=made.problem,
            position=found,
            traceparent=sender_of(record),
        )


def _made_of(settings: Mapping[str, Any], workspace: str, record: Record) -> _ReadRecord:
    """Make the context of a record; runs in a thread."""
    try:
        context = context_of(settings, record) if is_for(workspace, record) else None
        return _ReadRecord(context, _weight_of(context))
    except RecordError as error:
        return _ReadRecord(problem=str(error))


def _memory_of(record: ConsumerRecord[Any, Any]) -> int:
    headers = sum(HEADER_BYTES + len(name) + len(value or b"") for name, value in record.headers)
    return headers + sum(memory_of(part or b"") for part in (record.key, record.value))


def _weight_of(context: JsonObject | None) -> int:
    """Return what a context weighs, values that are in it several times as often.

    Raises:
        RecordError: It is too much for an execution.
    """
    if context is None:
        return 0
    cleaner = Cleaner(MOST_CONTEXT_BYTES)
    try:
        cleaner.clean(context)
    except ExecutionError as error:
        raise RecordError(f"what the mapping makes of the record is too large: {error}") from error
    return MOST_CONTEXT_BYTES - cleaner.left


async def _begun(client: Any) -> None:
    """Start a consumer or producer; one that cannot start leaves nothing open."""
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise
