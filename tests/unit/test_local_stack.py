"""A stack on one machine keeps to itself: its folder, its ports, its processes, its HAProxy."""

import asyncio
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from ray.serve._private import constants

from rillflow.errors import StackError, StoreError
from rillflow.jsontypes import encode_json
from rillflow.private_apis.haproxy.config import without_pages
from rillflow.settings import STACK_NOTE, Settings
from rillflow.trusted_files.owners import why_not_private
from serve.listening import free_port, free_ports, refuse_taken_port
from serve.stack.data_folder import LOGS_KEPT, DataFolder
from serve.stack.ray_environment import INGRESS_PORTS, PREFERENCES, front_program, own_places
from serve.stack.reaper import MARK, TITLE, belonging
from serve.stack.standalone import Standalone, is_ready
from tests.loopback import closed_port, responding, web_server

CONFIGURATION: Final = """global
    stats socket /tmp/admin.sock
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind *:8080
listen stats
    bind *:8404
    stats enable
"""
HERE: Final = Path(__file__).parents[2] / "serve"
LONGEST_SOCKET_PATH: Final = 107
NODE_ID_LENGTH: Final = 56


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


def test_a_folder_belongs_to_one_stack_at_a_time(folder: DataFolder) -> None:
    folder.lock()
    folder.note(url="http://127.0.0.1:1")
    other = DataFolder(folder.path)
    with pytest.raises(StackError, match=r"belongs to a stack that runs: http://127\.0\.0\.1:1;"):
        other.lock()
    other.release()
    assert folder.read_note()["pid"] == os.getpid(), "a stack that was refused touches nothing"
    folder.release()
    assert other.lock() is False
    other.release()


def test_a_folder_that_is_made_is_its_owners_alone(folder: DataFolder) -> None:
    folder.lock()
    assert folder.path.stat().st_mode & 0o077 == 0
    folder.release()


def test_a_folder_remembers_a_stack_that_was_killed_and_removes_what_it_left(
    folder: DataFolder,
) -> None:
    folder.lock()
    folder.note()
    left = folder.run_dir
    os.close(folder._lock or 0)  # as the kernel does for the dead
    assert left.is_dir()
    heir = DataFolder(folder.path)
    assert heir.lock() is True
    assert not left.exists()
    heir.release()
    assert not heir.run_dir.exists()
    assert not (heir.path / STACK_NOTE).exists()


