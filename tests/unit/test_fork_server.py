"""Workers of a stack are copies of one process, and nobody could tell by looking at them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from ray._private.workers import default_worker

from rillflow.private_apis.forking import fork_server
from rillflow.private_apis.forking.fork_server import GAVE_UP
from rillflow.private_apis.forking.forked_worker import (
    FEW_FILES,
    READY,
    SOCKET,
    answer,
    is_forked,
    worker_program,
)
from rillflow.private_apis.forking.start import PRELOADED, ForkServer
from serve.stack.reaper import MARK
from tests.cluster.processes import fork_servers, wait_until_gone

HERE: Final = Path(__file__).parents[2] / "serve"
STARTED_S: Final = 60.0
AS_RAY_WOULD: Final = "default_worker.py: error: the following arguments are required"
AS_RAY_HAS_IT: Final = (
    "-c",
    """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
open("/proc/self/oom_score_adj", "w").write("500")
os.nice(5)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
""",
)
LOOKS: Final = """
import json, multiprocessing, os, random, resource, signal, sys, uuid
import ray
print(json.dumps({
    "program": sys.argv[0], "arguments": sys.argv[1:], "folder": os.getcwd(),
    "path": sys.path, "own_group": os.getpgrp() == os.getpid(), "parent": os.getppid(),
    "children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "environment": dict(os.environ), "is_main": __name__ == "__main__",
    "niceness": os.nice(0), "oom_score": open("/proc/self/oom_score_adj").read().strip(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "open": sorted(os.listdir("/proc/self/fd")),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "chance": [random.random(), uuid.uuid4().hex, ray.UniqueID.from_random().hex(),
        multiprocessing.current_process().authkey.hex()],
}))
print("on standard error", file=sys.stderr)
"""

IMPATIENT: Final = """
import sys
from rillflow.private_apis.forking import fork_server
fork_server.PATIENCE_S = float(sys.argv[1])
fork_server.main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
"""
PATIENT: Final = (
    "-c",
    (
        "import sys; from rillflow.private_apis.forking.forked_worker import main;"
        " main(sys.argv[1:], patience_s=60)"
    ),
)
"""A worker that waits for imports on a busy machine, which take Ray's own way otherwise."""
DRAWS: Final = "import ray; ray.UniqueID.from_random()"
THREADED: Final = """
import threading
threading.Thread(target=threading.Event().wait).start()
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
    with (
        _worker(run_dir, "--a=1", at=folder, program=(str(looks),), within=AS_RAY_HAS_IT) as alone,
        _fork_server(run_dir, looks, "ray") as server,
        _worker(run_dir, "--a=1", at=folder, within=AS_RAY_HAS_IT) as worker,
    ):
        copy, errors = _seen(worker)
        original, _ = _seen(alone)
    assert errors == "on standard error\n"
    assert copy.pop("parent") == server.pid
    assert original.pop("parent") == os.getpid()
    assert copy.pop("chance") != original.pop("chance")
    assert copy == original
    assert (copy["arguments"], copy["oom_score"]) == (["--a=1"], "500")
    assert copy["niceness"] == os.nice(0) + 5
    assert copy["blocked"] == [signal.SIGINT]
    assert copy["own_group"]


def test_a_copy_has_few_files(run_dir: Path, looks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What starts the fork server again may have more, since its connections are watched."""
    monkeypatch.setenv(FEW_FILES, "300")
    with _fork_server(run_dir, looks):
        assert _look(run_dir)["files"] == 300


def test_no_two_copies_draw_the_same_numbers(run_dir: Path, looks: Path) -> None:
    with _fork_server(run_dir, looks, *PRELOADED):
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


def test_a_worker_waits_for_a_silent_fork_server_only_so_long_and_tells_it(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(run_dir))
    (run_dir / READY).touch()
    with _listening(run_dir) as listener:
        assert not is_forked([], patience_s=0.1)
        assert not is_forked([], patience_s=0.1), "nobody else waits"
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as file:
            assert file.read().endswith(b"]"), "it has not agreed to anything after its request"
            with pytest.raises(BrokenPipeError):
                connection.sendall(b"1")


def test_a_fork_server_that_still_imports_is_waited_for_and_not_given_up(
    run_dir: Path, looks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(run_dir))
    begun, go_on = run_dir / "begun", run_dir / "go_on"
    os.mkfifo(begun)
    os.mkfifo(go_on)
    slow = f"open({str(begun)!r}, 'w').close()\nopen({str(go_on)!r}).close()\n"
    (run_dir / "slow_imports.py").write_text(slow, encoding="utf-8")
    with _fork_server(run_dir, looks, "slow_imports"):
        begun.read_bytes()  # its imports have begun, and do not end
        assert not is_forked([], patience_s=0.05, imports_s=0.1)
        assert (run_dir / SOCKET).exists(), "others may still wait for it"
        go_on.write_bytes(b"")
        assert _look(run_dir)
        assert (run_dir / READY).exists()


class Silent:
    """A connection on which nothing comes before the n-th wait, and on which ``then`` is done."""

    def __init__(self, waits: int, then: Callable[[], None] = lambda: None) -> None:
        self.left, self.waited, self._then = waits, 0, then

    def recv(self, _: int) -> bytes:
        self.waited += 1
        if self.waited > self.left:
            return b"1"
        self._then()
        raise TimeoutError


def test_a_worker_takes_the_answer_that_comes_after_the_imports(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(run_dir))
    connection: Any = Silent(3)
    assert answer(connection, imports_s=STARTED_S) == b"1"
    connection = Silent(3)
    assert answer(connection, imports_s=0) == b""
    assert connection.waited == 1


def test_a_worker_whose_wait_began_before_the_end_of_the_imports_waits_once_more(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(run_dir))
    connection: Any = Silent(9, (run_dir / READY).touch)
    with pytest.raises(TimeoutError):
        answer(connection, imports_s=STARTED_S)
    assert connection.waited == 2


def test_imports_that_do_not_end_are_begun_again(run_dir: Path) -> None:
    with _tended(run_dir, run_dir / "log", pause_s=0, imports_s=0) as server:
        [first] = _started(os.getpid())
        os.kill(first, signal.SIGSTOP)
        (run_dir / READY).touch()
        server.tend()
        assert fork_servers(os.getpid()) == [first]
        (run_dir / READY).unlink()
        server.tend()
        assert _started(os.getpid()) != [first]


@pytest.mark.parametrize("hangs_up", [True, False], ids=["hangs up", "says nothing"])
def test_a_copy_is_no_worker_until_whoever_asks_has_agreed(
    run_dir: Path, looks: Path, *, hangs_up: bool
) -> None:
    out, its_out = os.pipe()
    request = json.dumps([[], _environment(run_dir), "/", 0, "0", []]).encode()
    with (
        _fork_server(run_dir, looks, patience_s=1.5) as server,
        socket.socket(socket.AF_UNIX) as impatient,
    ):
        impatient.connect(str(run_dir / SOCKET))
        socket.send_fds(impatient, [len(request).to_bytes(8, "big")], [0, its_out, its_out])
        impatient.sendall(request)
        os.close(its_out)
        assert impatient.recv(1) == b"1"
        if hangs_up:
            impatient.close()
        with os.fdopen(out, "rb") as file:
            assert file.read() == b""
        assert server.poll() is None


def test_who_says_nothing_holds_up_others_only_so_long(run_dir: Path, looks: Path) -> None:
    with (
        _fork_server(run_dir, looks, patience_s=1.5),
        socket.socket(socket.AF_UNIX) as silent,
    ):
        silent.connect(str(run_dir / SOCKET))
        assert _look(run_dir)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"cut",
        b"\xff" * 8,
        (2).to_bytes(8, "big") + b"[]",
        (99).to_bytes(8, "big") + b'["too short"',
        (200_000).to_bytes(8, "big") + b"[" * 200_000,
    ],
    ids=["nothing", "cut", "too long", "no request", "too short", "too deep"],
)
def test_a_request_that_cannot_be_read_holds_up_no_other(
    run_dir: Path, looks: Path, said: bytes
) -> None:
    with _fork_server(run_dir, looks):
        before = _look(run_dir)["open"]
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(run_dir / SOCKET))
            if said:
                socket.send_fds(stranger, [said[:8]], [1])
            if said[8:]:
                stranger.sendall(said[8:])
        assert _look(run_dir)["open"] == before, "the fork server keeps nothing open"


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (THREADED, "2 threads run after the imports\n"),
        (DRAWS, "copies would draw the same ids\n"),
        ("import nobody", "ModuleNotFoundError: No module named 'nobody'\n\n"),
    ],
    ids=["a thread", "ids", "nothing"],
)
def test_imports_that_leave_behind_what_copies_must_not_share_are_refused(
    run_dir: Path, looks: Path, module: str, why: str
) -> None:
    (run_dir / "imported.py").write_text(module, encoding="utf-8")
    with _fork_server(run_dir, looks, "imported") as server:
        said = server.communicate()[1]
    assert said.startswith("no worker is forked: ")
    assert said.endswith(why)
    assert server.returncode == GAVE_UP


