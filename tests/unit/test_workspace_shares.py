"""A workspace whose Ray calls last for long leaves something of the cluster to the others."""

import asyncio
from typing import Any, Final

import pytest

from rillflow.actors.dispatcher_actor import ray_settings
from rillflow.gateways.limits.concurrency import Caller
from rillflow.ports.storage.access import Quota
from rillflow.ray_tasks.limits.input_room import InputRoom
from rillflow.ray_tasks.limits.node_resources import beyond, demand_of
from rillflow.ray_tasks.limits.task_queue import TaskQueue
from rillflow.ray_tasks.limits.task_room import Place, TaskRoom
from rillflow.ray_tasks.limits.waiting import WaitingCalls
from rillflow.ray_tasks.limits.workspace_shares import MOST_KEPT, RECENT_S
from rillflow.settings import Settings

LONG: Final = "long"
OTHER: Final = "other"
THIRD: Final = "third"


def node(zone: str = "", **resources: float) -> dict[str, Any]:
    return {"Alive": True, "Resources": resources, "Labels": {"zone": zone}}


class Cluster:
    """Ray tasks by workspace, at a time that the test sets."""

    def __init__(self, *nodes: dict[str, Any], most: dict[str, float] | None = None) -> None:
        self.now_s = 0.0
        self.room = TaskRoom(most or {}, lambda: self.now_s)
        self.room.learn(nodes)
        self._places: dict[str, list[Place]] = {}

    def begin(self, workspace: str, most: int = 100, **options: Any) -> int:
        """Begin calls while there is room, and return how many have begun."""
        demand = demand_of(options)
        places = self._places.setdefault(workspace, [])
        for begun in range(most):
            if not self.room.has_room(demand, workspace):
                self.room.wait(demand, workspace)
                return begun
            places.append(self.room.enter(demand, workspace))
        return most

    def end(self, workspace: str, most: int = 100) -> None:
        """End those that have begun last."""
        places = self._places[workspace]
        for place in places[-most:]:
            self.room.leave(place)
        del places[-most:]

    def call_once(self, workspace: str, **options: Any) -> None:
        """Make a short call."""
        assert self.begin(workspace, 1, **options) == 1
        self.end(workspace, 1)


@pytest.mark.parametrize(
    ("resources", "options", "most"),
    [
        ({"CPU": 2.0}, {}, 1),
        ({"CPU": 4.0}, {}, 3),
        ({"CPU": 9.0}, {}, 8),
        ({"CPU": 18.0}, {}, 16),
        ({"CPU": 64.0}, {}, 57),
        ({"CPU": 5.0}, {"num_cpus": 2}, 1),
        ({"CPU": 2.0}, {"num_cpus": 0.5}, 2),
        ({"CPU": 16.0, "GPU": 4.0}, {"num_gpus": 1}, 3),
        ({"CPU": 16.0, "GPU": 1.0}, {"num_cpus": 0, "num_gpus": 0.25}, 2),
        ({"CPU": 99.0, "memory": 9e9}, {"memory": 1e9}, 8),
        ({"CPU": 99.0, "disk": 2.0}, {"num_cpus": 0, "resources": {"disk": 1}}, 1),
    ],
)
def test_a_workspace_leaves_something_to_one_that_has_called_lately(
    resources: dict[str, float], options: dict[str, Any], most: int
) -> None:
    cluster = Cluster({"Alive": True, "Resources": resources})
    cluster.call_once(OTHER, **options)
    assert cluster.begin(LONG, **options) == most
    for _ in range(3):
        cluster.now_s += RECENT_S - 1
        assert cluster.begin(LONG, **options) == 0
        cluster.call_once(OTHER, **options)


