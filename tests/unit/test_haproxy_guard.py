"""What the guard makes of the configuration that Ray Serve writes for HAProxy."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from serve import haproxy_guard
from serve.haproxy_guard import at_home, impatient, patient, plain, reached
from serve.ports import free_port
from serve.standalone import haproxy_binary

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


def test_only_what_users_ask_for_is_reached_from_elsewhere() -> None:
    lines = at_home(WRITTEN).splitlines()
    assert [line.strip() for line in lines if "bind" in line] == [
        "bind 127.0.0.1:8404",
        "bind 127.0.0.1:9101",
        "bind 0.0.0.0:8080",
    ]
    assert len(lines) == len(WRITTEN.splitlines())


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
    lines = reached(at_home(written), host).splitlines()
    assert [line.strip() for line in lines if "127.0.0.1" in line or "bind" in line] == [
        "bind 127.0.0.1:8404",
        "bind 127.0.0.1:9101",
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
defaults
    mode http
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string ok
"""


def test_what_haproxy_refuses_is_not_repeated(tmp_path: Path) -> None:
    malformed = b"GET / HTTP/1.1\r\nHost: x\r\nbad header <script>: 1\r\n\r\n"
    port = free_port()
    with _front(tmp_path, impatient(FRONT.format(port=port))):
        head, _, body = _answer(port, malformed).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"script" not in body


def test_headers_that_do_not_come_within_30_s_are_answered_408(tmp_path: Path) -> None:
    port = free_port()
    configuration = impatient(FRONT.format(port=port))
    assert "timeout http-request 30s" in configuration
    with _front(tmp_path, configuration.replace("30s", "100ms")):
        answer = _answer(port, b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert answer.partition(b" ")[2].startswith(b"408 ")


def test_it_starts_in_a_folder_that_has_been_removed(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(FRONT.format(port=free_port()), encoding="utf-8")
    gone = tmp_path / "gone"
    gone.mkdir()
    guard = (sys.executable, "-ISE", haproxy_guard.__file__, "127.0.0.1")
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


def _answer(port: int, request_text: bytes) -> bytes:
    give_up = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < give_up
    with connection:
        connection.sendall(request_text)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_an_api_that_does_not_answer_is_no_error_of_the_request() -> None:
    pages = "".join(f"    errorfile {status} /run/500.http\n" for status in (502, 503, 504))
    head, tail = "defaults\n    mode http\n", "    balance leastconn\n"
    assert plain(head + pages + tail) == head + tail
