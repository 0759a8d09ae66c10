"""`serve status` tells of an address for callbacks for as long as nobody answers there."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from rillflow.actors.monitoring.callback_address import name_of_application, sentence_of
from tests.cluster.serve_cluster import ServeCluster
from tests.loopback import closed_port

pytestmark = [pytest.mark.cluster, pytest.mark.long]

log = logging.getLogger(__name__)

LONG_S: Final = 180
LOOK_S: Final = 0.5
NAME: Final = name_of_application("rillflow")


def test_it_is_told_beside_an_application_that_runs_and_goes_when_somebody_answers() -> None:
    with tempfile.TemporaryDirectory(prefix="rr") as name:
        cluster = ServeCluster(Path(name))
        port = closed_port()
        url = f"http://127.0.0.1:{port}"
        try:
            cluster.head.start(cluster.folder)
            cluster.deploy(RILLFLOW_SERVER_HOST=url)
            cluster.head.wait_until_ready(cluster.port)
            begun_s = time.monotonic()
            told = _until(cluster, _is_told)
            log.warning("told %.1f s after the API was ready", time.monotonic() - begun_s)
            assert _message(told).splitlines()[-1] == f"ConnectionError: {sentence_of(url)}"
            assert "failed to start 1 times in a row" in _message(told)
            assert told["rillflow"]["status"] == "RUNNING"
            with httpx.Client(base_url=f"http://127.0.0.1:{cluster.port}", timeout=60) as api:
                ready = api.get("/readyz")
            assert ready.status_code == httpx.codes.OK
            assert "callbacks_unreachable" in ready.text
            cluster.control("deploy serve/config.yaml")  # it does not wait for the other one
            assert _is_told(_applications(cluster))

            cluster.head.run("serve shutdown -y")  # the controller of Rillflow goes on
            _until(cluster, lambda shown: not shown)
            cluster.head.run("serve deploy serve/config.yaml", cluster.folder)
            _until(cluster, _is_told)
            begun_s = time.monotonic()
            with _answering(port):
                gone = _until(cluster, lambda shown: NAME not in shown)
            log.warning("gone %.1f s after somebody answers", time.monotonic() - begun_s)
            assert gone["rillflow"]["status"] == "RUNNING"
        finally:
            cluster.head.kill()


def _message(applications: Any) -> str:
    told = applications.get(NAME, {}).get("deployments", {}).get("callback-address", {})
    return str(told.get("message", ""))


def _is_told(applications: Any) -> bool:
    return str(applications.get(NAME, {}).get("status", "")) == "DEPLOY_FAILED"


def _applications(cluster: ServeCluster) -> Any:
    return yaml.safe_load(cluster.status()).get("applications") or {}


def _until(cluster: ServeCluster, holds: Callable[[Any], bool]) -> Any:
    """Wait until what Serve tells is so, and `serve status` shows it; return the latter."""
    give_up = time.monotonic() + LONG_S
    while True:
        applications = cluster.applications()
        if holds(applications) and holds(applications := _applications(cluster)):
            return applications
        assert time.monotonic() < give_up, applications
        time.sleep(LOOK_S)


class _Refusing(BaseHTTPRequestHandler):
    """Refuses what has no parameters, as the route for callbacks does."""

    def do_POST(self) -> None:
        self.send_error(400)

    do_GET = do_POST  # noqa: N815 - named by HTTP's methods


@contextmanager
def _answering(port: int) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", port), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