@pytest.mark.parametrize(("cpus", "most"), [(2.0, 4), (4.0, 6), (64.0, 80)])
def test_a_workspace_has_everything_where_no_other_has_called_for_a_while(
    cpus: float, most: int
) -> None:
    cluster = Cluster(node(CPU=cpus))
    cluster.call_once(OTHER)
    cluster.now_s += RECENT_S
    assert cluster.begin(LONG) == most


def test_others_that_ask_for_something_else_keep_nothing_from_a_workspace() -> None:
    cluster = Cluster(node(CPU=64.0, GPU=4.0))
    cluster.call_once(OTHER)
    assert cluster.begin(LONG, num_gpus=1) == 4 + 2


def test_the_last_place_is_kept_while_somebody_has_none() -> None:
    cluster = Cluster(node(CPU=4.0))
    cluster.call_once(OTHER)
    cluster.call_once(THIRD)
    assert cluster.begin(LONG) == 3
    assert cluster.begin(OTHER) == 1
    cluster.end(LONG, 2)
    assert cluster.begin(OTHER) == 1, "the third has none"
    assert cluster.begin(LONG) == 0
    cluster.call_once(THIRD)


def test_workspaces_that_all_have_calls_leave_no_processor_idle() -> None:
    cluster = Cluster(node(CPU=4.0))
    cluster.call_once(OTHER)
    assert (cluster.begin(LONG), cluster.begin(OTHER)) == (3, 1)
    for _ in range(3):
        cluster.end(LONG, 1)
        assert cluster.begin(OTHER) == 1
        cluster.end(OTHER, 1)
        assert cluster.begin(LONG) == 1


def test_a_call_that_waits_has_the_place_that_is_free_next() -> None:
    cluster = Cluster(node(CPU=2.0))
    assert cluster.begin(LONG) == 4, "it was alone"
    assert cluster.begin(OTHER) == 0
    cluster.end(LONG, 3)
    assert cluster.begin(LONG) == 0
    assert cluster.begin(OTHER, 1) == 1


def test_calls_that_ask_for_different_amounts_leave_as_much() -> None:
    cluster = Cluster(node(CPU=4.0))
    cluster.call_once(OTHER)
    begun = sum(cluster.begin(LONG, 1, num_cpus=0.5 + number / 1_000) for number in range(100))
    assert begun == 5
    assert cluster.begin(LONG, num_cpus=0.01) == 49
    cluster.call_once(OTHER)


def test_calls_for_some_nodes_leave_something_there() -> None:
    cluster = Cluster(node(CPU=60.0), node("a", CPU=4.0))
    zone: dict[str, Any] = {"label_selector": {"zone": "a"}}
    cluster.call_once(OTHER, **zone)
    assert cluster.begin(LONG, **zone) == 3
    assert cluster.begin(LONG, num_cpus=1.5, **zone) == 0
    cluster.call_once(OTHER, **zone)


def test_the_places_of_several_nodes_are_counted_one_by_one() -> None:
    cluster = Cluster(*(node(CPU=3.0) for _ in range(4)))
    cluster.call_once(OTHER, num_cpus=2)
    assert cluster.begin(LONG, num_cpus=2) == 3
    cluster.call_once(OTHER, num_cpus=2)


def test_a_call_that_asks_for_more_than_may_be_had_begins_where_there_is_room() -> None:
    cluster = Cluster(node(CPU=4.0))
    cluster.call_once(OTHER)
    assert cluster.begin(LONG, num_cpus=4) == 1


@pytest.mark.parametrize(
    ("options", "most"),
    [({}, 4), ({"num_cpus": 3}, 1), ({"num_cpus": 5}, 0), ({"num_gpus": 1, "num_cpus": 0}, 0)],
)
def test_a_workspace_with_a_share_of_its_own_never_has_more(
    options: dict[str, Any], most: int
) -> None:
    cluster = Cluster(node(CPU=6.0), node("a", CPU=2.0, GPU=1.0), most={LONG: 0.5})
    assert cluster.begin(LONG, **options) == most
    assert cluster.begin(LONG, num_cpus=4.5) == 0
    assert cluster.begin(OTHER, 1, **options) == 1


