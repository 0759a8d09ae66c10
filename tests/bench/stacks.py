"""The stack and the functions of a measurement, as processes, and what they use."""

import asyncio
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from tests.bench import workloads
from tests.cluster.processes import OwnStack, announced, descendants
from tests.loopback import closed_port
from tests.postgres_server import PostgresServer

HERE = Path(__file__).parent
STORE = "RILLFLOW_STORE"


class Scene(NamedTuple):
    """A running stack with the definitions of all jobs, and its functions.

    ``seconds`` is how long each measurement of a rate takes; ``full`` asks for the long
    form of measurements that have one.
    """

    stack: OwnStack
    functions_url: str
    up_s: float
    seconds: float
    full: bool

    @property
    def base(self) -> str:
        """Address of the HTTP API."""
        return self.stack.base_url

    def cpu_s(self) -> float:
        """Return the processor time that all processes of the stack have used."""
        return sum(self.cpu_s_by_process().values())

    def cpu_s_by_process(self) -> dict[str, float]:
        """Return the same for each kind of process, by what it calls itself."""
        spent: defaultdict[str, float] = defaultdict(float)
        for pid in (self.stack.pid, *descendants(self.stack.pid)):
            spent[program_of(pid)] += cpu_s(pid)
        return dict(spent)

    def memory_bytes(self) -> int:
        """Return the memory of all processes of the stack; shared pages count once."""
        return sum(map(_memory_bytes, (self.stack.pid, *descendants(self.stack.pid))))

    def ended(self, job: str) -> int:
        """Return how many executions of a job have succeeded."""
        query = f"business=bench&feature={job}&status=succeed&pageSize=1"
        with urlopen(f"{self.base}/flow/bg/get_execution_ids.json?{query}") as response:  # noqa: S310 - our own process
            found: int = json.load(response)["total"]
        return found

    def notes(self, *, forget: bool = False) -> dict[str, Any]:
        """Return what the functions have noted since they last forgot."""
        method = "DELETE" if forget else "GET"
        with urlopen(Request(f"{self.functions_url}/notes", method=method)) as response:  # noqa: S310 - our own process
            found: dict[str, Any] = json.load(response)
        return found


@contextmanager
def functions() -> Iterator[str]:
    """Run the functions and yield their address."""
    with announced(str(HERE / "function_server.py"), "0") as line:
        yield f"http://{line.split()[1]}"


@contextmanager
def store_of(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the environment of a stack; ``postgres`` as its store becomes a server of its own."""
    if environment.get(STORE) != "postgres":
        yield dict(environment)
        return
    server = PostgresServer()
    try:
        yield {**environment, STORE: server.new_database()}
    finally:
        server.stop()


@contextmanager
def scene(functions_url: str, *, seconds: float, full: bool, **environment: str) -> Iterator[Scene]:
    """Run a stack of its own with an empty store; its processes have this environment too."""
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        stack = OwnStack(Path(folder) / "data", closed_port(), **environment)
        begun = time.monotonic()
        try:
            stack.start()
            up_s = time.monotonic() - begun
            asyncio.run(workloads.add_all(stack.base_url, functions_url))
            yield Scene(stack, functions_url, up_s, seconds, full)
        finally:
            stack.stop()


def program_of(pid: int) -> str:
    """Return what a process calls itself; ``gone`` when it has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "gone"
    first = words[0].decode(errors="replace")
    # Ray's workers write a title over their command line.
    return first.split()[0] if first.startswith("ray::") else Path(first).name or "kernel"


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in s; 0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_bytes(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    sizes = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
    return int(sizes[0]) * 1024 if sizes else 0
