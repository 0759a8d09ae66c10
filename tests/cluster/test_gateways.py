"""What a dispatcher knows of its gateway hosts can be seen, and dies with it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.api import Api, Functions
from tests.cluster.processes import OwnStack, kill, workers
from tests.loopback import closed_port

pytestmark = [pytest.mark.cluster, pytest.mark.long]

LOOK_S: Final = 0.05
PATIENCE_S: Final = 60.0
GATED: Final = """
workspace: limits
dagName: gated
type: flow
tasks:
  - name: A
    category: function
    resourceName: {url}/gate/limits
    pattern: task_sync
"""


@pytest.fixture(name="narrow_stack")
def _narrow_stack(tmp_path: Path) -> Iterator[OwnStack]:
    limits = {"RILLFLOW_LIMIT_PER_HOST": "2", "RILLFLOW_RATES_BY_HOST": '{"127.0.0.1": 500}'}
    stack = OwnStack(tmp_path / "data", closed_port(), **limits)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def until_shown(api: Api, calls: tuple[int, int]) -> dict[str, Any]:
    """Return what is shown of the one host once so many calls are under way and waiting."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        shown = api.ask("GET", "/flow/gateways.json").body["dispatchers"]
        hosts: list[dict[str, Any]] = [host for each in shown for host in each["hosts"]]
        if [(host["under_way"], host["waiting"]) for host in hosts] == [calls]:
            return hosts[0]
        assert time.monotonic() < give_up, shown
        time.sleep(LOOK_S)


def test_a_dispatcher_that_is_killed_leaves_no_limit_used_up(
    narrow_stack: OwnStack, functions: Functions
) -> None:
    with Api(narrow_stack.base_url) as api:
        first = api.submit(GATED.format(url=functions.url))
        started = [first, *(api.submit("limits:gated") for _ in range(4))]
        shown = until_shown(api, (2, 3))
        assert (shown["host"], shown["rate_per_s"]) == (functions.url, 500)
        assert shown["circuit"]["state"] == "closed"

        for victim in ("DispatcherActor", "ExecutionActor"):
            killed = workers(narrow_stack.pid, victim)
            kill(*killed)
            assert killed
            until_shown(api, (2, 3))

        functions.open("limits")
        assert {api.end(execution_id).status for execution_id in started} == {"SUCCEED"}
        shown = until_shown(api, (0, 0))
        assert (shown["host"], shown["circuit"]["state"]) == (functions.url, "closed")
        assert shown["idle_s"] >= 0, "a host is shown for a while after its last call"
