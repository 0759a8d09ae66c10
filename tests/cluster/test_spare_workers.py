"""An actor gets the process that was started for it, so that nobody waits for the start of one.

That process has imported what actors need by then, and so has every other one that gets an actor.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.ray_head import RayHead

pytestmark = [pytest.mark.cluster, pytest.mark.long]


@pytest.fixture(name="head", scope="module")
def _head() -> Iterator[RayHead]:
    # The sockets of Ray need a short path.
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp") as folder:
        head = RayHead(Path(folder))
        try:
            head.start()
            yield head
        finally:
            head.kill()


def test_the_next_actor_gets_the_process_that_waits_and_none_waits_at_the_end(
    head: RayHead,
) -> None:
    told = head.run("python tests/cluster/spare_driver.py")
    [line] = (each for each in told.splitlines() if each.startswith("[["))
    first, second, without, left = json.loads(line)
    assert first == [True, True], told
    assert second == [False, True], told
    assert without is False, told
    assert left == [2, 0], told
