"""One part after the other is killed under a load of everything, on both durable stores."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import pytest

from tests.cluster.api import Functions, Json
from tests.cluster.load import mixture, under_load
from tests.cluster.processes import OwnStack, kill, proxies, workers
from tests.loopback import closed_port
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.cluster

EXECUTIONS: Final = 500
KILLS: Final = 5


@pytest.fixture(name="begun", scope="module")
def _begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, OwnStack]]:
    """A stack on each store; both start at the same time."""
    server = PostgresServer()
    stores = {"sqlite": {}, "postgres": {"RILLFLOW_STORE": server.new_database()}}
    begun = {
        name: OwnStack(tmp_path_factory.mktemp(name) / "data", closed_port(), **environment)
        for name, environment in stores.items()
    }
    try:
        for own in begun.values():
            own.begin()
        yield begun
    finally:
        for own in begun.values():
            own.stop()
        server.stop()


@pytest.fixture(name="own", params=["sqlite", "postgres"])
def _own(request: pytest.FixtureRequest, begun: dict[str, OwnStack]) -> Iterator[OwnStack]:
    own = begun[request.param]
    own.wait_until_ready()
    yield own
    own.stop()


def test_whatever_is_killed_no_execution_is_lost_and_no_completed_task_runs_again(
    own: OwnStack, functions: Functions
) -> None:
    with under_load(own.base_url, mixture(functions.url)) as load:
        victims = ("ExecutionActor", "DispatcherActor", "ServeReplica", "proxy", "everything")
        for number, victim in enumerate(victims, start=1):
            load.wait_for(number * EXECUTIONS // (KILLS + 1))
            _kill(own, victim)
        load.wait_for(EXECUTIONS)
    load.check_ends()
    for execution_id in load.acknowledged:
        _check_calls(functions.calls(execution_id))


def _kill(own: OwnStack, victim: str) -> None:
    if victim == "everything":
        own.kill()
        own.start()
        return
    killed = proxies(own.pid) if victim == "proxy" else workers(own.pid, victim)
    assert killed, victim
    kill(*killed)


def _check_calls(calls: list[Json]) -> None:
    """Check that no task was called after one that follows it, nor too often, nor as another."""
    names = [call["task"] for call in calls]
    assert [name[0] for name in names] == sorted(name[0] for name in names), names
    keys = defaultdict(set)
    for call in calls:
        keys[call["task"]].add(call["headers"]["idempotency-key"])
    assert all(len(of_task) == 1 for of_task in keys.values()), keys
    assert len(keys) == 6, names
    assert all(names.count(name) <= 1 + KILLS for name in keys), names
