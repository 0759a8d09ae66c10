"""What the guard makes of the configuration that Ray Serve writes for HAProxy."""

import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Final

import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from rillflow.private_apis.haproxy import config
from rillflow.private_apis.haproxy.config import (
    MOST_PROXIES,
    encrypted,
    guarded,
    limited,
    limits_of,
    patient,
    plain,
    reached,
    without_pages,
)
from rillflow.private_apis.haproxy.start import haproxy_binary
from serve.listening import free_port
from serve.stack.ray_environment import PREFERENCES
from tests.certificates import certificate
from tests.loopback import closed_port

NUMBERS: Final = ("1000", "10.0", "60.0", "500.0")
LIMITS: Final = limits_of(1000, 10, 60, 500)
PATIENT_S: Final = 60.0
WRITTEN: Final = """\
listen stats
    bind *:8404
frontend prometheus
    bind :9101
frontend http_frontend
    bind 0.0.0.0:8080
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path not found."
backend api
    server one 127.0.0.1:5000
"""


def test_the_program_for_clusters_becomes_haproxy_and_not_itself() -> None:
    program = Path(sys.executable).with_name("rillflow-haproxy")
    named = {**os.environ, "RAY_SERVE_HAPROXY_BINARY_PATH": str(program)}
    done = subprocess.run(  # noqa: S603 - our own program
        [program, "-v"], env=named, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("HAProxy version")


def test_only_what_users_ask_for_listens() -> None:
    lines = without_pages(WRITTEN).splitlines()
    assert [line.strip() for line in lines if "bind" in line] == ["bind 0.0.0.0:8080"]
    assert lines == WRITTEN.splitlines()[4:]


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("127.0.0.1", "bind 127.0.0.1:8080"),
        ("192.0.2.1", "bind 192.0.2.1:8080"),
        ("::", "bind [::]:8080"),
    ],
)
def test_only_the_front_listens_elsewhere(host: str, line: str) -> None:
    written = WRITTEN.replace("0.0.0.0:8080", "127.0.0.1:8080")
    lines = reached(without_pages(written), host).splitlines()
    assert [line.strip() for line in lines if "127.0.0.1" in line or "bind" in line] == [
        line,
        "server one 127.0.0.1:5000",
    ]


def test_an_api_that_is_still_starting_asks_for_patience() -> None:
    before, after = WRITTEN.splitlines(), patient(WRITTEN).splitlines()
    [(old, new)] = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert "status 404" in old
    assert new.startswith("    http-request return status 503 ")
    assert "hdr Retry-After 1" in new
    assert "hdr Connection close" in new


FRONT: Final = """\
global
    tune.bufsize 32768
    nbthread 1
defaults
    mode http
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string ok
"""


OK: Final = "    http-request return status 200 content-type text/plain string ok\n"
LOT: Final = 50
REFUSED: Final = 300
API: Final = """\
backend api
    server api 127.0.0.1:{port}
frontend replica
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string ok if {{ path /known }}
    http-request return status 404
"""


def test_what_haproxy_refuses_is_not_repeated(tmp_path: Path) -> None:
    malformed = b"GET / HTTP/1.1\r\nHost: x\r\nbad header <script>: 1\r\n\r\n"
    port = free_port()
    with _front(tmp_path, limited(FRONT.format(port=port), LIMITS)):
        head, _, body = _answer(port, malformed).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"script" not in body


def test_a_500_in_plain_text_is_of_a_replica_that_died_and_worth_a_retry(tmp_path: Path) -> None:
    port = free_port()
    given = "    http-request return status 500 content-type {} string x if {{ path /{} }}\n"
    answers = "".join(given.format(*of) for of in (("text/plain", "a"), ("application/json", "b")))
    written = FRONT.format(port=port).replace(
        "    http-request return", answers + "    http-request return", 1
    )
    with _front(tmp_path, guarded(written, "127.0.0.1", "")):
        heads = [
            _answer(port, b"GET /%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
            for path in (b"a", b"b", b"c")
        ]
    assert [head.split()[1] for head in heads] == [b"503", b"500", b"200"]
    assert [b"retry-after: 1" in head.lower() for head in heads] == [True, False, False]


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert "    tcp-request connection track-sc0 src,ipmask(32,64)\n" in LIMITS


def test_some_connections_are_left_to_this_machine(tmp_path: Path) -> None:
    port, most = free_port(), 5
    near = LIMITS.replace("127.0.0.0/8", "127.0.0.2")
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        _front(tmp_path, limited(FRONT.format(port=port), near, most)),
        ExitStack() as opened,
    ):
        for _ in range(most):
            held = opened.enter_context(_connected(port))
            held.sendall(request)
            assert held.recv(4_096)
        with suppress(ConnectionError), _connected(port) as refused:
            refused.sendall(request)
            assert refused.recv(4_096) == b""
        kept = opened.enter_context(_connected(port, "127.0.0.2"))
        kept.sendall(request)
        assert kept.recv(4_096).startswith(b"HTTP/1.1 200 ")


