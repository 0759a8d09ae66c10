"""The records of a topic as the events of a trigger.

Used by `gateways/kafka/trigger_type.py`.
"""

from collections.abc import Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rillflow.errors import GatewayError
from rillflow.gateways.kafka.broker_rules import BrokerRules
from rillflow.gateways.kafka.guarded_loop import KafkaThread
from rillflow.gateways.kafka.record_room import OwnRoom
from rillflow.gateways.secrets.masks import Mask
from rillflow.ports.triggers import TriggerEvent

if TYPE_CHECKING:
    from rillflow.gateways.kafka.client import KafkaClient

T = TypeVar("T")


class KafkaSource:
    """The records of one topic, for one trigger; the ordering key is the partition."""

    def __init__(  # noqa: PLR0913 - what a client consists of
        self,
        trigger_id: str,
        settings: Mapping[str, Any],
        *,
        thread: KafkaThread,
        rules: BrokerRules,
        password: str | None,
        ca_file: Path | None,
        room: OwnRoom,
    ) -> None:
        self._given = trigger_id, settings, password, ca_file, room
        self._thread = thread
        self._rules = rules
        self._mask = Mask({} if password is None else {"password": password})
        self._opened: KafkaClient | None = None

    @property
    def behind(self) -> int | None:
        """How many records wait in the partitions that are this consumer's."""
        return None if self._opened is None else self._opened.behind

    @property
    def unread(self) -> str:
        """Which partitions are not read, and why."""
        unread = "" if self._opened is None else self._opened.unread
        return self._mask.text(f"not read: {unread}") if unread else ""

    async def take(self, busy: Collection[str]) -> Sequence[TriggerEvent]:
        """Wait a while for records of partitions that are not busy."""

        async def taken() -> Sequence[TriggerEvent]:
            return await self._client().take(frozenset(map(int, busy)))

        return await self._run(taken())

    async def acknowledge(self, event: TriggerEvent) -> None:
        """Commit the offset after a record, unless the partition is another consumer's by now."""
        await self._run(self._client().commit(event.position))

    async def refuse(self, event: TriggerEvent, reason: str) -> bool:
        """Send a record to the topic of dead letters, if there is one, and it fits."""
        return await self._run(self._client().send_dead(event.position, self._mask.text(reason)))

    async def put_back(self, event: TriggerEvent) -> None:
        """Let go of a record, and of those after it in its partition, until they are read again."""
        await self._run(self._client().put_back(event.position))

    async def close(self) -> None:
        """Leave the group, and close all connections."""
        if self._opened is not None:
            await self._run(self._opened.close())

    def _client(self) -> "KafkaClient":
        """Return the client; importing its library takes too long for any other thread."""
        if self._opened is None:
            from rillflow.gateways.kafka.client import KafkaClient  # noqa: PLC0415 - an extra

            self._opened = KafkaClient(*self._given)
        return self._opened

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await self._thread.run(self._rules, work)
        except (
            RuntimeError,
            OSError,
            TimeoutError,
        ) as error:  # errors of aiokafka are RuntimeErrors
            reason = self._rules.refusal or str(error) or type(error).__name__
            raise GatewayError(self._mask.text(f"Kafka: {reason}")) from error
