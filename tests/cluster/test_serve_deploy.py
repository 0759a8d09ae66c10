"""What ``serve deploy`` changes reaches the actors that run, and what it cannot do it says."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from serve.listening import free_port
from tests.api.definition_texts import SUSPENDED
from tests.cluster.api import Api
from tests.cluster.processes import ROOT
from tests.cluster.ray_head import RayHead

pytestmark = pytest.mark.cluster

DEPLOY: Final = "serve deploy serve/config.yaml"
LONG_S: Final = 100
LOOK_S: Final = 0.5


class Cluster:
    """A Ray with one node, on which Rillflow is deployed on SQLite with some settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.head = RayHead(folder, RILLFLOW_DATA_DIR=str(folder / "data"))
        (folder / "serve").mkdir()

    def deploy(self, **variables: str) -> None:
        """Deploy with these environment variables."""
        text = (ROOT / "serve" / "config.yaml").read_text(encoding="utf-8")
        config = yaml.safe_load(text.replace("8080", str(self.port)))
        config["applications"][0]["runtime_env"]["env_vars"] = variables
        # Rolled out at once: a replica that waits for its processors would wait for the old one.
        config["applications"][0]["deployments"][0]["ray_actor_options"] = {"num_cpus": 0}
        path = self.folder / "serve" / "config.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.head.run(DEPLOY, self.folder)

    def status(self) -> str:
        """Return what Serve says of the application."""
        return self.head.run("serve status", self.folder)

    def cluster(self) -> Any:
        """Return what the API says of the actors, None while it does not."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/flow/cluster.json", timeout=5)
            return answer.json() if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, json.JSONDecodeError):
            return None


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="rr") as name:
        cluster = Cluster(Path(name))
        try:
            cluster.head.start()
            cluster.deploy()
            cluster.head.wait_until_ready(cluster.port)
            yield cluster
        finally:
            cluster.head.kill()


@pytest.mark.long
def test_settings_of_another_deployment_reach_the_actors_and_another_store_is_refused(
    cluster: Cluster,
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
        other = cluster.folder / "other.db"
        cluster.deploy(RILLFLOW_EXECUTION_ACTORS="2", RILLFLOW_STORE=f"sqlite://{other}")
        give_up = time.monotonic() + LONG_S
        while "the store has changed" not in (status := cluster.status()):
            assert time.monotonic() < give_up, status
            time.sleep(LOOK_S)
        assert "1 executions have not ended" in status

        cluster.deploy(RILLFLOW_EXECUTION_ACTORS="2")
        _until(cluster, lambda state: state["converged"])
        assert api.get(waiting)["dag_status"] == "RUNNING"


def _until(cluster: Cluster, is_so: Any) -> Any:
    give_up = time.monotonic() + LONG_S
    while (state := cluster.cluster()) is None or not is_so(state):
        assert time.monotonic() < give_up, (state, cluster.status())
        time.sleep(LOOK_S)
    return state
