"""``rillflow functions serve`` serves an application, and ends the calls under way at SIGTERM."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.private_apis.uvicorn_server.server import possible_connections
from tests.unit.commands import run

WAIT_S: Final = 60
IDLE: Final = 1_100
MODULE: Final = """
import time
from pathlib import Path

from rillflow.functions import Functions, Limits

app = Functions(limits=Limits(drain_s=DRAIN_S))
HERE = Path(__file__).parent


@app.function
def film(frames: int) -> int:
    (HERE / "begun").touch()
    while not (HERE / "may_end").exists():
        time.sleep(0.02)
    return frames
"""


@contextmanager
def callbacks() -> Iterator[tuple[str, list[Any]]]:
    """A callback route in a thread, and the bodies that it has taken."""
    taken: list[Any] = []

    class Route(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Route)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        port = server.server_address[1]
        yield f"http://127.0.0.1:{port}/flow/trigger.json?execution_id=e&task_name=t", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(folder: Path, drain_s: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command, and the port on which it has said that it listens."""
    file = folder / "films.py"
    file.write_text(MODULE.replace("DRAIN_S", str(drain_s)), encoding="utf-8")
    command = [sys.executable, "-m", "rillflow.cli", "functions", "serve", str(file)]
    child = subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        said = re.fullmatch(
            r"functions at http://127\.0\.0\.1:(\d+): film\n", child.stdout.readline()
        )
        assert said is not None
        yield child, int(said[1])
    finally:
        child.kill()
        child.communicate()


def post(port: int, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    connection.request("POST", path, b'{"frames": 3}', headers)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def _begun(folder: Path, child: subprocess.Popen[str]) -> None:
    while not (folder / "begun").exists():
        assert child.poll() is None


def test_a_call_under_way_ends_and_its_result_is_delivered_before_the_server_ends(
    tmp_path: Path,
) -> None:
    with callbacks() as (url, taken), serving(tmp_path, 30) as (child, port):
        headers = {"X-Mode": "async", "X-Callback-Url": url}
        assert post(port, "/film", headers) == 202
        assert post(port, "/film", {"Host": "elsewhere.example"}) == 403
        _begun(tmp_path, child)
        child.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        (tmp_path / "may_end").touch()
        assert child.wait(WAIT_S) in (0, -signal.SIGTERM)
        assert taken == [{"data": 3}]


def test_a_function_that_does_not_end_is_given_up_and_counted(tmp_path: Path) -> None:
    with callbacks() as (url, taken), serving(tmp_path, 0.5) as (child, port):
        assert post(port, "/film", {"X-Mode": "async", "X-Callback-Url": url}) == 202
        _begun(tmp_path, child)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=WAIT_S)
        assert child.returncode in (1, -signal.SIGTERM)
        assert "calls_given_up calls=1" in said
        assert taken == []


def test_idle_connections_leave_room_for_callers(tmp_path: Path) -> None:
    possible_connections(IDLE)
    with serving(tmp_path, 0.5) as (_, port), ExitStack() as idle:
        for _ in range(IDLE):
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))
        assert post(port, "/nowhere", {}) == 404


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_this_name", "No module named"),
        ("app = 1", "app is no rillflow.functions.Functions"),
        ("other = 1", "has no attribute 'app'"),
    ],
)
def test_what_is_no_application_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / f"module_{abs(hash(text))}.py"
    file.write_text(text, encoding="utf-8")
    code, _, errors = run("functions", "serve", str(file))
    assert code == 2
    assert said in " ".join(re.sub(r"[│╭╰─╮╯]", " ", errors).split())


def test_signed_calls_need_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "signed_films.py"
    file.write_text(MODULE.replace("DRAIN_S", "1"), encoding="utf-8")
    code, _, errors = run("functions", "serve", str(file), "--signed")
    assert code == 2
    assert "RILLFLOW_AUTH_SECRET" in errors


def test_serving_functions_does_without_ray_and_the_rest_of_the_server() -> None:
    others = ("ray", "fastapi", "starlette", "asyncpg", "cachetools", "fsspec", "jsonschema")
    script = (
        "import rillflow.functions.serving, sys; "
        f"print([name for name in {others} if name in sys.modules])"
    )
    ended = subprocess.run(  # noqa: S603 - a script of this file
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_a_port_that_is_taken_is_told_as_by_the_server(tmp_path: Path) -> None:
    file = tmp_path / "taken_films.py"
    file.write_text(MODULE.replace("DRAIN_S", "1"), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, errors = run("functions", "serve", str(file), "--port", str(port))
    wanted = f"error: port {port} of 127.0.0.1 is in use; choose another one with --port\n"
    assert (code, errors) == (1, wanted)


def test_a_host_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / "nowhere_films.py"
    file.write_text(MODULE.replace("DRAIN_S", "1"), encoding="utf-8")
    host = "no.such.host.invalid"
    code, _, errors = run("functions", "serve", str(file), "--port", "0", "--host", host)
    assert code == 1
    assert errors.startswith(f"error: cannot listen on port 0 of {host}: ")


def test_a_file_of_functions_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, _, errors = run("functions", "serve", str(tmp_path / "nosuch.py"))
    said = " ".join(re.sub(r"[│╭╰─╮╯]", " ", errors).split())
    assert (code, "there is no file" in said, "Errno" in said) == (2, True, False)


def test_a_gateway_on_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    file = tmp_path / "no_functions.py"
    file.write_text("FUNCTIONS = {}", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, told = run("gateway", "--functions", str(file), "--port", str(port))
    wanted = f"error: port {port} of 127.0.0.1 is in use; choose another one with --port\n"
    assert (code, told) == (1, wanted)
