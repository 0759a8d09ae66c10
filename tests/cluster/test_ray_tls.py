"""Nobody without the certificate of a stack's Ray reaches a process of Ray at all.

Without that, Ray handles one call and takes part of each message before it asks for its token.
"""

import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

import rillflow
from rillflow.client.operations import Isolation
from rillflow.listening import allow
from rillflow.ray_certificates import FOLDER
from rillflow.runtime.process.machine_memory import memory_bytes
from serve.stack.few_files import few_files
from serve.stack.foreign_connections import MORE_FILES
from tests.certificates import certificate
from tests.cluster.processes import (
    END_S,
    LOOK_S,
    ROOT,
    OwnStack,
    descendants,
    noted,
    resident_bytes,
)
from tests.cluster.ray_strangers import begins_a_sync, half_messages
from tests.foreign_users import NOBODY, can_give, give_to
from tests.listeners import Listener, listeners
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

OF_RAY: Final = {"gcs_server", "raylet"}
SENT_BYTES: Final = 32 << 20
KEPT_BYTES: Final = 24 << 20
HELD: Final = 6_000
SPARE_FILES: Final = 500
BEGUN_GREETING: Final = b"\x16\x03\x01"
"""The first bytes of TLS, after which its server waits for more."""
FLOW: Final = """
workspace: closed
dagName: passes
type: flow
tasks: [{ name: A, category: pass }]
"""
JOINS: Final = """
import sys, ray, rillflow
with rillflow.connect(address=sys.argv[1]) as client:
    client.submit(client.add(sys.argv[2])).result(timeout_s=60)
    print("ended")
"""


@pytest.fixture(name="own", scope="module")
def _own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """A stack with no settings but its place, which a test may end by what it does to it."""
    stack = OwnStack(tmp_path_factory.mktemp("own") / "data", closed_port())
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(name="open_stack", scope="module")
def _open_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    data_dir = tmp_path_factory.mktemp("open") / "data"
    stack = OwnStack(data_dir, closed_port(), RILLFLOW_RAY_TLS="false")
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def test_calls_of_who_has_no_certificate_are_refused_at_each_port_and_end_nothing(
    own: OwnStack, tmp_path: Path
) -> None:
    pair, before = certificate(tmp_path), servers(own)
    assert {title(each) for each in before} == OF_RAY
    for port in sorted({each.port for each in listening(own)}):
        told = {
            begins_a_sync(port),
            begins_a_sync(port, tls=True),
            begins_a_sync(port, pair, tls=True),
        }
        assert told == {"refused"}, port
    assert servers(own) == before
    runs_something(own)


def test_messages_of_who_has_no_certificate_are_kept_at_no_port(own: OwnStack) -> None:
    taken = {}
    for each in listening(own):
        with half_messages(each.port, count=2, size=SENT_BYTES) as sent:
            taken[each.port] = sent
    assert max(taken.values()) < 1 << 20, taken
    runs_something(own)