def test_a_fork_server_ends_with_what_has_started_it(run_dir: Path) -> None:
    starter = (
        "import os, sys; from pathlib import Path;"
        " from rillflow.private_apis.forking.start import ForkServer;"
        " server = ForkServer(Path(sys.argv[1]), os.getpid(), Path(sys.argv[1], 'log'));"
        " server.start(); print(flush=True); input()"
    )
    with subprocess.Popen(  # noqa: S603 - a script of this file
        [sys.executable, "-c", starter, str(run_dir)],
        env=_environment(run_dir),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        [server] = _started(process.pid)
        with _worker(run_dir) as worker:  # it is answered when everything has been imported
            worker.communicate()
        process.kill()
    wait_until_gone(server)


def test_a_fork_server_whose_starter_is_gone_before_it_has_begun_ends(run_dir: Path) -> None:
    words = ("1", "0", str(run_dir / "no program"))
    ended = subprocess.run(  # noqa: S603 - a program of this repository
        [sys.executable, str(HERE.parent / "rillflow/private_apis/forking/fork_server.py"), *words],
        check=False,
    )
    assert ended.returncode == 0


def test_the_program_of_workers_is_rays_own() -> None:
    assert fork_server.READY == READY
    assert worker_program() == default_worker.__file__


@pytest.mark.parametrize("by", ["a kill", "silence"])
def test_a_fork_server_that_is_lost_is_started_again(run_dir: Path, by: str) -> None:
    log = run_dir / "log"
    with _tended(run_dir, log, pause_s=0) as server:
        [first] = _started(os.getpid())
        server.tend()
        assert fork_servers(os.getpid()) == [first], "it is not started twice"
        if by == "a kill":
            _kill(first)
        else:
            (run_dir / SOCKET).unlink()  # as workers do that have waited in vain
        server.tend()
        [second] = _started(os.getpid())
        assert second != first
        assert (run_dir / SOCKET).exists()
    assert not fork_servers(os.getpid())
    assert log.read_text(encoding="utf-8") == ""


def test_a_fork_server_that_dies_again_and_again_is_not_started_at_every_look(
    run_dir: Path,
) -> None:
    with _tended(run_dir, run_dir / "log") as server:
        _kill(*_started(os.getpid()))
        server.tend()
        assert not fork_servers(os.getpid())


def test_a_fork_server_that_cannot_be_started_again_ends_nothing_else(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = run_dir / "logs"
    logs.mkdir()
    with _tended(run_dir, logs / "log", pause_s=0) as server:
        _kill(*_started(os.getpid()))
        shutil.rmtree(logs)
        server.tend()
        assert not fork_servers(os.getpid())
        logs.mkdir()
        server.tend()
        assert len(_started(os.getpid())) == 1
    assert "fork_server_not_started: [Errno 2]" in caplog.text


def test_a_fork_server_that_gives_up_is_told_of_and_left(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (run_dir / "sitecustomize.py").write_text(THREADED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(run_dir), prepend=os.pathsep)
    log = run_dir / "log"
    with _tended(run_dir, log, pause_s=0) as server:
        os.waitid(os.P_PID, _started(os.getpid())[0], os.WEXITED | os.WNOWAIT)
        server.tend()
        server.tend()
        assert not fork_servers(os.getpid())
    assert [record.getMessage() for record in caplog.records] == [
        f"no_forked_workers: they start more slowly; {log} says why"
    ]
    assert log.read_text(encoding="utf-8").startswith("no worker is forked: 2 threads run")


@contextmanager
def _tended(run_dir: Path, log: Path, **options: float) -> Iterator[ForkServer]:
    server = ForkServer(run_dir, os.getpid(), log, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _look(run_dir: Path) -> dict[str, Any]:
    with _worker(run_dir) as worker:
        return _seen(worker)[0]


def _seen(worker: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, errors = worker.communicate()
    assert out, errors
    found: dict[str, Any] = json.loads(out)
    return found, errors


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
def _fork_server(
    run_dir: Path, program: Path, *modules: str, patience_s: float = 60
) -> Iterator[subprocess.Popen[str]]:
    with _listening(run_dir) as listener:
        fd = listener.fileno()
        words = (str(patience_s), str(os.getpid()), str(fd), str(program))
        server = subprocess.Popen(  # noqa: S603 - a program of this repository
            [sys.executable, "-c", IMPATIENT, *words, *modules],
            env=_environment(run_dir),
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[fd],
        )
    with server:
        try:
            yield server
        finally:
            server.kill()


def _worker(
    run_dir: Path,
    *arguments: str,
    at: Path | None = None,
    program: tuple[str, ...] = PATIENT,
    within: tuple[str, ...] = (),
    **environment: str,
) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - a program of this repository
        [sys.executable, *within, *program, *arguments],
        env={**_environment(run_dir), **environment},
        cwd=at,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def _started(pid: int) -> list[int]:
    """Return the fork servers of a process, as soon as there is one.

    A process has no title yet in the moment in which it becomes another program.
    """
    give_up_s = time.monotonic() + STARTED_S
    while not (found := fork_servers(pid)):
        assert time.monotonic() < give_up_s
        os.sched_yield()
    return found
