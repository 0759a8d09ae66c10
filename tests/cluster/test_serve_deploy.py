"""What ``serve deploy`` changes reaches the actors that run, and what it cannot do it says."""

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.stores.sqlite.backup import backup
from tests.api.definition_texts import SUSPENDED
from tests.cluster.api import Api, Functions
from tests.cluster.serve_cluster import ServeCluster
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

CALLING: Final = """
workspace: shop
dagName: calling
type: flow
tasks:
  - name: A
    category: function
    pattern: task_sync
    resourceName: FUNCTIONS/echo/work
    inputMappings:
      - { source: '${secret:TOKEN}', target: $.input.token }
"""
LONG_S: Final = 100
LOOK_S: Final = 0.5
LOOKS_S: Final = 5.0
"""Between looks of the controller at actors that are as wanted."""


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[ServeCluster]:
    with tempfile.TemporaryDirectory(prefix="rr") as name:
        cluster = ServeCluster(Path(name))
        try:
            cluster.head.start()
            cluster.deploy()
            cluster.head.wait_until_ready(cluster.port)
            yield cluster
        finally:
            cluster.head.kill()


@pytest.mark.long
def test_settings_of_another_deployment_reach_the_actors_and_another_store_is_refused(
    cluster: ServeCluster,
) -> None:
    before = cluster.cluster()
    assert before["converged"] is True

    cluster.deploy(RILLFLOW_EXECUTION_ACTORS="2")
    after = _until(cluster, lambda state: state["converged"] and len(state["actors"]) == 3)
    assert after["wanted"]["settings_version"] == before["wanted"]["settings_version"] + 1
    assert {actor["settings_version"] for actor in after["actors"]} == {
        after["wanted"]["settings_version"]
    }
    assert sorted(actor["partitions"] for actor in after["actors"]) == [0, 128, 128]

    with Api(f"http://127.0.0.1:{cluster.port}") as api:
        waiting = api.submit(SUSPENDED)
        copy = cluster.folder / "copy.db"
        backup(cluster.folder / "data" / "rillflow.db", copy, lambda *_: None)
        for other in (cluster.folder / "empty.db", copy):
            cluster.deploy(RILLFLOW_EXECUTION_ACTORS="2", RILLFLOW_STORE=f"sqlite://{other}")
            told = _until_told(cluster, "the store has changed")
            assert "1 executions have not ended" in told

            cluster.deploy(RILLFLOW_EXECUTION_ACTORS="2")
            _until(cluster, lambda state: state["converged"])
            assert api.get(waiting)["dag_status"] == "RUNNING"

        cluster.deploy(RILLFLOW_STORE=f"postgresql://u:s3cret@127.0.0.1:{closed_port()}/none")
        assert "s3cret" not in _until_told(cluster, "PostgreSQL: ")


def _until_told(cluster: ServeCluster, words: str) -> str:
    give_up = time.monotonic() + LONG_S
    while words not in (status := cluster.status()):
        assert time.monotonic() < give_up, status
        time.sleep(LOOK_S)
    return status


@pytest.mark.long
def test_a_changed_secret_reaches_the_actors_that_run(
    cluster: ServeCluster, functions: Functions
) -> None:
    text = CALLING.replace("FUNCTIONS", functions.url)
    with Api(f"http://127.0.0.1:{cluster.port}") as api:
        version = cluster.cluster()["wanted"]["settings_version"]
        for token in ("first", "second"):
            cluster.deploy(RILLFLOW_SECRET_TOKEN=token)
            version += 1
            _until(cluster, partial(_runs, version))
            ended = api.run(text)
            assert ended.status == "SUCCEED"
            assert functions.calls(ended.execution_id, 1)[0]["input"]["token"] == token

        own = api.submit(SUSPENDED, isolation="dedicated")
        named = partial(_dedicated, cluster)
        before = named()
        cluster.deploy(RILLFLOW_SECRET_TOKEN="second")
        time.sleep(2 * LOOKS_S)
        assert named() == before, "an actor of its own has the environment of the others"
        assert before["settings_version"] == version
        assert api.trigger(own, "wait", body={"go": True}).body == {"result": "ok"}
        assert api.end(own).status == "SUCCEED"


def _runs(version: int, state: Any) -> bool:
    return bool(state["converged"] and state["wanted"]["settings_version"] == version)


def _dedicated(cluster: ServeCluster) -> Any:
    """Return the one actor of a dedicated execution, once it knows its deployment."""
    state = _until(
        cluster,
        lambda state: any(
            not actor["partitions"] and actor["epoch"] and actor["current"]
            for actor in state["actors"]
        ),
    )
    return next(
        {name: actor[name] for name in ("name", "pid", "settings_version")}
        for actor in state["actors"]
        if not actor["partitions"] and actor["epoch"]
    )


def _until(cluster: ServeCluster, is_so: Any) -> Any:
    give_up = time.monotonic() + LONG_S
    while (state := cluster.cluster()) is None or not is_so(state):
        assert time.monotonic() < give_up, (state, cluster.status())
        time.sleep(LOOK_S)
    return state
