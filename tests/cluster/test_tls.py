"""``rillflow up --tls-cert`` speaks HTTPS only, and functions are told to call back by it."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

from tests.certificates import Pair, certificate
from tests.cluster.api import WAIT_S
from tests.cluster.processes import OwnStack
from tests.loopback import closed_port

pytestmark = [pytest.mark.cluster, pytest.mark.long]

DEFINITION: Final = """
workspace: tls
dagName: asks
type: flow
tasks:
  - name: work
    category: function
    pattern: task_async
    resourceName: {gateway}/async-function/work
"""


@pytest.fixture(name="pair", scope="module")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(name="stack", scope="module")
def _stack(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[OwnStack]:
    files = ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key))
    own = OwnStack(tmp_path_factory.mktemp("tls") / "data", closed_port(), *files)
    own.base_url = own.base_url.replace("http:", "https:")
    own.trust = ssl.create_default_context(cafile=pair.certificate)
    try:
        own.start()
        yield own
    finally:
        own.stop()


class Function(ThreadingHTTPServer):
    """Takes calls, and keeps the addresses at which it is to call back."""

    def __init__(self) -> None:
        self.addresses: Queue[str] = Queue()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Function

    def do_POST(self) -> None:
        self.server.addresses.put(self.headers["X-Callback-Url"])
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(name="function")
def _function() -> Iterator[Function]:
    with Function() as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def test_an_execution_is_submitted_and_called_back_by_https(
    stack: OwnStack, function: Function
) -> None:
    gateway = f"http://127.0.0.1:{function.server_port}"
    with httpx.Client(
        base_url=stack.base_url, verify=stack.trust, trust_env=False, timeout=WAIT_S
    ) as http:
        http.post(
            "/flow/bg/manage/descriptor/add_descriptor.json",
            params={"business_id": "tls", "feature_name": "asks", "alias": "release"},
            content=DEFINITION.format(gateway=gateway),
        ).raise_for_status()
        submitted = http.post("/flow/submit.json", params={"descriptor_id": "tls:asks"}, json={})
        address = function.addresses.get(timeout=WAIT_S)
        assert address.startswith(f"{stack.base_url}/flow/trigger.json?")
        assert http.post(address, json={"a": 1}).json()["result"] == "ok"
        shown = http.get(
            "/flow/get.json",
            params={"execution_id": submitted.json()["execution_id"], "wait_s": 20},
        )
        assert shown.json()["ret"]["dag_status"] == "SUCCEED"
        ready = http.get("/readyz").json()
        assert ready == {"status": "ready", "ready": True, "reasons": []}


def test_nothing_is_answered_without_tls(stack: OwnStack) -> None:
    place = urlsplit(stack.base_url).netloc
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{place}/healthz", timeout=WAIT_S).raise_for_status()


def test_a_key_that_others_may_read_ends_the_start(tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    pair.key.chmod(0o644)
    own = OwnStack(
        *(tmp_path / "data", closed_port()),
        *("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)),
    )
    own.begin()
    assert own.wait() == 1
    assert f"chmod 600 {pair.key}" in own.log.read_text(encoding="utf-8")
