"""The front of ``rillflow up``: a key that is found, slow bodies that wait, and no log."""

import contextlib
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

import rillflow
from rillflow.client.http_transport.transport import KEY_VARIABLE
from rillflow.errors import RequestError
from tests.cluster.processes import ROOT, OwnStack
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

MANY: Final = 3_000
LONG: Final = b"{" * 64 * 1024
"""Twice as much as HAProxy holds of a body."""
UNKNOWN: Final = "front:waits_c_00000000-0000-1000-8000-000000000000"
BUSY_S: Final = 10
"""Within which a machine that is busy with others answers; what holds places lasts longer."""
LIMITS: Final = {
    "RILLFLOW_BODY_START_TIMEOUT_S": "4",
    "RILLFLOW_BODY_TIMEOUT_S": "20",
}
WAITS: Final = """
workspace: front
dagName: waits
type: flow
tasks:
  - name: approval
    category: suspense
    inputMappings: [{ source: $.context.approved, target: $.input.approved }]
    outputMappings: [{ source: $.output.approved, target: $.context.approved }]
    conditions: ["$.input.[?(@.approved == true)]"]
"""


@pytest.fixture(name="state", scope="module")
def _state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(name="keyed", scope="module")
def _keyed(tmp_path_factory: pytest.TempPathFactory, state: Path) -> Iterator[OwnStack]:
    """A stack with a key of its own, whose note lies in the state folder of these tests."""
    data_dir = tmp_path_factory.mktemp("keyed") / "data"
    own = OwnStack(data_dir, closed_port(), "--key", XDG_STATE_HOME=str(state), **LIMITS)
    try:
        own.start()
        yield own
    finally:
        own.stop()


def _port(own: OwnStack) -> int:
    return int(own.base_url.rpartition(":")[2])


def _unfinished(port: int, sent: bytes = b"{", length: int = 9_000) -> socket.socket:
    path = f"/flow/trigger.json?execution_id={UNKNOWN}&task_name=approval"
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + sent)
    return connection


def test_programs_here_find_the_key_and_others_are_refused(
    keyed: OwnStack, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(state / "of somebody else"))
    with rillflow.Client(keyed.base_url) as client, pytest.raises(RequestError, match="API key"):
        client.add(WAITS)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    with rillflow.Client(keyed.base_url) as client:
        assert client.add(WAITS).startswith("front:waits:md5_")
    submit = (sys.executable, "-m", "rillflow.cli", "submit", "front:waits")
    submitted = subprocess.run(
        [*submit, "--url", f"http://localhost:{_port(keyed)}"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert submitted.stdout.startswith("front:waits_c_")
    page = (keyed.data_dir / "open.html").read_text(encoding="utf-8")
    key = (keyed.data_dir / "api-key").read_text(encoding="ascii").strip()
    assert f"{keyed.base_url}/console#key={key}" in page
    assert key not in keyed.log.read_text(encoding="utf-8")


def test_who_comes_after_a_head_of_a_stream_is_answered(keyed: OwnStack) -> None:
    key = (keyed.data_dir / "api-key").read_text(encoding="ascii").strip()
    headers = {"X-Rillflow-Api-Key": key, "Accept": "text/event-stream"}
    for _ in range(3):
        with httpx.Client(base_url=keyed.base_url, trust_env=False, timeout=BUSY_S) as asking:
            head = asking.head("/flow/console/v1/executions.stream", headers=headers)
            assert (head.status_code, head.content) == (200, b"")
            for path in ("/readyz", "/flow/cluster.json"):
                others = httpx.get(
                    f"{keyed.base_url}{path}", headers=headers, trust_env=False, timeout=BUSY_S
                )
                assert others.status_code == 200


@pytest.mark.long
def test_3000_unfinished_bodies_leave_room_for_health_keys_and_callbacks(
    keyed: OwnStack, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as held, rillflow.Client(keyed.base_url) as client:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        client.add(WAITS)
        execution = client.submit("front:waits", {})
        for number in range(MANY):
            # One in ten is longer than what HAProxy waits for, and reaches the API.
            sent = LONG if number % 10 == 0 else b"{"
            held.enter_context(_unfinished(_port(keyed), sent, 2 * len(LONG)))
        _everybody_else_is_answered(keyed, client, execution)


def _everybody_else_is_answered(
    keyed: OwnStack, client: rillflow.Client, execution: rillflow.Execution
) -> None:
    """Ask for health, with the key, and as a function that calls back, three times."""
    for _ in range(3):
        began = time.monotonic()
        assert httpx.get(f"{keyed.base_url}/healthz", trust_env=False).status_code == 200
        execution.status()
        client.submit("front:waits", {})
        called = httpx.post(
            f"{keyed.base_url}/flow/trigger.json",
            params={"execution_id": execution.id, "task_name": "approval"},
            json={"approved": False},
            trust_env=False,
        )
        assert called.json()["result"] == "ok"
        assert time.monotonic() - began < BUSY_S


@pytest.mark.long
def test_3200_waits_leave_room_for_health_keys_and_callbacks(
    keyed: OwnStack, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    key = (keyed.data_dir / "api-key").read_text(encoding="utf-8").strip()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as held, rillflow.Client(keyed.base_url) as client:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        client.add(WAITS)
        execution = client.submit("front:waits", {})
        path = f"/flow/get.json?execution_id={execution.id}&wait_s=600"
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Rillflow-Api-Key: {key}\r\n\r\n"
        for _ in range(MANY + 200):
            connection = socket.create_connection(("127.0.0.1", _port(keyed)), timeout=60)
            held.enter_context(connection).sendall(head.encode())
        _everybody_else_is_answered(keyed, client, execution)


@pytest.mark.parametrize("sent", [b"", b"{"])
def test_a_body_that_trickles_or_does_not_come_ends_in_its_time(
    keyed: OwnStack, sent: bytes
) -> None:
    began = time.monotonic()
    with _unfinished(_port(keyed), sent) as connection:
        connection.settimeout(0.5)
        answer = b""
        while not answer.startswith(b"HTTP/1.1 408 "):
            assert time.monotonic() - began < 120
            with contextlib.suppress(TimeoutError):
                answer += connection.recv(4096)
            if sent:
                connection.sendall(b" ")
        assert b"body_timeout_s" in answer


def test_what_haproxy_does_is_told_to_nobody(keyed: OwnStack) -> None:
    note = json.loads((keyed.data_dir / "stack.json").read_bytes())
    [place] = Path(note["run_dir"]).rglob("haproxy.cfg")
    written = place.read_text(encoding="utf-8")
    logs = [line.split()[1] for line in written.splitlines() if line.split()[:1] == ["log"]]
    assert set(logs) <= {"global"}
    routes = httpx.get(f"{keyed.base_url}/-/routes", trust_env=False)
    assert (routes.status_code, "rillflow" in routes.text) == (404, False)
    assert httpx.get(f"{keyed.base_url}/-/healthz", trust_env=False).status_code == 200


def test_the_key_is_found_no_longer_once_the_stack_has_ended_and_is_the_same_after(
    keyed: OwnStack, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    key = (keyed.data_dir / "api-key").read_bytes()
    note = state / "rillflow" / "stacks" / f"{_port(keyed)}.json"
    assert note.exists()
    keyed.stop()
    assert not note.exists()
    assert not (keyed.data_dir / "open.html").exists()
    keyed.start()
    assert (keyed.data_dir / "api-key").read_bytes() == key
    with rillflow.Client(keyed.base_url) as client:
        client.add(WAITS)
