"""``rillflow up`` starts a whole stack, says where it is, and ends without leaving anything."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

import rillflow
from tests.cluster.api import WAIT_S
from tests.cluster.processes import (
    END_S,
    LOOK_S,
    ROOT,
    OwnStack,
    descendants,
    wait_until_gone,
)
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

UP: Final = (sys.executable, "-m", "rillflow.cli", "up")
ASKING_AGAIN: Final = "the server does not answer; retrying for up to 60 s"
MOST_RAM_MIB: Final = 750
NOTICED_S: Final = 120.0
"""Within which the end of one of Ray's own processes is noticed on a machine that is busy with
others: 2 s where it is not, and a minute where only Ray looks."""
WAITS: Final = """
workspace: up
dagName: waits
type: flow
tasks:
  - name: work
    category: function
    pattern: task_async
    resourceName: http://127.0.0.1:1/nobody
    tolerance: true
    next: approval
  - name: approval
    category: suspense
    inputMappings: [{ source: $.context.approved, target: $.input.approved }]
    outputMappings: [{ source: $.output.approved, target: $.context.approved }]
    conditions: ["$.input.[?(@.approved == true)]"]
"""


@pytest.fixture(name="startable", scope="module")
def _startable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """A stack that tests stop and start as they like."""
    own = OwnStack(tmp_path_factory.mktemp("own") / "data", closed_port())
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture(name="own")
def _own(startable: OwnStack) -> OwnStack:
    """The same, started if the test before has left it stopped."""
    if not startable.runs:
        startable.start()
    return startable


def _refusal(*options: str, **environment: str) -> str:
    """What ``rillflow up`` says when it cannot start: one line, exit code 1."""
    [line] = _last_words(*options, **environment)
    return line


def _last_words(*options: str, **environment: str) -> list[str]:
    """What it writes on standard error when it cannot start; its exit code is 1."""
    ended = subprocess.run(
        [*UP, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert ended.returncode == 1, ended
    return ended.stderr.splitlines()


def test_the_first_answer_comes_with_a_banner_that_says_where_everything_is(
    own: OwnStack,
) -> None:
    give_up = time.monotonic() + WAIT_S
    while "Ctrl-C stops it" not in (banner := own.log.read_text(encoding="utf-8")):
        assert time.monotonic() < give_up, banner
        time.sleep(LOOK_S)
    assert "Rillflow is up after" in banner
    for what in (own.base_url, f"{own.base_url}/docs", str(own.data_dir)):
        assert what in banner
    assert httpx.get(f"{own.base_url}/docs", trust_env=False).status_code == 200


def test_only_the_api_is_reached_without_the_token_and_only_from_where_it_was_asked_to_be(
    own: OwnStack,
) -> None:
    (front,) = [pid for pid in descendants(own.pid) if _name_of(pid) == "haproxy"]
    listening = _listening_addresses(front)
    assert listening
    assert all(address == "0100007F" for address in listening), "loopback, as the kernel spells it"


def test_its_processes_give_way_to_others_no_more_than_it_does_itself(own: OwnStack) -> None:
    everything = [own.pid, *descendants(own.pid)]
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in everything} == {os.nice(0)}


def test_it_keeps_to_its_share_of_memory(own: OwnStack) -> None:
    assert sum(map(_proportional_mib, [own.pid, *descendants(own.pid)])) < MOST_RAM_MIB


def test_a_folder_of_a_running_stack_is_said_so(own: OwnStack) -> None:
    said = _refusal("--port", str(closed_port()), "--data-dir", str(own.data_dir))
    assert "belongs to a stack that runs" in said
    assert own.base_url in said


def test_a_signal_for_all_of_its_processes_ends_it(own: OwnStack) -> None:
    """Service managers, and ``timeout``, signal every process that a command has started."""
    everything = [own.pid, *descendants(own.pid)]
    said = len(own.log.read_text(encoding="utf-8"))
    for pid in everything:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    own.wait_until_ended(everything)
    told = own.log.read_text(encoding="utf-8")[said:]
    assert "stopped; accepted executions go on" in told
    assert "Started a local Ray instance" not in told
    own.start()


@pytest.mark.parametrize(
    "by", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_stop_leaves_everything_in_the_file_from_which_a_restart_goes_on(
    own: OwnStack, tmp_path: Path, by: signal.Signals
) -> None:
    with rillflow.Client(own.base_url) as client:
        waits = client.add(WAITS)
        submitted = [client.submit(waits, {"n": n}) for n in range(20)]
        said = len(own.log.read_text(encoding="utf-8"))
        own.stop(by)
        assert "stopped; accepted executions go on" in own.log.read_text(encoding="utf-8")[said:]
        assert not (own.data_dir / "stack.json").exists()
        assert not (own.data_dir / "rillflow.db-wal").exists()
        copy = Path(shutil.copy(own.data_dir / "rillflow.db", tmp_path))
        _check_all_are_stored({execution.id for execution in submitted}, copy)
        own.start()
        execution = submitted[1]
        assert execution.get()["context"]["n"] == 1  # type: ignore[index,call-overload]
        execution.wake_up("approval", {"approved": True})
        assert execution.result(timeout_s=WAIT_S)["approved"] is True


def _check_all_are_stored(submitted: set[str], file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        stored = {each for (each,) in connection.execute("SELECT execution_id FROM executions")}
        ((without_records,),) = connection.execute(
            "SELECT count(*) FROM executions WHERE key NOT IN (SELECT execution FROM journal)"
        )
    assert stored >= submitted
    assert without_records == 0


def test_what_was_accepted_goes_on_after_a_kill_and_who_waits_waits_on(own: OwnStack) -> None:
    with rillflow.Client(own.base_url) as client:
        execution = client.submit(client.add(WAITS), {"n": 2})
        with _watching(own, execution) as watching, ThreadPoolExecutor() as pool:
            waiting = pool.submit(execution.result, timeout_s=WAIT_S)
            own.kill_front_process()
            own.start()
            execution.wake_up("approval", {"approved": True})
            assert waiting.result()["n"] == 2
            shown, told = watching.communicate(timeout=WAIT_S)
    assert (watching.returncode, told) == (0, f"{ASKING_AGAIN}\n")
    assert shown.endswith("SUCCEEDED    approval\nthe execution ended: SUCCEED\n")


@contextmanager
def _watching(own: OwnStack, execution: rillflow.Execution) -> Iterator[subprocess.Popen[str]]:
    """Follow an execution by the command line, from its first task on."""
    command = ("watch", execution.id, "--url", own.base_url)
    with subprocess.Popen(
        [*UP[:-1], *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as watching:
        try:
            assert watching.stdout is not None
            assert watching.stdout.readline()
            yield watching
        finally:
            watching.kill()


@pytest.mark.parametrize("process", ["gcs_server", pytest.param("raylet", marks=pytest.mark.long)])
def test_the_end_of_a_process_of_ray_is_noticed_told_and_ends_the_stack(
    own: OwnStack, process: str
) -> None:
    before = len(own.log.read_text(encoding="utf-8"))
    with httpx.Client(base_url=own.base_url, trust_env=False) as http:
        everything = descendants(own.pid)
        [victim] = [pid for pid in everything if _name_of(pid) == process]
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        while (answered := _readiness(http)) == []:
            assert time.monotonic() < killed + NOTICED_S
            time.sleep(LOOK_S)
        while "ray_process_ended" not in own.log.read_text(encoding="utf-8")[before:]:
            assert time.monotonic() < killed + NOTICED_S
            time.sleep(LOOK_S)
    # A raylet follows its GCS, so whoever asks late may hear of both.
    codes = {"ray_gcs_gone", "ray_raylet_gone", "ray_raylet_silent", "no answer"}
    assert set(answered) <= codes
    assert own.wait() == 1
    wait_until_gone(*everything)
    lines = own.log.read_text(encoding="utf-8")[before:].splitlines()
    [said] = [line for line in lines if line.startswith("error: ")]
    assert said.startswith(f"error: Ray's {process} has ended, and this stack with it;")


def test_a_raylet_that_is_stopped_is_told_and_nothing_ends(own: OwnStack) -> None:
    with httpx.Client(base_url=own.base_url, trust_env=False) as http:
        [raylet] = [pid for pid in descendants(own.pid) if _name_of(pid) == "raylet"]
        give_up = time.monotonic() + NOTICED_S
        os.kill(raylet, signal.SIGSTOP)
        try:
            while _readiness(http) != ["ray_raylet_silent"]:
                assert time.monotonic() < give_up
                time.sleep(LOOK_S)
        finally:
            os.kill(raylet, signal.SIGCONT)
        while _readiness(http):
            assert time.monotonic() < give_up
            time.sleep(LOOK_S)


def _readiness(http: httpx.Client) -> list[str]:
    """Return the codes of what a stack says is wrong with it."""
    try:
        answer = http.get("/readyz")
    except httpx.HTTPError:
        return ["no answer"]
    if answer.status_code == 200:
        return []
    return [each["code"] for each in answer.json().get("reasons", [{"code": "no answer"}])]


def test_ctrl_c_during_the_start_ends_it_as_well(tmp_path: Path) -> None:
    with (tmp_path / "log").open("ab") as log:
        process = subprocess.Popen(
            [*UP, "--port", str(closed_port()), "--data-dir", str(tmp_path / "data")],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    while len(everything := [process.pid, *descendants(process.pid)]) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(END_S) == 130
    wait_until_gone(*everything)


def test_a_taken_port_is_said_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = _refusal("--port", port, "--data-dir", str(tmp_path / "data"))
    assert said == f"error: port {port} of 127.0.0.1 is in use; choose another one with --port"


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = _refusal("--port", str(closed_port()), "--data-dir", str(tmp_path / "file" / "data"))
    assert "cannot be used: Not a directory" in said
    archive = {"RILLFLOW_ARCHIVE_DIR": str(tmp_path / "file" / "archive")}
    said = _refusal("--port", str(closed_port()), "--data-dir", str(tmp_path / "data"), **archive)
    assert "archive cannot be written: Not a directory" in said


def test_beyond_this_machine_it_does_not_listen_without_a_key_unless_told_to() -> None:
    assert "would be open to everybody" in _refusal("--host", "0.0.0.0")


def test_a_wrong_setting_is_named() -> None:
    assert "the setting port is wrong" in _refusal("--port", "70000")
    assert "the setting call_timeout_s is wrong" in _refusal(RILLFLOW_CALL_TIMEOUT_S="soon")


def test_a_plugin_that_cannot_be_loaded_keeps_the_server_from_starting(tmp_path: Path) -> None:
    said = _refusal(
        *("--port", str(closed_port()), "--data-dir", str(tmp_path)), RILLFLOW_PLUGINS="nope:X"
    )
    assert "plugin nope:X could not be loaded: No module named 'nope'" in said


def test_without_a_home_it_says_where_else_rays_token_may_come_from(tmp_path: Path) -> None:
    where = ("--port", str(closed_port()), "--data-dir", str(tmp_path))
    _, said = _last_words(*where, HOME="/proc/nobody")
    assert "Ray's token cannot be written" in said
    assert "set HOME to a folder that can be written, or RAY_AUTH_TOKEN" in said


def _name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()


def _listening_addresses(pid: int) -> set[str]:
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a connection that has just ended
            sockets.add(str(link.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].partition(":")[0])
    return found


def _proportional_mib(pid: int) -> float:
    """Return the memory of a process, nothing of one that has ended meanwhile."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    for line in lines:
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


@pytest.mark.long
def test_an_address_for_callbacks_that_does_not_answer_is_told(
    tmp_path: Path,
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    stack = OwnStack(tmp_path / "data", closed_port(), RILLFLOW_CALLBACK_HOST=url)
    try:
        stack.start()
        give_up = time.monotonic() + 2 * WAIT_S
        while not (told := _warned(stack)):
            assert time.monotonic() < give_up
            time.sleep(0.2)
        assert told == ["callbacks_unreachable"]
        with rillflow.Client(stack.base_url) as client:
            actors: Any = client.cluster()["actors"]
        assert {each.get("unreachable_callbacks") for each in actors if each["partitions"]} == {url}
    finally:
        stack.stop()


def _warned(stack: OwnStack) -> list[str]:
    answer = httpx.get(f"{stack.base_url}/readyz")
    assert answer.status_code == 200
    return [each["code"] for each in answer.json().get("warnings", [])]
