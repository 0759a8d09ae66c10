"""One part after the other is killed under a load of everything, on both durable stores."""

from collections.abc import Iterator
from typing import Final

import pytest

from rillflow.ids import is_dedicated
from tests.cluster.api import Functions
from tests.cluster.load import check_mixture_calls, mixture, under_load
from tests.cluster.processes import (
    OwnStack,
    descendants,
    kill,
    proxies,
    wait_until_gone,
    workers,
)
from tests.loopback import closed_port
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.cluster, pytest.mark.long]

EXECUTIONS: Final = 500
DEDICATED_EVERY: Final = 25
VICTIMS: Final = ("ExecutionActor", "DispatcherActor", "ServeReplica", "proxy")
PATIENT_S: Final = "120"
"""How long a function may take that calls back before it answers, while its callback waits."""


@pytest.fixture(name="begun", scope="module")
def _begun(
    tmp_path_factory: pytest.TempPathFactory, server: PostgresServer
) -> Iterator[dict[str, OwnStack]]:
    """A stack on each store; both start at the same time."""
    stores = {"sqlite": {}, "postgres": {"RILLFLOW_STORE": server.new_database()}}
    begun = {
        name: OwnStack(
            tmp_path_factory.mktemp(name) / "data",
            closed_port(),
            RILLFLOW_CALL_TIMEOUT_S=PATIENT_S,
            **environment,
        )
        for name, environment in stores.items()
    }
    try:
        for own in begun.values():
            own.begin()
        yield begun
    finally:
        for own in begun.values():
            own.stop()


@pytest.fixture(name="own")
def _own(store: str, begun: dict[str, OwnStack]) -> Iterator[OwnStack]:
    own = begun[store]
    own.wait_until_ready()
    yield own
    own.stop()


@pytest.mark.parametrize(
    ("store", "victims"),
    [
        pytest.param("sqlite", (*VICTIMS, "everything"), id="sqlite"),
        pytest.param("postgres", (*VICTIMS, "store", "everything"), id="postgres"),
    ],
)
def test_whatever_is_killed_no_execution_is_lost_and_no_completed_task_runs_again(
    own: OwnStack, server: PostgresServer, victims: tuple[str, ...], functions: Functions
) -> None:
    flow = mixture(functions.url)
    with under_load(own.base_url, flow, dedicated_every=DEDICATED_EVERY) as load:
        for number, victim in enumerate(victims, start=1):
            load.wait_for(number * EXECUTIONS // (len(victims) + 1))
            _kill(own, server, victim)
        load.wait_for(EXECUTIONS)
    load.check_ends()
    load.check_refusals()
    assert any(map(is_dedicated, load.acknowledged))
    for execution_id in load.acknowledged:
        check_mixture_calls(functions.calls(execution_id), len(victims))


def _kill(own: OwnStack, server: PostgresServer, victim: str) -> None:
    if victim == "everything":
        own.kill()
        own.start()
        return
    if victim == "store":
        _kill_store(server)
        return
    killed = proxies(own.pid) if victim == "proxy" else workers(own.pid, victim)
    assert killed, victim
    kill(*killed)


def _kill_store(server: PostgresServer) -> None:
    """Kill PostgreSQL, every process of it, and start it again on the same data."""
    pids = (server.pid, *descendants(server.pid))
    kill(*pids)
    wait_until_gone(*pids)
    server.start()
