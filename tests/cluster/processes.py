"""Processes that cluster tests start, look at, and end by their own ids."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from rillflow.actors.names import dedicated_actor_name
from rillflow.ids import is_execution_id
from rillflow.ray_certificates import variables_for

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 240.0
END_S: Final = 120.0
LOOK_S: Final = 0.1
"""Between two looks at something; each takes processor time, which what is looked at needs."""
TOO_BUSY: Final = "The current node timed out during startup"
"""What Ray says where its first process took half a minute, which no setting makes longer."""
LAST_WORDS: Final = 1_000
LONG_WORDS: Final = 8_000


@contextmanager
def announced(*command: str, **environment: str) -> Iterator[str]:
    """Run a Python process that prints a line once it answers, and yield that line."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=_environment(environment),
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def function_gateway(functions: Path, **environment: str) -> Iterator[str]:
    """Run the OpenFaaS stand-in with the functions of a file, and yield its address."""
    module = ("-m", "rillflow.testing.openfaas", "--quiet")
    command = (*module, "--port", "0", "--functions", str(functions))
    with announced(*command, **environment) as line:
        yield line.partition(" at ")[2].partition(": ")[0]


@contextmanager
def function_server(functions: Path, **environment: str) -> Iterator[str]:
    """Serve the functions of a file by the command line, and yield their address."""
    command = ("-m", "rillflow.cli", "functions", "serve", "--quiet", "--port", "0")
    with announced(*command, str(functions), **environment) as line:
        yield line.partition(" at ")[2].partition(": ")[0]


def install(project: Path, folder: Path) -> None:
    """Install a package of this repository into a folder, without the network."""
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target")
    command = [sys.executable, "-m", "pip", "install", *options, str(folder), str(project)]
    subprocess.run(command, check=True, cwd=folder)


class OwnStack:
    """A stack, ``rillflow up`` as its users start it, that one test may kill and start again."""

    def __init__(self, data_dir: Path, port: int, *options: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.base_url = f"http://127.0.0.1:{port}"
        self.log = data_dir.with_suffix(".log")
        where = ("--port", str(port), "--data-dir", str(data_dir))
        self._command = [sys.executable, "-m", "rillflow.cli", "up", *where, *options]
        self.trust: ssl.SSLContext | bool = True
        """Who vouches for it, where it has a certificate."""
        self.umask = -1
        """What its files are not open to at first; -1 is as here."""
        self.environment = _environment(environment)
        self._folder = ROOT
        self._process: subprocess.Popen[bytes] | None = None

    def use_installation(self, python: Path, folder: Path) -> None:
        """Run what is installed for another Python, in a folder outside the repository."""
        self._command[0] = str(python)
        self._folder = folder

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Have it start while something else is done."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self.environment,
                umask=self.umask,
            )

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        give_up = time.monotonic() + START_S
        with httpx.Client(base_url=self.base_url, trust_env=False, verify=self.trust) as http:
            while not _is_ready(http):
                if not self.runs:
                    self._begin_again()
                assert time.monotonic() < give_up, self._told(f"is not ready after {START_S} s")
                time.sleep(LOOK_S)

    def _begin_again(self) -> None:
        """Start it once more if it has ended since Ray's own processes took too long to start."""
        said = self.log.read_text(encoding="utf-8")
        assert self._process is not None
        ended = f"has ended with {self._process.returncode} before it was ready"
        assert TOO_BUSY in said[-LAST_WORDS:], self._told(ended)
        self.begin()

    def _told(self, what: str) -> str:
        """Say what is wrong with the stack, and what it has said itself."""
        said = self.log.read_text(encoding="utf-8")
        return f"the stack at {self.base_url} {what}; the end of {self.log}:\n{said[-LONG_WORDS:]}"

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Id of the process that was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def ray_address(self) -> str:
        """Where a driver joins the stack's Ray."""
        return ray_address(self.data_dir)

    @property
    def ray_environment(self) -> dict[str, str]:
        """With what a driver joins it that is no script of Rillflow's own."""
        joins = {"RAY_AUTH_MODE": "token", **variables_for(self.ray_address)}
        return {**self.environment, **joins}

    def wait(self) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        assert self._process is not None
        return self._process.wait(END_S)

    def kill(self) -> None:
        """Kill the stack and everything that it has started, as a power cut would."""
        assert self._process is not None
        kill(self.pid, *descendants(self.pid))
        self._process.wait()

    def kill_front_process(self) -> None:
        """Kill only the process that was started, and wait until the others are gone as well."""
        assert self._process is not None
        others = descendants(self.pid)
        kill(self.pid)
        self._process.wait()
        wait_until_gone(*others)

    def stop(self, by: signal.Signals = signal.SIGINT) -> None:
        """End it as Ctrl-C does, or by another signal, if it runs."""
        if self._process is not None and self.runs:
            others = descendants(self.pid)
            self._process.send_signal(by)
            self._process.wait(END_S)
            wait_until_gone(*others)

    def wait_until_ended(self, others: Sequence[int]) -> None:
        """Wait for its end, and for that of other processes, without telling it to end."""
        assert self._process is not None
        self._process.wait(END_S)
        wait_until_gone(*others)


