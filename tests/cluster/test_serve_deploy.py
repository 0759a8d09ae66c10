"""What ``serve deploy`` changes reaches the actors that run, and what it cannot do it says."""

import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from rillflow.stores.sqlite.backup import backup
from tests.api.definition_texts import PASS, SUSPENDED
from tests.certificates import certificate
from tests.cluster.api import Api, Functions
from tests.cluster.ray_head import START_S
from tests.cluster.serve_cluster import ServeCluster
from tests.loopback import closed_port

pytestmark = [pytest.mark.cluster, pytest.mark.long]

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
            told = cluster.until_told("the store has changed")
            assert "1 executions had not ended" in told

            cluster.deploy(RILLFLOW_EXECUTION_ACTORS="2")
            _until(cluster, lambda state: state["converged"])
            assert api.get(waiting)["dag_status"] == "RUNNING"

        cluster.deploy(RILLFLOW_STORE=f"postgresql://u:s3cret@127.0.0.1:{closed_port()}/none")
        assert "s3cret" not in cluster.until_told("PostgreSQL: ")


def test_a_store_that_was_refused_stays_so_after_the_executions_have_ended(
    cluster: ServeCluster,
) -> None:
    other = {
        "RILLFLOW_EXECUTION_ACTORS": "2",
        "RILLFLOW_STORE": f"sqlite://{cluster.folder / 'empty.db'}",
    }
    before = cluster.cluster()["wanted"]
    with Api(f"http://127.0.0.1:{cluster.port}") as api:
        waiting = api.submit(SUSPENDED)
        cluster.deploy(**other)
        cluster.until_told("the store has changed")
        api.trigger(waiting, "wait", body={"go": True})
        assert api.end(waiting).status == "SUCCEED"

        told = cluster.until_told("DEPLOY_FAILED")  # Serve has made its last try.
        assert "1 executions had not ended there when this was deployed" in told
        assert cluster.cluster()["wanted"] == before
        assert api.get(waiting)["dag_status"] == "SUCCEED"

        cluster.deploy()
        cluster.until_told("status: RUNNING")
        cluster.deploy(**other)
        _until(cluster, lambda state: state["converged"] and len(state["actors"]) == 3)


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


@pytest.mark.long
def test_with_a_certificate_where_ray_is_started_the_front_speaks_https_only() -> None:
    with tempfile.TemporaryDirectory(prefix="rr") as name:
        pair = certificate(Path(name))
        pair.key.rename(f"{pair.certificate}.key")
        cluster = ServeCluster(
            Path(name),
            RILLFLOW_TLS_CERT=str(pair.certificate),
        )
        base = f"https://127.0.0.1:{cluster.port}"
        trust = ssl.create_default_context(cafile=pair.certificate)
        try:
            cluster.head.start()
            cluster.deploy(RILLFLOW_SERVER_HOST=base)
            with httpx.Client(base_url=base, verify=trust, trust_env=False, timeout=LONG_S) as http:
                _until_answered(http)
                add = "/flow/bg/manage/descriptor/add_descriptor.json"
                address = {"business_id": "shop", "feature_name": "order", "alias": "release"}
                http.post(add, params=address, content=PASS).raise_for_status()
                submitted = http.post("/flow/submit.json", params={"descriptor_id": "shop:order"})
                wanted = {"execution_id": submitted.json()["execution_id"], "wait_s": 20}
                shown = http.get("/flow/get.json", params=wanted).json()
                assert shown["ret"]["dag_status"] == "SUCCEED"
            plain = base.replace("https", "http")
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"{plain}/healthz", timeout=LONG_S).raise_for_status()
        finally:
            cluster.head.kill()


def _until_answered(http: httpx.Client) -> None:
    give_up_s = time.monotonic() + START_S
    while True:
        with suppress(httpx.HTTPError):
            if http.get("/readyz").is_success:
                return
        assert time.monotonic() < give_up_s
        time.sleep(LOOK_S)


def _until(cluster: ServeCluster, is_so: Any) -> Any:
    give_up = time.monotonic() + LONG_S
    while (state := cluster.cluster()) is None or not is_so(state):
        assert time.monotonic() < give_up, (state, cluster.status())
        time.sleep(LOOK_S)
    return state
