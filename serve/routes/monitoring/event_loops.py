"""The longest turns of the stack's event loops, by process.

Used by `serve/api.py`.
"""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from rillflow.ports.loops import LoopState
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.runtime.stack import Stack
from serve.schemas.answers import EventLoops
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import json_response


def router(stack: Stack, watch: LoopWatch) -> APIRouter:
    """Return the route that shows the measurements; ``watch`` measures this process."""
    routes = APIRouter(prefix="/flow", tags=["protection"], responses=ERRORS)

    @routes.get("/event_loops.json", responses=answer(EventLoops))
    async def event_loops() -> Response:
        """Show the longest turn of each event loop: of this replica, and of all actors.

        While a loop is blocked, its process answers no request. No turn should take 50 ms. Other
        load on the machine makes all turns longer.
        """
        states = [watch.state(), *await stack.loops.states()]
        return json_response({"event_loops": list(map(_shown, states))})

    return routes


def _shown(state: LoopState) -> dict[str, Any]:
    if not state.is_reached:
        return {"process": state.process, "reached": False}
    return {
        "process": state.process,
        "reached": True,
        "pid": state.pid,
        "longest_ms": state.longest_ms,
        "longest_of_minute_ms": state.longest_of_minute_ms,
        "slow_turns": state.slow_turns,
    }
