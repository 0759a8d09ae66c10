"""Where Ray encrypts, nobody without its certificate reaches a process of Ray at all.

Without that, Ray handles one call and takes part of each message before it asks for its token.
"""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import rillflow
from tests.certificates import certificate
from tests.cluster.processes import OwnStack, descendants
from tests.listeners import listeners
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

PATIENCE_S: Final = 10.0
OF_RAY: Final = {"gcs_server", "raylet"}
HTTP2: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
SETTINGS: Final = 4
"""The kind of the frame with which who speaks HTTP/2 begins."""
FLOW: Final = """
workspace: closed
dagName: passes
type: flow
tasks: [{ name: A, category: pass }]
"""


@pytest.fixture(name="encrypted", scope="module")
def _encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    folder = tmp_path_factory.mktemp("encrypted")
    pair = certificate(folder)
    own = OwnStack(
        folder / "data",
        closed_port(),
        RAY_USE_TLS="1",
        RAY_TLS_SERVER_CERT=str(pair.certificate),
        RAY_TLS_SERVER_KEY=str(pair.key),
        RAY_TLS_CA_CERT=str(pair.certificate),
    )
    try:
        own.start()
        yield own
    finally:
        own.stop()


def ports_of_ray(stack: OwnStack) -> set[int]:
    """Return the ports of Ray's two servers that all of its processes call."""
    found = listeners([stack.pid, *descendants(stack.pid)])
    return {each.port for each in found if each.protocol == "tcp" and title(each.pid) in OF_RAY}


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


def speaks_http2(port: int, *, tls: bool) -> bool:
    """Tell whether a port answers who has no certificate as a gRPC server does."""
    line: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    try:
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            line = context.wrap_socket(line)
        line.sendall(HTTP2)
        begin = line.recv(9)
    except OSError:
        return False
    finally:
        line.close()
    return len(begin) > 3 and begin[3] == SETTINGS


@pytest.mark.long
def test_who_has_no_certificate_reaches_no_server_of_ray(encrypted: OwnStack) -> None:
    with rillflow.Client(encrypted.base_url) as client:
        client.submit(client.add(FLOW)).result(timeout_s=60)
    ports = ports_of_ray(encrypted)
    assert ports
    for tls in (False, True):
        assert {port for port in ports if speaks_http2(port, tls=tls)} == set()


@pytest.mark.long
def test_without_certificates_they_are_reached(stack: OwnStack) -> None:
    assert any(speaks_http2(port, tls=False) for port in ports_of_ray(stack))