async def test_a_call_beyond_the_share_of_its_workspace_is_warned_of() -> None:
    nodes = [node(CPU=8.0), node(CPU=8.0)]
    assert beyond({"num_cpus": 4}, nodes, 0.25) == beyond({"num_cpus": 16}, nodes, 1.0) == ""
    calls, options = WaitingCalls(lambda: nodes, 0.0), {"num_cpus": 5}
    with (
        calls.waiting(("enough", "", 1, 0), "ray://a:f", options, 0.5),
        calls.waiting(("beyond", "", 1, 0), "ray://a:f", options, 0.25),
        calls.waiting(("none", "", 1, 0), "ray://a:f", {"num_cpus": 9}, 0.25),
    ):
        async with asyncio.timeout(60):
            while len(warnings := calls.warnings()) < 2:
                await asyncio.to_thread(lambda: None)
    assert warnings == [
        "ray://a:f asks for CPU 5: the ray_share of its workspace is less (calls: 1)",
        "ray://a:f waits for a node with CPU 9: none has it (calls: 1)",
    ]


def test_the_shares_of_workspaces_are_a_setting() -> None:
    quotas = {"long": {"ray_share": 0.5}, "other": {"running": 2}}
    settings = Settings.model_validate({"workspace_quotas": quotas})
    assert ray_settings(settings, "dispatcher").workspace_shares == {"long": 0.5}
    assert settings.workspace_quotas["other"].as_quota() == Quota(running=2)
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="ray_share"):
            Settings.model_validate({"workspace_quotas": {"long": {"ray_share": wrong}}})


def test_what_began_before_the_nodes_were_known_counts() -> None:
    room = TaskRoom({}, lambda: 0.0)
    demand = demand_of({})
    for _ in range(3):
        room.enter(demand, LONG)
    room.learn([node(CPU=4.0)])
    room.wait(demand, OTHER)
    assert not room.has_room(demand, LONG)
    assert room.has_room(demand, OTHER)


def test_nodes_that_come_and_go_change_what_is_left() -> None:
    cluster = Cluster(node(CPU=2.0))
    cluster.call_once(OTHER)
    assert cluster.begin(LONG) == 1
    cluster.room.learn([node(CPU=4.0)])
    assert cluster.begin(LONG) == 2
    cluster.room.learn([node(CPU=3.0)])
    assert cluster.begin(LONG) == 0
    cluster.end(LONG, 2)
    assert cluster.begin(LONG) == 1


def test_of_what_nobody_has_no_more_is_kept_than_a_thousand() -> None:
    cluster = Cluster(node(CPU=4.0))
    cluster.call_once(OTHER)
    assert cluster.begin(LONG) == 3
    for number in range(3 * MOST_KEPT):
        demand = demand_of({"num_cpus": 1 + number / 10_000})
        assert not cluster.room.has_room(demand, LONG)
        cluster.room.wait(demand, LONG)
    assert len(cluster.room._held._pools) <= MOST_KEPT + 1
    cluster.call_once(OTHER)


async def test_what_is_left_no_longer_begins_when_nodes_are_looked_at() -> None:
    now_s = [0.0]
    nodes = [node(CPU=2.0)]
    queue = TaskQueue(lambda: nodes, InputRoom(0), clock=lambda: now_s[0])
    queue.learn(nodes)
    demand = demand_of({})
    async with queue.place(demand, Caller(OTHER, "")):
        pass
    first, second = (queue.place(demand, Caller(LONG, "")) for _ in range(2))
    async with first:
        waits = asyncio.create_task(second.__aenter__())
        await asyncio.sleep(0)
        queue.learn(nodes)
        assert not waits.done()
        now_s[0] = RECENT_S
        queue.learn(nodes)
        await waits
        await second.__aexit__(None, None, None)
    queue.close()
