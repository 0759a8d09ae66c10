"""Starting the executions of a trigger's past times.

Used by `runtime/triggers/registry.py`.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from rillflow.errors import OverloadedError, RequestError
from rillflow.gateways.outbound.threads import in_thread
from rillflow.ids import ExecutionId, parse_descriptor_id
from rillflow.ports.storage.access import Holder
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.definitions.trigger_groups import RESTRICTED
from rillflow.runtime.triggers.submission_options import CheckingSubmitter, options_of
from rillflow.triggers.schedule import key_of_firing
from rillflow.triggers.spec import TriggerSpec, decode_spec

MOST_TIMES: Final = 1_000
AT_ONCE: Final = 4
"""Submissions of a backfill at once, each of which rests for as long as it took."""
MOST_UNDER_WAY: Final = 4
"""Backfills of a process at once, one of each workspace: a short request may ask for 1,000
submissions, also where all of them were started before."""


class Backfills:
    """The backfills of one process."""

    def __init__(self, submissions: CheckingSubmitter) -> None:
        self._submissions = submissions
        self._under_way: set[str] = set()

    async def start(
        self,
        trigger_id: str,
        stored: tuple[TriggerRow, str],
        span_ms: tuple[int, int],
        holder: Holder | None,
    ) -> list[ExecutionId]:
        """Start the executions of all scheduled times of a span, except those that were started.

        Returns:
            The executions of all times of the span.

        Raises:
            OverloadedError: The workspace has a backfill under way here, or others have (429).
            RillflowError: The span has too many times, or a submission was refused.
        """
        row, context = stored
        workspace = parse_descriptor_id(row.descriptor_id).business
        with self._place(workspace):
            spec = decode_spec(row.spec)
            times = await in_thread(lambda: _times(spec, *span_ms), workspace=workspace)
            started: list[Any] = [None] * len(times)
            left = iter(enumerate(times))

            async def start_some() -> None:
                for place, at_ms in left:
                    begun_s = time.monotonic()
                    key = key_of_firing(trigger_id, at_ms)
                    options = options_of(spec, key)._replace(holder=holder)
                    try:
                        started[place] = await self._submissions.submit(
                            row.descriptor_id, context.encode(), options
                        )
                    except Exception as error:  # noqa: BLE001 - told when all were tried
                        started[place] = error
                    # Submissions of others have the process for as long.
                    await asyncio.sleep(time.monotonic() - begun_s)

            await asyncio.gather(*(start_some() for _ in range(AT_ONCE)))
            return _all_or_first_error(started)

    @contextmanager
    def _place(self, workspace: str) -> Iterator[None]:
        if workspace in self._under_way or len(self._under_way) >= MOST_UNDER_WAY:
            raise OverloadedError(
                "other spans are being backfilled; try again later",
                hint=f"one of a workspace at once, and {MOST_UNDER_WAY} in all",
            )
        self._under_way.add(workspace)
        try:
            yield
        finally:
            self._under_way.discard(workspace)


def _all_or_first_error(started: Sequence[Any]) -> list[ExecutionId]:
    """Return the executions, unless a submission has failed: raise the first error then."""
    failed = next((each for each in started if isinstance(each, Exception)), None)
    if failed is None:
        return list(started)
    try:
        raise failed
    finally:
        del started, failed  # the traceback has this frame: they would keep each other


def _times(spec: TriggerSpec, first_ms: int, last_ms: int) -> list[int]:
    if spec.config is not None:
        raise RequestError("only a cron trigger has scheduled times", wire_code=RESTRICTED)
    times = list(islice(spec.schedule().times(first_ms - 1, last_ms), MOST_TIMES + 1))
    if len(times) > MOST_TIMES:
        raise RequestError(
            f"the span has more than {MOST_TIMES} times; backfill it in parts",
            wire_code=RESTRICTED,
        )
    return times
