"""The workers of a stack are copies of one process, and do without it when it is gone."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.private_apis.forking.forked_worker import SOCKET
from tests.cluster.api import Functions
from tests.cluster.load import steps, under_load
from tests.cluster.processes import (
    LOOK_S,
    ROOT,
    OwnStack,
    fork_servers,
    kill,
    wait_until_gone,
    workers,
)
from tests.loopback import closed_port

pytestmark = [pytest.mark.cluster, pytest.mark.long]

ALL: Final = (
    "DispatcherActor",
    "ExecutionActor",
    "HAProxyManager",
    "ProxyActor",
    "ServeController",
    "ServeReplica",
)
SOON_S: Final = 60.0


@pytest.fixture(name="own")
def _own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    own = OwnStack(tmp_path_factory.mktemp("forked") / "data", closed_port())
    own.start()
    yield own
    own.stop()


def test_copies_have_ids_of_their_own_and_are_answered_what_they_asked() -> None:
    with tempfile.TemporaryDirectory(prefix="rf-", dir="/tmp") as folder:
        program = str(Path(__file__).with_name("forked_driver.py"))
        ended = subprocess.run(
            [sys.executable, program, folder],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert all("fork_server.py" in each["parent"] for each in told), "they are copies"
    drawn = [drawn_id for each in told for drawn_id in each["ids"]]
    assert len(set(drawn)) == len(drawn) == 20
    for name, each in zip("abcd", told, strict=True):
        assert each["answers"] == [f"{name}{number}" for number in range(20)]


def test_workers_are_forked_and_start_without_the_fork_server_if_they_must(
    own: OwnStack, functions: Functions
) -> None:
    [first] = fork_servers(own.pid)
    copies = {name: workers(first, name) for name in ALL}
    assert all(len(each) == 1 for each in copies.values()), copies
    with under_load(own.base_url, steps(functions.url)) as load:
        load.wait_for(50)
        os.kill(first, signal.SIGSTOP)
        kill(*copies["ExecutionActor"])
        load.wait_for(len(load.acknowledged) + 50)
        [alone] = workers(own.pid, "ExecutionActor")
        second = _another_fork_server(own, first)
        assert not workers(second, "ExecutionActor"), "Ray has started it"
        kill(alone)
        load.wait_for(len(load.acknowledged) + 50)
        forked = workers(second, "ExecutionActor")
        kill(second, *forked)
        load.wait_for(len(load.acknowledged) + 50)
    load.check_ends()
    load.check_refusals()
    assert len(forked) == 1
    assert first != second
    own.stop()
    wait_until_gone(*(pid for each in copies.values() for pid in each))


def _another_fork_server(own: OwnStack, first: int) -> int:
    """Wait until there is one, and until it takes requests."""
    give_up = time.monotonic() + SOON_S
    while not (found := [each for each in fork_servers(own.pid) if each != first]):
        assert time.monotonic() < give_up, "no fork server was started again"
        time.sleep(LOOK_S)
    note = json.loads((own.data_dir / "stack.json").read_text(encoding="utf-8"))
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.settimeout(SOON_S)
        nobody.connect(str(Path(note["run_dir"], SOCKET)))
        nobody.sendall(bytes(8))
        assert nobody.recv(1) == b"", "which is no request"
    return found[0]
