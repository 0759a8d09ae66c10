"""A deployment converges on its settings while executions run, and says why where it cannot."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.ray_nodes import RayNodes
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.cluster

DRIVER: Final = Path(__file__).with_name("deploying_driver.py")
KEPT: Final = 10


@pytest.fixture(name="nodes", scope="module")
def _nodes(server: PostgresServer) -> Iterator[RayNodes]:
    # The sockets of Ray need a short path.
    with tempfile.TemporaryDirectory(prefix="rfn-", dir="/tmp") as folder:
        nodes = RayNodes(Path(folder), server.new_database(), others=0, driver=DRIVER)
        try:
            assert nodes.ask('deploy {"execution_actors":2}') is None
            nodes.ask("add")
            yield nodes
        finally:
            nodes.stop()


def _versions(actors: dict[str, Any]) -> set[int]:
    return {actor["version"] for actor in actors.values()}


def _check_all_went_well(nodes: RayNodes) -> None:
    ended = nodes.ask("ends")
    assert len(ended) >= KEPT
    assert set(ended.values()) == {"SUCCEED"}
    for calls in nodes.ask("calls").values():
        assert [task for task, _ in calls] == ["a", "b", "c"]


def test_the_same_settings_change_nothing(nodes: RayNodes) -> None:
    before = nodes.ask("actors")
    assert nodes.ask('deploy {"execution_actors":2}') is None
    assert nodes.ask("settled")["steps"] > 0
    assert nodes.ask("actors") == before


def test_changed_settings_reach_the_actors_that_run(nodes: RayNodes) -> None:
    nodes.ask("settled")
    before = nodes.ask("actors")
    nodes.ask(f"keep {KEPT}")
    assert nodes.ask('deploy {"execution_actors":2,"max_descendants":7}') is None
    report = nodes.ask("settled")
    after = nodes.ask("actors")
    assert _versions(after) == {report["wanted"]["version"]}
    assert not {each["life"] for each in before.values()} & {
        each["life"] for each in after.values()
    }
    assert report["steps"] == len(after)
    _check_all_went_well(nodes)


@pytest.mark.long
def test_a_changed_time_limit_counts_after_the_next_deployment(nodes: RayNodes) -> None:
    assert nodes.ask("one") == "SUCCEED"
    assert nodes.ask('deploy {"execution_actors":2,"call_timeout_s":0.2}') is None
    nodes.ask("settled")
    assert nodes.ask("one") == "FAILED"
    assert nodes.ask('deploy {"execution_actors":2}') is None
    nodes.ask("settled")
    assert nodes.ask("one") == "SUCCEED"


@pytest.mark.long
def test_owners_become_more_and_fewer_under_load_without_a_war(nodes: RayNodes) -> None:
    nodes.ask(f"keep {KEPT}")
    for count in (3, 2):
        assert nodes.ask(f'deploy {{"execution_actors":{count}}}') is None
        report = nodes.ask("settled")
        actors = nodes.ask("actors")
        owners = {name: each for name, each in actors.items() if "execution" in name}
        assert len(owners) == count
        assert sum(each["partitions"] for each in owners.values()) == 256
        assert len({each["map"] for each in owners.values()}) == 1
        assert report["restarts"] == {}
    _check_all_went_well(nodes)


def test_a_call_that_does_not_end_is_named_and_holds_a_deployment_up_only_so_long(
    nodes: RayNodes,
) -> None:
    nodes.ask("settled")
    nodes.ask("hold shared")
    assert nodes.ask('deploy {"execution_actors":2,"drain_timeout_s":10}') is None
    cause = nodes.ask("cause")
    assert cause.startswith("rillflow:dispatcher:0 waits for 1 calls of rillflow:execution:")
    assert cause.endswith(" (task held, attempt 1, for the longest)")
    report = nodes.ask("settled")
    assert _versions(nodes.ask("actors")) == {report["wanted"]["version"]}
    status, keys = nodes.ask("release")
    assert status == "SUCCEED"
    assert len(keys) == 2, "the next dispatcher has made the call again"
    assert len(set(keys)) == 1


@pytest.mark.long
def test_the_execution_of_an_actor_of_its_own_that_was_stopped_goes_on_in_another_process(
    nodes: RayNodes,
) -> None:
    nodes.ask("settled")
    nodes.ask("hold dedicated")
    nodes.ask("pause")
    status, keys = nodes.ask("release")
    assert status == "SUCCEED"
    assert len(set(keys)) == 1


def test_an_actor_that_dies_comes_back_with_what_is_wanted(nodes: RayNodes) -> None:
    report = nodes.ask("settled")
    nodes.ask("kill rillflow:execution:1")
    nodes.ask("settled")
    assert nodes.ask("one") == "SUCCEED"
    assert _versions(nodes.ask("actors")) == {report["wanted"]["version"]}


def test_another_store_is_refused_while_executions_have_not_ended(
    nodes: RayNodes, server: PostgresServer
) -> None:
    nodes.ask("settled")
    nodes.ask(f"keep {KEPT}")
    other = server.new_database()
    refused = nodes.ask(f'deploy {{"execution_actors":2,"store":"{other}"}}')
    assert "the store has changed" in refused
    assert "Set RILLFLOW_STORE back" in refused
    _check_all_went_well(nodes)
    assert nodes.ask(f'deploy {{"execution_actors":2,"store":"{other}"}}') is None
    nodes.ask("settled")
    nodes.ask("add")
    assert nodes.ask("one") == "SUCCEED"
