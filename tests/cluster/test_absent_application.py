"""No function sees 404 for a callback that is wanted, whatever of Serve is missing at the time.

The functions of these tests give up at any 4xx, as one does that takes it for the word that its
callback is not wanted; they send again what was not answered, or was with 5xx.
"""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from rillflow.private_apis.haproxy.start import haproxy_binary
from tests.cluster.api import Api, Functions
from tests.cluster.processes import kill, proxies, wait_until_gone, workers
from tests.cluster.ray_nodes import of_cluster_file
from tests.cluster.serve_cluster import DEPLOY, ServeCluster

pytestmark = [pytest.mark.cluster, pytest.mark.long]

CALLBACKS: Final = 3
PAUSE_S: Final = 0.05
PATIENCE_S: Final = 90.0
TEXT: Final = """
workspace: absent
dagName: calls
type: flow
tasks:
  - name: A
    category: function
    pattern: task_async
    resourceName: FUNCTIONS/answer
    outputMappings: [{ source: $.output.n, target: $.context.n }]
"""
WITHOUT: Final = {
    "RAY_SERVE_HAPROXY_BINARY_PATH": haproxy_binary(),
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "",
}
"""Serve as it is, where the cluster file does not say otherwise."""
FRONTS: Final = {"haproxy": "1", "serve": "0"}
"""RAY_SERVE_ENABLE_HA_PROXY, by who stands in front."""


@pytest.fixture(name="cluster", scope="module", params=["haproxy", "serve"])
def _cluster(request: pytest.FixtureRequest) -> Iterator[ServeCluster]:
    with tempfile.TemporaryDirectory(prefix="rr") as name:
        variables = (
            WITHOUT | of_cluster_file() | {"RAY_SERVE_ENABLE_HA_PROXY": FRONTS[request.param]}
        )
        cluster = ServeCluster(Path(name), **variables)
        try:
            cluster.head.start()
            cluster.deploy()
            cluster.head.wait_until_ready(cluster.port)
            yield cluster
        finally:
            cluster.head.kill()


class Callbacks:
    """Callbacks that some executions wait for."""

    def __init__(self, cluster: ServeCluster, functions: Functions) -> None:
        text = TEXT.replace("FUNCTIONS", functions.url)
        with Api(f"http://127.0.0.1:{cluster.port}") as api:
            descriptor_id = api.add(text).body["descriptor_id"]
            self.ids = [api.submit(descriptor_id) for _ in range(CALLBACKS)]
        calls = [functions.calls(each, 1)[0] for each in self.ids]
        self._urls = [call["headers"]["x-callback-url"] for call in calls]
        self._senders = ThreadPoolExecutor(CALLBACKS)
        self._sent: list[Any] = []

    def begin(self) -> None:
        """Have all functions send theirs."""
        self._sent = [self._senders.submit(_send, url) for url in self._urls]

    def check(self, cluster: ServeCluster) -> list[int]:
        """Check that all were taken and all executions go well; return what was answered."""
        answers: list[list[int]] = [each.result() for each in self._sent]
        self._senders.shutdown()
        assert {each[-1] for each in answers} == {200}, answers
        with Api(f"http://127.0.0.1:{cluster.port}") as api:
            assert {api.end(each).status for each in self.ids} == {"SUCCEED"}
        return [status for each in answers for status in each]


def _send(url: str) -> list[int]:
    """Send a callback until its end; return the statuses of the answers."""
    answers = []
    give_up = time.monotonic() + PATIENCE_S
    with httpx.Client(trust_env=False, timeout=10) as http:
        while time.monotonic() < give_up:
            try:
                answer = http.post(url, json={"n": 1})
            except httpx.HTTPError:
                pass
            else:
                answers.append(answer.status_code)
                if answer.status_code < 500:
                    return answers
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "json" in str(
                    answer.headers.get("content-type")
                ):
                    assert int(answer.headers["Retry-After"]) > 0
            time.sleep(PAUSE_S)
    return answers


def test_while_serve_starts_it_is_503(cluster: ServeCluster, functions: Functions) -> None:
    callbacks = Callbacks(cluster, functions)
    cluster.head.run("serve shutdown --yes", cluster.folder)
    callbacks.begin()
    cluster.head.run(DEPLOY, cluster.folder)
    assert 503 in callbacks.check(cluster), "functions came while Serve was starting"


def test_while_a_replica_is_missing_it_is_5xx(cluster: ServeCluster, functions: Functions) -> None:
    callbacks = Callbacks(cluster, functions)
    kill(*workers(cluster.head.pid, "ServeReplica"))
    callbacks.begin()
    callbacks.check(cluster)


def test_while_the_front_is_missing_it_is_5xx(cluster: ServeCluster, functions: Functions) -> None:
    callbacks = Callbacks(cluster, functions)
    fronts = [*proxies(cluster.head.pid), *_proxy_actors(cluster)]
    assert fronts
    kill(*fronts)
    wait_until_gone(*fronts)
    callbacks.begin()
    callbacks.check(cluster)


def test_while_everything_of_serve_is_missing_it_is_5xx(
    cluster: ServeCluster, functions: Functions
) -> None:
    callbacks = Callbacks(cluster, functions)
    fronts = [*proxies(cluster.head.pid), *_proxy_actors(cluster)]
    kill(*fronts, *workers(cluster.head.pid, "ServeReplica"))
    callbacks.begin()
    callbacks.check(cluster)


def _proxy_actors(cluster: ServeCluster) -> list[int]:
    head = cluster.head.pid
    return [pid for name in ("ProxyActor", "HAProxyManager") for pid in workers(head, name)]
