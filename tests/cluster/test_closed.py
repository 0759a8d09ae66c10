"""A stack is closed: to other machines but for the API that is opened, and to other users."""

import http.client
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

import rillflow
from rillflow.actors.names import dedicated_actor_name
from serve.stack.reaper import belonging
from tests.cluster.processes import OwnStack, RayDriver, descendants, noted
from tests.listeners import Listener, listeners
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

OK: Final = 200
OTHERS: Final = 0o077
EVERYBODY: Final = 0o777
EVERYWHERE: Final = ("--host", "0.0.0.0")
KEY: Final = "correct-horse-battery"
RAY_TOOL: Final = (sys.executable, "-m", "ray.scripts.scripts")
OF_GROUP: Final = 0o775
FLOW: Final = """
workspace: closed
dagName: waits
type: flow
tasks: [{ name: approval, category: suspense, next: "", conditions: ["$.input.[?(@.ok == true)]"] }]
"""


@pytest.fixture(name="home", scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of somebody who has not used Ray before."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(name="opened", scope="module")
def _opened(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[OwnStack]:
    """A stack whose API is open to all, with Ray's page; its folders were there, and open."""
    data_dir, archive = tmp_path_factory.mktemp("open") / "data", tmp_path_factory.mktemp("lines")
    for folder in (data_dir, archive, data_dir / "logs"):
        folder.mkdir(exist_ok=True)
        folder.chmod(EVERYBODY)
    data_dir.chmod(OF_GROUP)
    for file in (
        data_dir / "rillflow.db",
        data_dir / "lock",
        archive / "executions-1970-01-01.jsonl",
    ):
        file.touch()
        file.chmod(0o666)
    options = (*EVERYWHERE, "--insecure", "--dashboard")
    places = {"HOME": str(home), "RILLFLOW_ARCHIVE_DIR": str(archive)}
    own = OwnStack(data_dir, closed_port(), *options, **places)
    own.umask = 0
    try:
        own.start()
        with rillflow.Client(own.base_url) as client:
            client.submit(client.add(FLOW), isolation="dedicated")
        yield own
    finally:
        own.stop()


@pytest.fixture(name="locked", scope="module")
def _locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """A stack that others reach with its key."""
    data_dir = tmp_path_factory.mktemp("locked") / "data"
    own = OwnStack(data_dir, closed_port(), *EVERYWHERE, RILLFLOW_API_KEY=KEY)
    try:
        own.start()
        yield own
    finally:
        own.stop()


def test_every_socket_of_every_process_is_on_loopback(stack: OwnStack) -> None:
    found = _listeners(stack)
    kinds = {_title(each.pid) for each in found}
    assert {"gcs_server", "raylet", "haproxy", "ray::DashboardA", "ray::RuntimeEnv"} <= kinds, kinds
    assert [each for each in found if not each.is_local] == []


def test_an_api_that_is_opened_opens_nothing_else(opened: OwnStack) -> None:
    reached = [each for each in _listeners(opened) if not each.is_local]
    port = int(opened.base_url.rpartition(":")[2])
    assert [(_title(each.pid), each.protocol, each.port) for each in reached] == [
        ("haproxy", "tcp", port)
    ]


def test_drivers_on_this_machine_join_it_all_the_same(stack: OwnStack) -> None:
    driver = RayDriver(stack.ray_address)
    try:
        assert "rillflow:execution:0" in driver.actors()
        assert not [each for each in listeners([driver.pid]) if not each.is_local]
    finally:
        driver.close()


@pytest.fixture(name="dedicated")
def _dedicated(stack: OwnStack) -> Iterator[str]:
    """Have a dedicated execution wait, and end it."""
    with rillflow.Client(stack.base_url) as client:
        execution = client.submit(client.add(FLOW), isolation="dedicated")
        yield execution.id
        execution.cancel()


def test_nobody_without_the_token_learns_of_an_execution_from_ray(
    stack: OwnStack, dedicated: str
) -> None:
    execution_id = dedicated
    driver = RayDriver(stack.ray_address)
    try:
        assert driver.has(execution_id)
        secret = execution_id.rpartition("_c_")[2]
        assert not [name for name in driver.actors() if secret in name]
    finally:
        driver.close()
    found = _listeners(stack)
    said = {
        (_title(each.pid), each.port, path): _answer(each, path)
        for each in found
        if each.protocol == "tcp"
        for path in ("/", "/metrics")
    }
    assert {key for key, (_, body) in said.items() if secret in body} == set()
    of_ray = {key: status for key, (status, _) in said.items() if key[0].startswith("ray::")}
    assert of_ray
    assert {key for key, status in of_ray.items() if status == OK and key[2] == "/metrics"} == set()
    shown = [Path(f"/proc/{each.pid}/cmdline").read_bytes() for each in found]
    assert not [line for line in shown if secret.encode() in line]


def test_nothing_that_it_makes_is_open_to_other_users(opened: OwnStack) -> None:
    run_dir, logs = (
        Path(noted(opened.data_dir, "run_dir")),
        Path(noted(opened.data_dir, "logs_dir")),
    )
    assert run_dir.stat().st_uid == os.geteuid()
    assert logs.is_relative_to(opened.data_dir / "logs")
    made = [run_dir, *run_dir.rglob("*"), *opened.data_dir.rglob("*"), *_archive(opened)]
    names = {each.name for each in made}
    assert {"rillflow.db", "rillflow.db-wal", "lock", "stack.json", "admin.sock", "raylet"} <= names
    assert {each: mode for each in made if (mode := _mode(each)) & OTHERS} == {}


def test_a_folder_that_was_there_stays_as_its_owner_wants_it(opened: OwnStack) -> None:
    assert _mode(opened.data_dir) == OF_GROUP


def test_rays_own_tools_show_the_actors_on_a_machine_without_a_token(
    opened: OwnStack, home: Path
) -> None:
    token = home / ".ray" / "auth_token"
    assert _mode(token) & OTHERS == 0, "others may read the token"
    with rillflow.Client(opened.base_url) as client:
        execution = client.submit(client.add(FLOW), isolation="dedicated")
    listed = subprocess.run(
        [*RAY_TOOL, "list", "actors", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "RAY_API_SERVER_ADDRESS": noted(opened.data_dir, "dashboard_url"),
            "RAY_AUTH_MODE": "token",
            "HOME": str(home),
        },
    )
    names = {actor["name"] for actor in json.loads(listed.stdout)}
    assert dedicated_actor_name(execution.id) in names
    assert execution.id not in listed.stdout, "whoever lists actors learns of no execution"


@pytest.mark.parametrize(
    ("name", "status"),
    [("opened", 200), pytest.param("locked", 401, marks=pytest.mark.long)],
)
def test_beyond_this_machine_it_asks_for_the_key_unless_told_not_to(
    request: pytest.FixtureRequest, name: str, status: int
) -> None:
    own: OwnStack = request.getfixturevalue(name)
    answer = httpx.get(f"{own.base_url}/flow/bg/get_business_options.json", trust_env=False)
    assert answer.status_code == status
    headers = {"X-Padding": "x" * 20_000}
    answer = httpx.get(f"{own.base_url}/healthz", headers=headers, trust_env=False)
    assert answer.status_code == 431


@pytest.mark.long
def test_rays_files_end_with_the_stack_and_its_logs_do_not(locked: OwnStack) -> None:
    data_dir = locked.data_dir
    run_dir, logs = Path(noted(data_dir, "run_dir")), Path(noted(data_dir, "logs_dir"))
    assert (run_dir / "ray" / logs.name / "sockets" / "raylet").is_socket()
    locked.stop()
    assert not run_dir.exists()
    assert (logs / "raylet.out").exists()
    assert KEY not in locked.log.read_text(encoding="utf-8")


def _listeners(own: OwnStack) -> list[Listener]:
    marked = belonging(noted(own.data_dir, "run_dir"), noted(own.data_dir, "logs_dir"))
    return listeners({own.pid, *descendants(own.pid), *marked})


def _answer(listener: Listener, path: str) -> tuple[int, str]:
    """Ask a port as a page of another site would; 0 where it does not speak HTTP."""
    connection = http.client.HTTPConnection(str(listener.address), listener.port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": "rebind.evil.example"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


def _archive(own: OwnStack) -> list[Path]:
    return list(Path(own.environment["RILLFLOW_ARCHIVE_DIR"]).iterdir())


def _mode(path: Path) -> int:
    """Return the mode of a file or folder; a link has none of its own."""
    found = path.lstat()
    return 0 if stat.S_ISLNK(found.st_mode) else stat.S_IMODE(found.st_mode)
