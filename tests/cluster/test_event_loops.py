"""The event loop of each process of a running stack is measured, and shown to operators."""

import time
from typing import Any

from tests.cluster.api import LOOK_S, WAIT_S, Api

OF_REPLICA = "replica"


def test_every_process_tells_its_longest_turn(api: Api) -> None:
    give_up = time.monotonic() + WAIT_S
    shown = _shown(api)
    while not all(each["reached"] for each in shown):
        assert time.monotonic() < give_up, shown
        time.sleep(LOOK_S)
        shown = _shown(api)
    names = [each["process"] for each in shown]
    assert names[0] == OF_REPLICA
    assert {name.split(":")[1] for name in names[1:]} == {"execution", "dispatcher"}
    assert len({each["pid"] for each in shown}) == len(shown)
    for each in shown:
        assert each["longest_ms"] >= each["longest_of_minute_ms"] >= 0


def _shown(api: Api) -> list[dict[str, Any]]:
    """Return what is shown; a process that is too busy to answer is not reached this time."""
    shown: list[dict[str, Any]] = api.ask("GET", "/flow/event_loops.json").body["event_loops"]
    return shown
