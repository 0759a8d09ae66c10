"""What is wrong with a call is told by the class of its error, over sockets and over Ray alike."""

import json
import subprocess
import sys
from typing import Any, Final

import pytest

from tests.cluster.processes import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.long]

WITHIN_S: Final = 120
AT_ONCE_S: Final = 60.0
"""Far below the time for which a process is looked for that cannot be reached."""
KINDS: Final = {
    "defect": "DefectError",
    "value": "DefectError",
    "socket": "DefectError",
    "store": "StoreError",
    "fenced": "FencedError",
    "damaged": "DamagedError",
    "overloaded": "OverloadedError",
    "unavailable": "UnavailableError",
}


@pytest.fixture(name="seen", scope="module")
def _seen() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.failing_peers"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


@pytest.mark.parametrize("way", ["near", "far"])
def test_an_error_is_told_at_once_as_what_it_is(seen: dict[str, Any], way: str) -> None:
    told = {method: seen[way][method] for method in KINDS}
    assert {method: each["kind"] for method, each in told.items()} == KINDS
    assert max(each["took_s"] for each in told.values()) < AT_ONCE_S
    assert seen[way]["calls"] == len(KINDS), "no call was made again"
    assert told["defect"]["text"] == f"unexpected TypeError in {way}; its log has the traceback"


def test_an_actor_that_fails_before_it_takes_a_call_has_a_defect(seen: dict[str, Any]) -> None:
    broken = seen["broken"]
    assert broken["kind"] == "DefectError"
    assert broken["text"] == "unexpected TypeError in broken; its log has the traceback"
    assert broken["took_s"] < AT_ONCE_S


def test_an_actor_that_is_not_there_is_unavailable_and_one_that_does_not_come_back_is_gone(
    seen: dict[str, Any],
) -> None:
    assert (seen["missing"]["kind"], seen["missing"]["text"]) == (
        "UnavailableError",
        "nobody cannot be reached",
    )
    assert seen["left"]["kind"] == "GoneError"
