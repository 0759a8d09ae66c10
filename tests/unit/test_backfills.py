"""A backfill submits a few of its times at once, and rests for as long as each submission took."""

import asyncio
import time
from itertools import pairwise
from typing import Any, Final

import pytest

from rillflow.errors import OverloadedError
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.backfills import AT_ONCE, Backfills
from rillflow.triggers.spec import TriggerSpec, encode_spec

HOUR_MS: Final = 3_600_000
ROW: Final = TriggerRow(
    id="t",
    type="cron",
    descriptor_id="shop:order",
    spec=encode_spec(TriggerSpec(cron="@hourly", time_zone="UTC")),
)
BUSY_S: Final = 0.002
ROUNDED_S: Final = 0.001


class Submissions:
    """Takes submissions, each of which computes for a while; some are refused."""

    def __init__(self, refused: int = -1) -> None:
        self.under_way = self.most = self.taken = 0
        self._refused = refused
        self.spans: dict[object, list[tuple[float, float]]] = {}
        """When submissions of a task began and ended."""

    async def submit(self, descriptor_id: str, body: bytes, options: Any) -> str:
        del descriptor_id, body, options
        begun_s = time.monotonic()
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        number, self.taken = self.taken, self.taken + 1
        await asyncio.sleep(0)
        end_s = time.monotonic() + BUSY_S
        while time.monotonic() < end_s:
            pass
        self.under_way -= 1
        self.spans.setdefault(asyncio.current_task(), []).append((begun_s, time.monotonic()))
        if number == self._refused:
            raise OverloadedError("no room")
        return f"shop:order_c_{number}"

    async def missing(self, descriptor_id: str) -> str:
        del descriptor_id
        return ""


async def backfilled(submissions: Submissions, times: int) -> list[str]:
    backfills: Any = Backfills(submissions)
    span = (HOUR_MS, times * HOUR_MS)
    return list(await backfills.start("t", (ROW, ""), span, None))


async def test_few_are_submitted_at_once_and_each_rests_for_as_long() -> None:
    submissions, times = Submissions(), 50
    started = await backfilled(submissions, times)
    assert started == [f"shop:order_c_{number}" for number in range(times)]
    assert submissions.most <= len(submissions.spans) == AT_ONCE
    for spans in submissions.spans.values():
        for (begun_s, ended_s), (next_s, _) in pairwise(spans):
            assert next_s - ended_s > (ended_s - begun_s) - ROUNDED_S


async def test_all_are_tried_and_the_first_refusal_is_told() -> None:
    submissions = Submissions(refused=3)
    with pytest.raises(OverloadedError, match="no room"):
        await backfilled(submissions, 9)
    assert submissions.taken == 9