def test_a_script_of_the_same_user_finds_the_certificate_by_the_address(own: OwnStack) -> None:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    script = subprocess.run(
        [sys.executable, "-c", JOINS, own.ray_address, FLOW],
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert script.stdout.strip() == "ended"


def test_nobody_has_a_server_of_ray_hold_many_connections(own: OwnStack) -> None:
    most = few_files(memory_bytes())
    serve_many = ("ray::Dispatcher", "ray::ServeReplica", "haproxy")
    pids = {each.pid for each in listening(own) if not called(each.pid).startswith(serve_many)}
    pids -= {own.pid, *servers(own)}  # they are watched
    assert pids
    assert {called(pid): files(pid) for pid in pids if files(pid) > most} == {}


@pytest.mark.parametrize("server", sorted(OF_RAY))
def test_another_user_who_holds_connections_keeps_no_worker_from_starting(
    own: OwnStack, server: str
) -> None:
    """Where this test may not open them as another user, they stay, and it has files for them."""
    pid = next(pid for pid in servers(own) if title(pid) == server)
    port = next(each.port for each in listening(own) if each.pid == pid)
    count = HELD if can_give() else min(HELD, files(pid) - SPARE_FILES)
    with connections_of(NOBODY, port, count) as held:
        for _ in range(3):
            runs_something(own, isolation="dedicated")
        if can_give():
            wait_until_ended(held, count - 2 * MORE_FILES)  # some come while others end
        else:
            assert ended(held) == 0
    assert title(pid) == server
    assert pid in servers(own)


def test_its_files_are_their_users_own_and_gone_with_the_stack(own: OwnStack) -> None:
    folder = Path(noted(own.data_dir, "run_dir")) / FOLDER
    modes = {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()}
    assert modes == dict.fromkeys(("ca.pem", "node.key", "node.pem", "port"), 0o600)
    assert folder.stat().st_mode & 0o777 == 0o700
    own.stop()
    assert not folder.exists()


@pytest.mark.long
def test_without_certificates_they_are_reached(open_stack: OwnStack) -> None:
    """What the tests above look for is there where Ray does not encrypt."""
    gcs = next(pid for pid in servers(open_stack) if title(pid) == "gcs_server")
    port = next(each.port for each in listening(open_stack) if each.pid == gcs)
    before = resident_bytes(gcs)
    with half_messages(port, count=2, size=SENT_BYTES):
        assert resident_bytes(gcs) - before > KEPT_BYTES
    assert begins_a_sync(port) == "handled"


@pytest.mark.long
def test_certificates_of_an_operator_count(tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    variables = {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(pair.certificate),
        "RAY_TLS_SERVER_KEY": str(pair.key),
        "RAY_TLS_CA_CERT": str(pair.certificate),
    }
    own = OwnStack(tmp_path / "data", closed_port(), **variables)
    try:
        own.start()
        assert not (Path(noted(own.data_dir, "run_dir")) / FOLDER).exists()
        ports = {each.port for each in listening(own)}
        assert {port for port in ports if begins_a_sync(port) == "handled"} == set()
        shown = {begins_a_sync(port, pair, tls=True) for port in ports}
        assert "handled" in shown, "who shows that certificate is let in"
    finally:
        own.stop()


def listening(stack: OwnStack) -> list[Listener]:
    found = listeners([stack.pid, *descendants(stack.pid)])
    return [each for each in found if each.protocol == "tcp"]


def servers(stack: OwnStack) -> set[int]:
    """Return Ray's two servers that all of its processes call."""
    return {each.pid for each in listening(stack) if title(each.pid) in OF_RAY}


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


def called(pid: int) -> str:
    """Return the name that a process has given itself, or its program."""
    words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    return words.partition("\0")[0].rpartition("/")[2]


def files(pid: int) -> int:
    """Return how many files a process may have open."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]


@contextmanager
def connections_of(user: int, port: int, count: int) -> Iterator[list[socket.socket]]:
    """Open connections as another user, if that may be, and begin a greeting on each."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allow(count + SPARE_FILES)
    try:
        with ExitStack() as opened:
            held = []
            for number in range(count):
                each = opened.enter_context(socket.socket())
                give_to(user, [each])
                each.bind((f"127.0.0.{2 + number % 200}", 0))
                each.connect(("127.0.0.1", port))
                each.send(BEGUN_GREETING)
                held.append(each)
            yield held
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def wait_until_ended(held: list[socket.socket], count: int) -> None:
    """Wait until the server has ended so many connections."""
    give_up = time.monotonic() + END_S
    while (number := ended(held)) < count:
        assert time.monotonic() < give_up, number
        time.sleep(LOOK_S)


def ended(held: list[socket.socket]) -> int:
    """Return how many connections their server has ended."""
    polled = select.poll()
    for each in held:
        polled.register(each, select.POLLIN)
    return len(polled.poll(0))


def runs_something(stack: OwnStack, isolation: Isolation = "shared") -> None:
    """Assure that all is ready, and that something runs to its end."""
    answer = httpx.get(f"{stack.base_url}/readyz", trust_env=False)
    assert answer.status_code == 200, answer.text
    with rillflow.Client(stack.base_url) as client:
        client.submit(client.add(FLOW), isolation=isolation).result(timeout_s=60)