class RayDriver:
    """A driver on a stack's Ray (``ray_driver.py``), in a process of its own."""

    def __init__(self, address: str, namespace: str = "rillflow") -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ray_driver.py")), address, namespace],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**_environment({}), **variables_for(address)},
        )
        assert self._read() == "joined"

    @property
    def pid(self) -> int:
        """Id of its process."""
        return self._process.pid

    def actors(self) -> list[str]:
        """Names of the stack's actors."""
        names: list[str] = json.loads(self._ask("actors"))
        return names

    def has(self, name: str) -> bool:
        """Tell whether there is an actor of this name, or of this dedicated execution."""
        return _actor_of(name) in self.actors()

    def facts(self, name: str) -> dict[str, Any] | None:
        """Ask an actor, or that of an execution, who it is; None when there is none."""
        facts: dict[str, Any] | None = json.loads(self._ask(f"facts {_actor_of(name)}"))
        return facts

    def hot(self, name: str) -> int:
        """Return how many executions an actor, or that of an execution, has in memory."""
        hot: int = json.loads(self._ask(f"hot {_actor_of(name)}"))
        return hot

    def remove(self, name: str) -> None:
        """End an actor for good, as nobody should."""
        self._ask(f"remove {_actor_of(name)}")

    def exports(self) -> int:
        """Return how many functions and classes Ray keeps."""
        exports: int = json.loads(self._ask("exports"))
        return exports

    def read_logs(self, times: int) -> tuple[list[str], int, str]:
        """Read a log by a Ray task so often.

        Returns:
            What was read; by how many the exports have grown after the first; and what is said of
            a node that there is not.
        """
        texts, grown, said = json.loads(self._ask(f"logs {times}"))
        return texts, grown, said

    def wait_until_there(self, name: str) -> None:
        """Wait until there is an actor of this name."""
        give_up = time.monotonic() + END_S
        while not self.has(name):
            assert time.monotonic() < give_up, f"there is no {name}"
            time.sleep(LOOK_S)

    def wait_until_gone(self, name: str) -> None:
        """Wait until there is no actor of this name."""
        give_up = time.monotonic() + END_S
        while self.has(name):
            assert time.monotonic() < give_up, f"{name} is still there"
            time.sleep(LOOK_S)

    def close(self) -> None:
        """Leave the cluster."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def ray_address(data_dir: Path) -> str:
    """Return where a driver joins the Ray of the stack on this folder."""
    return noted(data_dir, "ray_address")


def noted(data_dir: Path, fact: str) -> str:
    """Return what a stack has noted about itself in its folder."""
    note = json.loads((data_dir / "stack.json").read_text(encoding="utf-8"))
    return str(note[fact])


def descendants(pid: int) -> list[int]:
    """List the processes that a process has started, and those that they have, and so on."""
    parents = {each: _status(each)[1] for each in _processes()}
    found = [pid]
    for parent in found:
        found += [each for each, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def workers(pid: int, name: str) -> list[int]:
    """List the Ray workers below a process that show this name, such as ``ExecutionActor``."""
    return [each for each in descendants(pid) if _title(each).startswith(f"ray::{name}")]


def proxies(pid: int) -> list[int]:
    """List the HAProxy processes below a process."""
    return [each for each in descendants(pid) if "haproxy.cfg" in _title(each)]


def fork_servers(pid: int) -> list[int]:
    """List the fork servers below a process."""
    return [each for each in descendants(pid) if "fork_server.py" in _title(each)]


def resident_bytes(pid: int) -> int:
    """Return how much memory a process occupies."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def kill(*pids: int) -> None:
    """Kill processes that this test run has started."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_until_gone(*pids: int) -> None:
    """Wait until processes have ended."""
    give_up = time.monotonic() + END_S
    while left := [pid for pid in pids if _status(pid)[0] not in "ZX"]:
        assert time.monotonic() < give_up, [_title(pid) for pid in left]
        time.sleep(LOOK_S)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _status(pid: int) -> tuple[str, int]:
    """Return the state of a process, X when there is none, and its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    state, parent = stat.rpartition(")")[2].split()[:2]
    return state, int(parent)


def _title(pid: int) -> str:
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return title.replace(b"\0", b" ").decode(errors="replace")


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def _actor_of(name: str) -> str:
    return dedicated_actor_name(name) if is_execution_id(name) else name