def test_headers_that_do_not_come_within_30_s_are_answered_408(tmp_path: Path) -> None:
    port = free_port()
    configuration = limited(FRONT.format(port=port), LIMITS)
    assert "timeout http-request 30s" in configuration
    with _front(tmp_path, configuration.replace("30s", "100ms")):
        answer = _answer(port, b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert answer.partition(b" ")[2].startswith(b"408 ")


@pytest.mark.parametrize(
    ("sent", "least_s"),
    [
        # Sent, and the least seconds until the answer.
        (b"Content-Length: 9\r\n\r\n", 0.2),  # no byte in time
        (b"Content-Length: 9000\r\n\r\nx", 1.0),  # too slow
        (b"Content-Length: 9000\r\n\r\n" + b"x" * 200, 1.0),  # not whole in time
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", 1.0),
    ],
)
def test_a_body_that_does_not_come_in_time_is_answered_408(
    tmp_path: Path, sent: bytes, least_s: float
) -> None:
    port = free_port()
    limits = limits_of(1, start_s=0.2, whole_s=1, bytes_per_s=100)
    with _front(tmp_path, limited(FRONT.format(port=port), limits)):
        began = time.monotonic()
        answer = _answer(port, b"POST / HTTP/1.1\r\nHost: x\r\n" + sent)
        took_s = time.monotonic() - began
        whole = b"Connection: close\r\nContent-Length: 2\r\n\r\nok"
        assert b" 200 " in _answer(port, b"POST / HTTP/1.1\r\nHost: x\r\n" + whole)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_timeout_s" in answer
    assert took_s >= least_s


def test_one_address_from_elsewhere_has_so_many_connections_and_this_machine_any(
    tmp_path: Path,
) -> None:
    port = free_port()
    near = limited(FRONT.format(port=port), limits_of(3, 5, 5, 1))
    far = near.replace("acl near src 127.0.0.0/8", "acl near src 127.0.0.99")
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for configuration, expected in ((near, b" 200 "), (far, b" 429 ")):
        with _front(tmp_path, configuration):
            assert b" 200 " in _answer(port, request)
            with ExitStack() as held:
                for _ in range(3):
                    held.enter_context(socket.create_connection(("127.0.0.1", port)))
                answer = _answer(port, request)
            assert expected in answer
            assert (b"connections_per_address" in answer) is (expected == b" 429 ")


def test_what_ray_serve_writes_becomes_one_that_starts_and_tells_nothing(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "haproxy.cfg"
    taken = socket.create_server(("127.0.0.1", 0))
    written = HAProxyConfig(
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "server-state"),
        stats_port=taken.getsockname()[1],
        metrics_port=taken.getsockname()[1],
        metrics_enabled=False,
        http_options=HTTPOptions(host="127.0.0.1", port=port),
        has_received_routes=True,
        is_head=True,
        log_target=PREFERENCES["RAY_SERVE_HAPROXY_LOG_TARGET"],
    )
    backend = BackendConfig(
        name="api",
        app_name="an application",
        path_prefix="/",
        servers=[ServerConfig(name="one", host="127.0.0.1", port=closed_port())],
    )
    HAProxyApi(written, {"api": backend}, str(path))._generate_config_file_internal()
    before = path.read_text(encoding="utf-8")
    after = guarded(before, "127.0.0.1", LIMITS)
    assert "an application" in before
    assert "an application" not in after
    targets = [line.split()[1] for line in after.splitlines() if line.startswith("    log ")]
    assert set(targets) == {"global"}  # of which there is none
    assert "mode 666" not in after
    assert int(re.findall(r"\n    maxconn (\d+)\n", after)[0]) > 0
    with taken, _front(tmp_path, after):
        routes = _answer(port, b"GET /-/routes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 404 " in routes


def test_the_front_speaks_tls_only_where_there_is_a_certificate(tmp_path: Path) -> None:
    pair = certificate(tmp_path, "front")
    pair.key.rename(tmp_path / "front.pem.key")
    assert encrypted(WRITTEN, "") == WRITTEN
    port = free_port()
    configuration = encrypted(FRONT.format(port=port), str(pair.certificate))
    trusting = ssl.create_default_context(cafile=pair.certificate)
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with _front(tmp_path, configuration):
        plain_answer = _answer(port, request)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENT_S) as connection,
            trusting.wrap_socket(connection, server_hostname="localhost") as spoken,
        ):
            assert spoken.version() in ("TLSv1.2", "TLSv1.3")
            spoken.sendall(request)
            assert spoken.recv(100).startswith(b"HTTP/1.1 200")
    assert b"ok" not in plain_answer


