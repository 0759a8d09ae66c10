"""A world of records: the trigger world, with a source that is read at least once.

The source answers late, and fails before or after a record is acknowledged; it may be read by two
owners at once, as during a rebalance. Records come all the while, in partitions.
"""

import asyncio
from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from rillflow.errors import UnavailableError
from rillflow.ids import PARTITIONS
from rillflow.jsontypes import JsonObject
from rillflow.ports.triggers import TriggerEvent
from rillflow.runtime.triggers.registry import TriggerRegistry
from rillflow.runtime.triggers.sources.runner import SourceRunner
from rillflow.triggers.spec import TriggerSpec
from rillflow.triggers.trigger_types import ReadTrigger
from tests.record_log import RecordLog, RecordReader
from tests.simulation.trigger_world import FAILING, TROUBLE_S, TriggerWorld

ORDERING_KEYS: Final = 3
RECORDS: Final = 60
SLOWEST_S: Final = 0.4


class FlakyLog(RecordLog):
    """A log whose readers are slow, and fail until peace comes."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.failing = FAILING

    def open(self, trigger_id: str, settings: JsonObject) -> RecordReader:
        """Read from what was acknowledged on."""
        super().open(trigger_id, settings)
        return FlakyReader(self)

    def trip(self) -> None:
        """Fail now and then."""
        if self.random.random() < self.failing:
            raise UnavailableError("the log is away")


class FlakyReader(RecordReader):
    """One reader of it."""

    def __init__(self, log: FlakyLog) -> None:
        super().__init__(log)
        self._flaky = log

    async def take(self, busy: Collection[str]) -> Sequence[TriggerEvent]:
        """Return records late, or fail."""
        await asyncio.sleep(self._flaky.random.uniform(0.05, SLOWEST_S))
        self._flaky.trip()
        return await super().take(busy)

    async def acknowledge(self, event: TriggerEvent) -> None:
        """Acknowledge late, or fail before or after it."""
        await asyncio.sleep(self._flaky.random.uniform(0, 0.1))
        self._flaky.trip()
        await super().acknowledge(event)
        self._flaky.trip()


class SourceWorld(TriggerWorld):
    """See the module."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.log = FlakyLog(Random(seed + 4))

    async def run_owner(self) -> None:
        """Read the source, until the life that this belongs to is killed."""
        runner = SourceRunner(
            store=self.wire,  # type: ignore[arg-type]
            submissions=self.submissions(),
            clock=self.clock,
            partitions=range(PARTITIONS),
            types={self.log.name: self.log},
        )
        runner.start()
        await asyncio.Event().wait()

    async def _people(self) -> None:
        """Add the trigger, and records."""
        registry = TriggerRegistry(self.store, self.submissions(), self.clock)
        trigger = ReadTrigger(self.log.name, TriggerSpec(config={"log": "a"}))
        await registry.add("shop:order", trigger, {}, trigger_id="t")
        for number in range(RECORDS):
            partition = self.random.randrange(ORDERING_KEYS)
            record: JsonObject | str = {"a": number}
            self.log.partitions[str(partition)].append("bad" if number % 10 == 7 else record)
            await asyncio.sleep(self.random.uniform(0, TROUBLE_S / RECORDS))
        await asyncio.sleep(max(TROUBLE_S - self.loop.time(), 0))
        self.log.failing = 0.0