def test_what_a_note_names_elsewhere_is_let_be(folder: DataFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "rf-mine"
    elsewhere.mkdir()
    folder.path.mkdir()
    (folder.path / STACK_NOTE).write_bytes(encode_json({"run_dir": str(elsewhere)}))
    folder.lock()
    folder.release()
    assert elsewhere.is_dir()


def test_a_folder_that_others_can_change_is_not_taken(folder: DataFolder) -> None:
    folder.path.mkdir()
    for mode in (0o777, 0o1777):
        folder.path.chmod(mode)
        with pytest.raises(StackError, match=r"everybody may write in it; forbid it by chmod o-w"):
            folder.lock()
        assert list(folder.path.iterdir()) == []
    folder.path.chmod(0o775)
    folder.lock()
    folder.release()


def test_a_folder_of_another_user_is_not_private() -> None:
    def facts(uid: int) -> os.stat_result:
        return os.stat_result((stat.S_IFDIR | 0o755, 0, 0, 1, uid, uid, 0, 0, 0, 0))

    assert why_not_private(facts(1000), 1000) == ""
    assert why_not_private(facts(0), 1000) == ""
    for user in (0, 1001):
        assert "belongs to another user (uid 1000)" in why_not_private(facts(1000), user)


def test_a_link_in_place_of_the_lock_is_not_followed(folder: DataFolder, tmp_path: Path) -> None:
    folder.path.mkdir()
    (folder.path / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(StackError, match="cannot be used"):
        folder.lock()
    assert not (tmp_path / "made").exists()


def test_sockets_lie_in_a_new_folder_that_nobody_else_can_enter_or_move(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o1777)
    folder = DataFolder(tmp_path / "data", run_root=root)
    folder.lock()
    assert folder.run_dir.parent == root
    assert stat.S_IMODE(folder.run_dir.stat().st_mode) == 0o700
    cleaning = os.open(folder.run_dir, os.O_RDONLY)
    with pytest.raises(BlockingIOError):  # what systemd-tmpfiles tries before it cleans
        fcntl.flock(cleaning, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(cleaning)
    folder.release()
    assert not list(root.iterdir())
    root.chmod(0o777)
    with pytest.raises(StackError, match=r"everybody may move what lies in .*chmod \+t"):
        folder.lock()
    folder.release()


def test_logs_of_the_last_starts_are_kept(folder: DataFolder) -> None:
    starts = []
    for _ in range(LOGS_KEPT + 3):
        folder.lock()
        starts.append(folder.logs_dir)
        (folder.logs_dir / "raylet.out").touch()
        folder.release()
    folder.lock()
    folder.release()
    kept = sorted((folder.path / "logs").iterdir())
    assert kept == sorted(starts)[-LOGS_KEPT:], "a start without logs leaves no folder"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run_dir": 5}', b'{"run_dir": "/etc"}'])
def test_a_note_that_cannot_be_read_does_no_harm(folder: DataFolder, content: bytes) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / STACK_NOTE).write_bytes(content)
    folder.lock()
    folder.release()


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = DataFolder(tmp_path / "file" / "data")
    with pytest.raises(StackError, match="cannot be used: Not a directory"):
        folder.lock()
    folder.release()


def test_a_full_disk_is_said_so_and_nothing_is_started_on_it(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data", least_free_bytes=1 << 62)
    with pytest.raises(StackError, match=r"is full: \d+ MiB are left, and a start needs \d+; make"):
        folder.lock()
    assert not list(folder.path.glob("logs*"))
    DataFolder(folder.path).lock()


def test_a_taken_port_is_refused_and_a_free_one_is_not() -> None:
    refuse_taken_port("127.0.0.1", free_port())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} of 127.0.0.1 is in use"):
            refuse_taken_port("127.0.0.1", port, patience_s=0.15)


def test_a_wanted_port_is_taken_when_it_is_free() -> None:
    wanted = closed_port()
    assert free_port(wanted) == wanted
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", wanted))
        taken.listen()
        assert free_port(wanted) != wanted


RESERVE: Final = """
import sys
from serve.listening import free_port
print(*(free_port(int(port)) for port in sys.argv[1:]), flush=True)
sys.stdin.read()
"""
NOBODYS: Final = 19_500
"""A port that nobody is given who asks for any port."""


@contextmanager
def _reserving(*ports: int) -> Iterator[list[int]]:
    command = (sys.executable, "-c", RESERVE, *map(str, ports))
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        yield [int(word) for word in other.stdout.readline().split()]
        other.stdin.close()


def test_ports_are_reserved_before_somebody_listens_on_them() -> None:
    one, first = free_port(), free_ports(100)
    with _reserving(one, first, first + 99, NOBODYS) as given:
        assert not {one, *range(first, first + 100)} & set(given)
        assert given[-1] == NOBODYS
        assert free_port(NOBODYS) != NOBODYS
    assert free_port(NOBODYS) == NOBODYS, "a process that ends leaves its ports"


def test_a_process_keeps_the_latest_reservations_only() -> None:
    assert free_port(NOBODYS + 1) == NOBODYS + 1
    with _reserving(NOBODYS + 1) as given:
        assert given != [NOBODYS + 1]
    for _ in range(64):
        free_port()
    with _reserving(NOBODYS + 1) as given:
        assert given == [NOBODYS + 1]


@pytest.mark.parametrize("squatted", ["folder", "link", "open"])
def test_nobody_keeps_others_from_ports_by_what_lies_in_the_common_folder(
    tmp_path: Path, squatted: str
) -> None:
    path = tmp_path / f"rillflow-ports-{os.getuid()}"
    if squatted == "folder":
        path.mkdir()
    elif squatted == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.touch()
        path.chmod(0o666)
    with path.parent.joinpath("held").open("w") as held:
        if squatted == "open":
            held = path.open("r+")  # noqa: PLW2901 - the file that is locked
            fcntl.lockf(held, fcntl.LOCK_EX)
        code = "from serve.listening import free_port; print(free_port())"
        printed = subprocess.check_output(  # noqa: S603 - our own program
            (sys.executable, "-c", code), env={**os.environ, "TMPDIR": str(tmp_path)}, text=True
        )
        held.close()
    assert int(printed) in range(20_000, 32_000)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StackError, match=r"cannot listen on 192\.0\.2\.99:1"):
        refuse_taken_port("192.0.2.99", 1)


def test_serve_takes_a_proxy_for_dead_after_3_s() -> None:
    period_s = float(PREFERENCES["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"])
    assert constants.PROXY_HEALTH_CHECK_UNHEALTHY_THRESHOLD * period_s == 3


def test_haproxys_pages_of_statistics_go_and_nothing_else_does() -> None:
    changed = without_pages(CONFIGURATION)
    assert changed.splitlines() == [
        "global",
        "    stats socket /tmp/admin.sock",
        "frontend http_frontend",
        "    bind *:8080",
    ]
    assert without_pages(changed) == changed


def test_haproxy_starts_through_the_guard_with_its_arguments(tmp_path: Path) -> None:
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(CONFIGURATION, encoding="utf-8")
    program = str(front_program(tmp_path, "/bin/echo", Settings()))
    path = str(configuration)
    assert _output(program, "-db", "-f", path, "-sf", "1 2") == f"-db -f {path} -sf 1 2\n"
    assert "8404" not in configuration.read_text(encoding="utf-8")
    assert _output(program, "-v") == "-v\n"


def test_every_place_that_stacks_would_share_is_the_stacks_own() -> None:
    run_dir = Path("/tmp/rf-abcdefgh")  # noqa: S108 - only its length matters
    places = own_places(run_dir, 65_000, 65_100, run_dir / "haproxy")
    assert len(set(places.values())) == len(places)
    ports = [int(value) for value in places.values() if value.isdecimal()]
    assert ports == [65_000, 65_100, 65_099 + INGRESS_PORTS]
    socket_path = places["RAY_SERVE_HAPROXY_SOCKET_PATH"]
    assert len(socket_path) + 1 + NODE_ID_LENGTH + len(".12345.tmp") <= LONGEST_SOCKET_PATH


def test_what_is_the_stacks_ends_with_it_and_nothing_else_does(tmp_path: Path) -> None:
    run_dir, session = tmp_path / "run", tmp_path / "session"
    for folder in (run_dir, session):
        folder.mkdir()
    plain = dict(os.environ)
    log = str(session / "log")
    with (
        _waiting(plain | {MARK: str(run_dir)}) as marked,
        _waiting(plain, title=f"{TITLE}Worker", log=log) as titled,
        _waiting(plain, title=f"{TITLE}Worker", log=str(tmp_path / "elsewhere")) as foreign,
        _waiting(plain, log=log) as reader,
    ):
        assert sorted(belonging(str(run_dir), str(session))) == sorted((marked.pid, titled.pid))
        _reap(run_dir, session)
        assert {marked.wait(60), titled.wait(60)} == {-signal.SIGKILL}
        assert foreign.poll() is None
        assert reader.poll() is None
    assert not run_dir.exists()


def test_a_stack_whose_ray_never_started_has_marks_only(tmp_path: Path) -> None:
    plain = dict(os.environ)
    with _waiting(plain, title=TITLE, log=str(tmp_path / "log")) as stranger:
        _reap(tmp_path / "run", "")
        assert stranger.poll() is None


def _reap(run_dir: Path, session_dir: Path | str) -> None:
    program = str(HERE / "stack" / "reaper.py")
    subprocess.run(  # noqa: S603 - a program of this repository
        [sys.executable, "-ISE", program, str(run_dir)],
        input=f"{session_dir}\n".encode(),
        env={**os.environ, MARK: str(run_dir)},
        check=True,
    )


@contextmanager
def _waiting(
    environment: dict[str, str], *, title: str = "", log: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs until the end of the block, and has begun to."""
    script = (
        "import sys; from pathlib import Path; _, title, log = sys.argv; "
        "Path('/proc/self/comm').write_text(title or 'plain'); "
        "file = open(log, 'a') if log else None; print(flush=True); input()"
    )
    with subprocess.Popen(  # noqa: S603 - a script of this file
        [sys.executable, "-c", script, title, log],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate(b"\n")


def _output(*command: str) -> str:
    return subprocess.check_output(command, text=True)  # noqa: S603 - of this repository


async def test_ready_is_what_answers_so() -> None:
    async with web_server(readyz=responding(status=200)) as url:
        assert await _ready(url)
    async with web_server(readyz=responding(status=503)) as url:
        assert not await _ready(url)
    assert not is_ready("127.0.0.1", closed_port())


async def _ready(url: str) -> bool:
    return await asyncio.to_thread(is_ready, "0.0.0.0", int(url.rpartition(":")[2]))


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("memory:", "is for one process"),
        ("mysql://x", "no store is known for 'mysql'"),
        ("sqlite:relative.db", "absolute path"),
    ],
)
def test_a_store_that_cannot_serve_a_stack_is_found_out_before_ray_starts(
    tmp_path: Path, store: str, message: str
) -> None:
    steps: list[str] = []
    settings = Settings(port=free_port(), data_dir=tmp_path / "data", store=store)
    stack = Standalone(settings, tell=steps.append)
    with pytest.raises((StackError, StoreError), match=message):
        stack.start()
    stack.stop()
    assert steps == []
    folder = DataFolder(tmp_path / "data")
    assert folder.lock() is False
    folder.release()
