"""A firing whose key another execution has starts nothing, and its trigger tells so."""

from collections.abc import Sequence
from typing import Any, Final

from rillflow.errors import RequestError, RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.groups import SendMany, SubmissionRequest
from rillflow.runtime.submission.intake import Options
from rillflow.runtime.triggers.firing import ActiveTrigger, Firing, TriggerTime
from rillflow.runtime.triggers.measuring import TriggerMeters
from rillflow.stores.memory.store import MemoryStore
from rillflow.telemetry.meters import Meters

TAKEN: Final = "idempotency key trigger/nightly/7 was used for other data, by another"


class Taken:
    """Submissions whose keys others have used for other data."""

    async def submit(self, descriptor_id: str, data: bytes, options: Options) -> str:
        del descriptor_id, data, options
        raise RequestError(TAKEN, http_status=409)

    async def submit_plain(
        self, asked: Sequence[SubmissionRequest], send: SendMany
    ) -> list[ExecutionId | RillflowError | None]:
        del send
        return [RequestError(TAKEN, http_status=409) for _ in asked]


class Nobody:
    """Executions that nobody calls."""

    def __getattr__(self, name: str) -> Any:
        return None


async def test_a_time_whose_key_was_used_for_other_data_is_an_error_of_its_trigger() -> None:
    firing = Firing(
        store=MemoryStore(),
        submissions=Taken(),
        executions=Nobody(),
        clock=SystemClock(),
        meters=TriggerMeters(Meters("")),
    )
    row = TriggerRow(
        id="nightly", type="cron", descriptor_id="shop:order", spec='{"cron":"@hourly"}'
    )
    trigger = ActiveTrigger(row, 0)
    await firing.start(trigger, b"{}", 7)
    assert (trigger.progress.fired, trigger.progress.error) == (0, TAKEN)
    trigger.note(error="")
    assert await firing.start_together([TriggerTime(trigger, b"{}", 7)]) == [True]
    assert (trigger.progress.fired, trigger.progress.error) == (0, TAKEN)