def test_with_tls_one_address_from_elsewhere_begins_so_many_connections_and_this_machine_any(
    tmp_path: Path,
) -> None:
    """Each of them has a handshake, which computes, however short it lives."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    port = free_port()
    front, limits = FRONT.format(port=port), limits_of(5, 5, 5, 1)
    for has_tls, is_near, most in ((True, False, 5), (True, True, 9), (False, False, 9)):
        configuration = limited(front, limits, has_tls=has_tls)
        if not is_near:
            configuration = configuration.replace("src 127.0.0.0/8", "src 127.0.0.99")
        with _front(tmp_path, configuration):
            answers = [_answer_if_any(port, request) for _ in range(9)]
        assert sum(b" 200 " in each for each in answers) == most


@pytest.mark.parametrize(
    "path",
    [
        *(b"/", b"/console", b"/console/files/page.js", b"/%63onsole", b"/docs"),
        # The API takes these for the same.
        *(b"//", b"//console", b"/console/", b"///console/session", b"/%2Fconsole", b"//docs/"),
        *(b"/docs%2f", b"/swagger-ui.html/"),
    ],
)
def test_one_address_from_elsewhere_asks_for_pages_so_often_and_for_the_rest_as_it_likes(
    tmp_path: Path, path: bytes
) -> None:
    """One connection carries any number of requests, whose answers nobody need read."""
    port = free_port()
    near = limited(FRONT.format(port=port), limits_of(250, 5, 5, 1))
    far = near.replace("acl near src 127.0.0.0/8", "acl near src 127.0.0.99")
    most = 125

    def answered(asked: bytes, times: int) -> list[bytes]:
        return _statuses(port, b"GET %b" % asked, times)

    with _front(tmp_path, far):
        assert answered(path, most + 20) == [b"200"] * most + [b"429"], "the connection is closed"
        assert answered(path, 1) == [b"429"]
        assert answered(b"/flow/submit.json", 2 * most) == [b"200"] * 2 * most
        assert answered(b"/flow/trigger.json?console=/console", 9) == [b"200"] * 9
    with _front(tmp_path, near):
        assert answered(path, 2 * most) == [b"200"] * 2 * most


@pytest.mark.parametrize(
    "line",
    [
        b"GET /healthz",
        b"HEAD /readyz",
        b"GET /flow/service_check.json",
        b"GET /%68ealthz",
        b"GET //healthz",
        b"GET /readyz/",
        b"GET //flow/service_check.json/",
        b"OPTIONS /flow/submit.json",
        b"OPTIONS *",
    ],
)
def test_one_address_from_elsewhere_asks_for_health_so_often_and_calls_back_as_it_likes(
    tmp_path: Path, line: bytes
) -> None:
    """These need no key and are answered, so neither keys nor refusals count them."""
    port = free_port()
    near = limited(FRONT.format(port=port), limits_of(50, 5, 5, 1))
    far = near.replace("acl near src 127.0.0.0/8", "acl near src 127.0.0.99")
    most = 100

    def answered(line: bytes, times: int) -> Counter[bytes]:
        return Counter(_statuses(port, line, times))

    with _front(tmp_path, far):
        assert answered(line, most + 20) == {b"200": most, b"429": 1}, "the connection is closed"
        assert answered(line, 1) == {b"429": 1}
        assert answered(b"GET /flow/trigger.json?to=/healthz", 2 * most) == {b"200": 2 * most}
        assert answered(b"GET /console", 9) == {b"200": 9}
    with _front(tmp_path, near):
        assert answered(line, 2 * most) == {b"200": 2 * most}


def test_an_address_from_elsewhere_whose_requests_are_all_refused_is_refused_by_the_front(
    tmp_path: Path,
) -> None:
    """The API refuses an unknown callback, for which no key is needed, at some cost."""
    port, api_port = free_port(), free_port()
    of_api = API.format(port=api_port)
    written = FRONT.format(port=port).replace(OK, "    default_backend api\n") + of_api
    near = limited(written, limits_of(250, 5, 5, 1, refused=REFUSED))
    far = near.replace("acl near src 127.0.0.0/8", "acl near src 127.0.0.99")

    def answered(path: bytes) -> Counter[bytes]:
        lots = (_statuses(port, b"GET %b" % path, LOT) for _ in range(REFUSED // LOT + 2))
        return Counter(chain.from_iterable(lots))

    with _front(tmp_path, far):
        assert set(answered(b"/known")) == {b"200"}
        refused = answered(b"/unknown")
        assert set(refused) == {b"404", b"429"}
        assert refused[b"404"] <= REFUSED + 1
        assert set(answered(b"/known")) == {b"429"}
    with _front(tmp_path, near):
        assert set(answered(b"/unknown")) == {b"404"}


def test_a_path_that_no_route_has_is_refused_by_the_front(tmp_path: Path) -> None:
    """Decoding one of 16 KB takes a replica as long as twenty submissions."""
    port = free_port()
    with _front(tmp_path, limited(FRONT.format(port=port), LIMITS)):
        for length, expected in ((2_048, b" 200 "), (2_049, b" 414 ")):
            path = b"/flow/" + b"a%2f" * 4_000
            request = b"GET %b?%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            assert expected in _answer(port, request % (path[:length], b"x" * 8_000))


def test_of_a_long_chain_of_proxies_the_last_one_is_passed_on(tmp_path: Path) -> None:
    port = free_port()
    shown = OK.replace("string ok", 'lf-string "%[req.hdr(x-forwarded-for,1)]"')
    written = FRONT.format(port=port).replace(OK, shown)
    with _front(tmp_path, limited(written, LIMITS)):
        for proxies, first in ((MOST_PROXIES, b"192.0.2.1"), (MOST_PROXIES + 1, b"198.51.100.1")):
            chain_of = b"192.0.2.1, " * (proxies - 1) + b"198.51.100.1"
            request = b"GET / HTTP/1.0\r\nX-Forwarded-For: %b\r\n\r\n" % chain_of
            assert _answer(port, request).endswith(first)


def test_it_starts_in_a_folder_that_has_been_removed(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(FRONT.format(port=free_port()), encoding="utf-8")
    gone = tmp_path / "gone"
    gone.mkdir()
    guard = (sys.executable, "-ISE", config.__file__, "127.0.0.1", *NUMBERS, "")
    command = (*guard, haproxy_binary(), "-c", "-f", str(path))
    checked = subprocess.run(  # noqa: S603 - ours
        ["/bin/sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *command],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


@contextmanager
def _front(folder: Path, configuration: str) -> Iterator[None]:
    path = folder / "haproxy.cfg"
    path.write_text(configuration, encoding="utf-8")
    with subprocess.Popen([haproxy_binary(), "-db", "-f", str(path)]) as front:  # noqa: S603 - ours
        try:
            yield
        finally:
            front.kill()


def _connected(port: int, source: str = "127.0.0.1") -> socket.socket:
    """Connect from an address of this machine, once the front listens."""
    give_up = time.monotonic() + PATIENT_S
    to = ("127.0.0.1", port)
    while True:
        try:
            return socket.create_connection(to, timeout=PATIENT_S, source_address=(source, 0))
        except ConnectionRefusedError:
            assert time.monotonic() < give_up


def _answer(port: int, request_text: bytes) -> bytes:
    with _connected(port) as connection:
        connection.sendall(request_text)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def _statuses(port: int, line: bytes, times: int) -> list[bytes]:
    """Send a request so often on one connection, and return the statuses of the answers."""
    request = b"%b HTTP/1.1\r\nHost: x\r\n" % line
    last = request + b"Connection: close\r\n\r\n"
    answer = _answer(port, (request + b"\r\n") * (times - 1) + last)
    return re.findall(rb"HTTP/1\.1 (\d+) ", answer)


def _answer_if_any(port: int, request_text: bytes) -> bytes:
    """Return an answer, empty if the connection is refused once the front listens."""
    try:
        return _answer(port, request_text)
    except ConnectionError:
        return b""


def test_an_api_that_does_not_answer_is_no_error_of_the_request() -> None:
    pages = "".join(f"    errorfile {status} /run/500.http\n" for status in (502, 503, 504))
    head, tail = "defaults\n    mode http\n", "    balance leastconn\n"
    assert plain(head + pages + tail) == head + tail
