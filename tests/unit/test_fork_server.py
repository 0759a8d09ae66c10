"""Workers of a stack are copies of one process, and nobody could tell by looking at them."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from ray._private.workers import default_worker

from serve.forked_worker import SOCKET, worker_program
from serve.forking import ForkServer
from serve.reaper import MARK

HERE: Final = Path(__file__).parents[2] / "serve"
AS_RAY_WOULD: Final = "default_worker.py: error: the following arguments are required"
LOOKS: Final = """
import json, os, random, signal, sys, uuid
import ray
print(json.dumps({
    "program": sys.argv[0], "arguments": sys.argv[1:], "folder": os.getcwd(),
    "path": sys.path, "own_group": os.getpgrp() == os.getpid(), "parent": os.getppid(),
    "children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "environment": dict(os.environ), "is_main": __name__ == "__main__",
    "open": sorted(os.listdir("/proc/self/fd")),
    "chance": [random.random(), uuid.uuid4().hex, ray._raylet.UniqueID.from_random().hex()],
}))
print("on standard error", file=sys.stderr)
"""

THREADED: Final = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.fixture(name="run_dir")
def _run_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rf-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(name="looks")
def _looks(run_dir: Path) -> Path:
    program = run_dir / "looks.py"
    program.write_text(LOOKS, encoding="utf-8")
    return program


def test_a_copy_looks_like_a_process_of_its_own(run_dir: Path, looks: Path) -> None:
    folder = run_dir / "elsewhere"
    folder.mkdir()
    alone = subprocess.Popen(  # noqa: S603 - a script of this file
        [sys.executable, str(looks), "--a=1"],
        env=_environment(run_dir),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with alone, _fork_server(run_dir, looks, "ray") as server:
        with _worker(run_dir, "--a=1", at=folder) as worker:
            copy, errors = _seen(worker)
        original, _ = _seen(alone)
    assert errors == "on standard error\n"
    assert copy.pop("parent") == server.pid
    assert original.pop("parent") == os.getpid()
    assert copy.pop("chance") != original.pop("chance")
    assert copy == original
    assert copy["arguments"] == ["--a=1"]
    assert copy["own_group"]


def test_no_two_copies_draw_the_same_numbers(run_dir: Path, looks: Path) -> None:
    with _fork_server(run_dir, looks, "ray", "uuid", "random"):
        drawn = [_look(run_dir)["chance"] for _ in range(3)]
    assert all(len(set(each)) == 3 for each in zip(*drawn, strict=True))


def test_a_worker_with_another_environment_starts_as_ray_would(run_dir: Path, looks: Path) -> None:
    with _fork_server(run_dir, looks), _worker(run_dir, RAY_JOB_ID="02000000") as worker:
        assert AS_RAY_WOULD in worker.communicate()[1]


def test_without_a_fork_server_workers_start_as_ray_would(run_dir: Path, looks: Path) -> None:
    with _worker(run_dir) as worker:
        assert AS_RAY_WOULD in worker.communicate()[1]
    with _fork_server(run_dir, looks) as server:
        server.kill()
        server.wait()
        with _worker(run_dir) as worker:
            assert AS_RAY_WOULD in worker.communicate()[1]


def test_a_worker_whose_fork_server_dies_meanwhile_starts_as_ray_would(run_dir: Path) -> None:
    with _listening(run_dir) as listener, _worker(run_dir) as worker:
        connection, _ = listener.accept()
        connection.recv(1)
        connection.close()
        assert AS_RAY_WOULD in worker.communicate()[1]


def test_a_request_that_is_cut_off_holds_up_no_other(run_dir: Path, looks: Path) -> None:
    with _fork_server(run_dir, looks):
        before = _look(run_dir)["open"]
        for said in (b"", b"cut", bytes(8) + b"[]", (99).to_bytes(8, "big") + b'["too short"'):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(str(run_dir / SOCKET))
                socket.send_fds(stranger, [said], [1]) if said else None
        assert _look(run_dir)["open"] == before, "the fork server keeps nothing open"


def test_imports_that_start_a_thread_are_refused(run_dir: Path, looks: Path) -> None:
    module = run_dir / "threaded.py"
    module.write_text(THREADED, encoding="utf-8")
    with _fork_server(run_dir, looks, "threaded") as server:
        assert server.communicate()[1].startswith("2 threads run after the imports")
    assert server.returncode == 1


def test_the_program_of_workers_is_rays_own() -> None:
    assert worker_program() == default_worker.__file__


def test_a_fork_server_that_was_killed_is_started_again(run_dir: Path) -> None:
    log = run_dir / "log"
    server = ForkServer(run_dir, os.getpid(), log)
    server.start()
    try:
        [first] = _children()
        server.tend()
        assert _children() == [first], "it is not started twice"
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        server.tend()
        [second] = _children()
        assert second != first
    finally:
        server.stop()
    assert not _children()
    assert log.read_text(encoding="utf-8") == ""


def _look(run_dir: Path) -> dict[str, Any]:
    with _worker(run_dir) as worker:
        return _seen(worker)[0]


def _seen(worker: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, errors = worker.communicate()
    assert out, errors
    found: dict[str, Any] = json.loads(out)
    return found, errors


def _children() -> list[int]:
    own = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    return [int(pid) for pid in own]


def _environment(run_dir: Path) -> dict[str, str]:
    return {**os.environ, MARK: str(run_dir)}


@contextmanager
def _listening(run_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        (run_dir / SOCKET).unlink(missing_ok=True)
        listener.bind(str(run_dir / SOCKET))
        listener.listen()
        yield listener


@contextmanager
def _fork_server(run_dir: Path, program: Path, *modules: str) -> Iterator[subprocess.Popen[str]]:
    with _listening(run_dir) as listener:
        fd = listener.fileno()
        server = subprocess.Popen(  # noqa: S603 - a program of this repository
            [sys.executable, str(HERE / "fork_server.py"), str(fd), str(program), *modules],
            env=_environment(run_dir),
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[fd],
        )
    with server:
        yield server
        server.kill()


def _worker(
    run_dir: Path, *arguments: str, at: Path | None = None, **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - a program of this repository
        [sys.executable, str(HERE / "forked_worker.py"), *arguments],
        env={**_environment(run_dir), **environment},
        cwd=at,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
