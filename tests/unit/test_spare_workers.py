"""The controller has processes wait for actors: as many as it needs, and no more."""

import asyncio
import itertools
import logging
import threading
from typing import Final

import pytest

from rillflow.actors.spare_workers import SpareWorkers, wanted_spares

PATIENCE_S: Final = 60.0


class Node:
    """A node whose processes are there when they are looked at a second time."""

    def __init__(self) -> None:
        self.unused: set[bytes] = set()
        self.started = 0
        self.open = 0
        self._coming: list[set[bytes]] = []
        self._ids = itertools.count()

    def start_workers(self, count: int, keep_s: int) -> None:
        """Have them come later."""
        assert keep_s > 0
        self.started += count
        self._coming = [set(), {b"%d" % next(self._ids) for _ in range(count)}]

    def unused_workers(self) -> set[bytes]:
        """Return those that have come."""
        if self._coming:
            self.unused |= self._coming.pop(0)
        return set(self.unused)

    def close(self) -> None:
        """Count."""
        self.open -= 1


class Nodes(dict[str, Node]):
    """Finds nodes by their ids."""

    def find(self, node: str) -> Node:
        """Return a node."""
        self[node].open += 1
        return self[node]


async def test_as_many_come_as_are_wanted_on_each_node() -> None:
    nodes = Nodes(one=Node(), other=Node())
    assert await SpareWorkers(nodes.find).start({"one": 2, "other": 1}, PATIENCE_S)
    assert [len(node.unused) for node in nodes.values()] == [2, 1]
    assert [node.open for node in nodes.values()] == [0, 0]


async def test_one_that_still_waits_is_enough_and_one_that_was_taken_is_not() -> None:
    nodes = Nodes(one=Node())
    spare = SpareWorkers(nodes.find)
    for _ in range(2):
        await spare.start({"one": 1}, PATIENCE_S)
    assert nodes["one"].started == 1
    nodes["one"].unused.clear()
    await spare.start({"one": 1}, PATIENCE_S)
    assert nodes["one"].started == 2


async def test_no_task_takes_the_process_that_waits_and_none_is_run_for_nobody() -> None:
    nodes = Nodes(one=Node())
    spare = SpareWorkers(nodes.find)
    await spare.prepare([], "memory:")  # Ray, which would run a task, is not there
    await spare.start({"one": 1}, PATIENCE_S)
    await spare.prepare(["one"], "memory:")
    assert (nodes["one"].started, len(nodes["one"].unused)) == (1, 1)
    assert await spare.prepare(["one", "one"], "memory:")
    assert nodes["one"].started == 2
    del nodes["one"]
    assert not await spare.prepare(["one"], "memory:"), "nothing is moved to a node that is gone"


async def test_what_others_have_started_does_not_count() -> None:
    nodes = Nodes(one=Node())
    nodes["one"].unused.add(b"of another environment")
    await SpareWorkers(nodes.find).start({"one": 1}, PATIENCE_S)
    assert nodes["one"].started == 1


async def test_one_that_does_not_come_is_told_and_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nodes = Nodes(one=Node())
    with caplog.at_level(logging.WARNING):
        await SpareWorkers(nodes.find).start({"one": 1}, 0)
    assert [record.message for record in caplog.records] == ["spare_workers_late"]
    assert nodes["one"].open == 0


async def test_a_node_that_is_gone_keeps_nothing_from_being_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert not await SpareWorkers(Nodes().find).start({"one": 1}, PATIENCE_S)
    assert [record.message for record in caplog.records] == ["spare_workers_not_started"]


class Still(Node):
    """A node on which a process stands still, so that it does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def unused_workers(self) -> set[bytes]:
        """Answer once that process goes on."""
        self.goes_on.wait(PATIENCE_S)
        return super().unused_workers()


async def test_a_node_that_does_not_answer_holds_up_no_other() -> None:
    still = Still()
    nodes = Nodes(still=still, other=Node())
    spare = SpareWorkers(nodes.find)
    spare.keep({"still": 1, "other": 1})
    try:
        async with asyncio.timeout(PATIENCE_S / 2):
            assert await spare.start({"other": 2}, PATIENCE_S)
        assert (still.started, nodes["other"].started) == (0, 2)
    finally:
        still.goes_on.set()
    await spare.kept()
    assert still.started == 1


def test_as_many_wait_on_each_node_as_it_gets_when_the_one_with_most_actors_dies() -> None:
    assert wanted_spares(["one", "one", "other", "other"], ["one", "other"]) == {
        "one": 2,
        "other": 2,
    }
    assert wanted_spares([*"aaab", "c"], "abc") == {"a": 2, "b": 2, "c": 2}
    assert wanted_spares(["one", "one"], ["one"]) == {}
    assert wanted_spares([], ["one", "other"]) == {}


async def test_those_that_are_kept_are_looked_at_from_time_to_time() -> None:
    now_s = 1000.0
    nodes = Nodes(one=Node(), other=Node())
    spare = SpareWorkers(nodes.find, now_s=lambda: now_s)
    spare.keep({"one": 2, "gone": 1, "other": 1})
    await spare.kept()
    assert [len(node.unused) for node in nodes.values()] == [2, 1]
    nodes["one"].unused.pop()
    spare.keep({"one": 2})
    await spare.kept()
    assert nodes["one"].started == 2
    now_s += 60
    spare.keep({"one": 2})
    await spare.kept()
    assert nodes["one"].started == 3


async def test_none_is_kept_once_everything_is_to_end() -> None:
    nodes = Nodes(one=Node())
    spare = SpareWorkers(nodes.find)
    await spare.end()
    spare.keep({"one": 1})
    await spare.kept()
    assert nodes["one"].started == 0
