"""How many executions ended in each of the last minutes, and how long things took.

Each replica looks at all processes once a minute, and keeps what has happened since for some hours.
The first execution actor tells each what others keep, so that it does not matter which one answers.

Used by `serve/api.py`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from rillflow.errors import RillflowError
from rillflow.runtime.stack import Stack
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.minutes import MINUTE_MS, MOST_MINUTES, TIMES, Minute, Minutes, quantile_ms
from serve.schemas.documentation import ERRORS
from serve.schemas.exchange import json_response
from serve.schemas.parameters import Whole

QUANTILES: Final = {"p50": 0.5, "p99": 0.99}
DEFAULT_MINUTES: Final = 180
MOST_PROCESSES: Final = 500


def router(stack: Stack, minutes: Minutes) -> APIRouter:
    """Return the route of the minutes that this replica keeps."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS)

    @routes.get("/minutes.json", responses={200: {"description": "Numbers for each minute."}})
    async def last_minutes(last: Whole = DEFAULT_MINUTES) -> Response:
        """Show the last minutes as lists, the oldest first."""
        wanted = min(max(last, 1), MOST_MINUTES)
        now_ms = stack.clock.now_ms()
        kept = [each for each in minutes.kept if each.at_ms >= now_ms - (wanted + 1) * MINUTE_MS]
        processes = sorted(minutes.processes)
        return json_response(
            {"at_ms": now_ms, **columns(kept[-wanted:]), "processes": processes[:MOST_PROCESSES]}
        )

    return routes


async def keep_minutes(stack: Stack, meters: Meters, minutes: Minutes) -> None:
    """Look at all processes at the end of each minute; ``meters`` are those of this replica."""
    while True:
        with suppress(RillflowError):
            await look(stack, meters, minutes)
        left_ms = MINUTE_MS - stack.clock.now_ms() % MINUTE_MS
        await asyncio.sleep(left_ms / 1000)


async def look(stack: Stack, meters: Meters, minutes: Minutes) -> None:
    """Ask all processes what they have counted.

    Raises:
        RillflowError: They cannot be asked.
    """
    own = meters.state()
    # It is the end of the minute, or a little later.
    at_ms = stack.clock.now_ms() - MINUTE_MS // 2
    minutes.add(at_ms, [own, *await stack.process_meters.states(own)])
    minutes.merge(await stack.process_meters.share(minutes.kept))


def columns(kept: Sequence[Minute]) -> dict[str, Any]:
    """Return minutes as lists of the same length, one for each number."""
    hosts = sorted({host for each in kept for host in each.failures})
    return {
        "step_ms": MINUTE_MS,
        "minutes_ms": [each.at_ms for each in kept],
        "submitted": [round(each.submitted) for each in kept],
        "succeeded": [round(each.succeeded) for each in kept],
        "failed": [round(each.failed) for each in kept],
        "times": {
            name: {
                word: [quantile_ms(each.times.get(name, ()), metric.bounds, part) for each in kept]
                for word, part in QUANTILES.items()
            }
            for name, metric in TIMES.items()
        },
        "call_failures": {
            host: [round(each.failures.get(host, 0)) for each in kept] for host in hosts
        },
    }
