"""Starts, watches and ends the fork server of a stack.

Used by `private_apis/ray_core/node.py` and `serve/stack/local_ray.py`.
"""

import importlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rillflow.backoff import Backoff
from rillflow.private_apis.assumption import Assumption, missing, not_in_source
from rillflow.private_apis.forking.fork_server import GAVE_UP
from rillflow.private_apis.forking.forked_worker import READY, SOCKET, worker_program

WORKER_PROGRAM: Final = str(Path(__file__).with_name("forked_worker.py"))
"""What Ray runs for a worker."""

FORKS: Final = sys.platform == "linux"
"""A copy of a process that has used the frameworks of macOS does not work."""

PAUSE_S: Final = 10.0
"""After its first start until it may be started again; each time twice as long as before."""
LONGEST_PAUSE_S: Final = 600.0
IMPORTS_S: Final = 120.0
"""How long its imports may take, on a machine that is busy with other things."""

FIRST_JOB: Final = "01000000"
"""Ray's name of what the first driver starts, which is the stack; others have other names."""

PRELOADED: Final = (
    # What Ray itself imports in every worker, some of it later than at its start.
    "ray._common.pydantic_compat",
    "ray._private.arrow_serialization",
    "ray._private.workers.default_worker",
    # Serve, and what it imports when it has begun.
    "ray.serve._private.controller",
    "ray.serve._private.haproxy",
    "ray.serve._private.proxy",
    "ray.serve._private.replica",
    "anyio._backends._asyncio",
    "jinja2",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    # Rillflow.
    "rillflow.actors.dispatcher_actor",
    "rillflow.actors.execution_actor",
    "rillflow.stores.sqlite.store",
    "serve.deployment",
    "rillflow.private_apis.ray_serve.shortcut",
)
"""The modules that workers share."""

log = logging.getLogger("rillflow.fork_server")


class ForkServer:
    """The process from which workers are forked; without it they start as Ray starts them.

    Args:
        run_dir: Where its socket is; workers find it there.
        raylet_pid: The process that starts workers, whose environment they inherit.
        log: File for what it has to say.
        pause_s: How long after its first start it is started again at the earliest.
        imports_s: How long its imports may take.
    """

    def __init__(
        self,
        run_dir: Path,
        raylet_pid: int,
        log: Path,
        *,
        pause_s: float = PAUSE_S,
        imports_s: float = IMPORTS_S,
    ) -> None:
        self._backoff = Backoff(pause_s, LONGEST_PAUSE_S)
        self._socket, self._ready = run_dir / SOCKET, run_dir / READY
        self._log = log
        self._environment = {
            **os.environ,
            # What Ray adds for each worker.
            "RAY_JOB_ID": FIRST_JOB,
            "RAY_LD_PRELOAD_ON_WORKERS": "0",
            "RAY_RAYLET_PID": str(raylet_pid),
            "SPT_NOENV": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._again_s = 0.0
        self._imports_s = imports_s
        self._imported_s = 0.0

    def start(self) -> None:
        """Start it; workers that are wanted before it is ready wait for it.

        Raises:
            OSError: It cannot be started.
        """
        now_s = time.monotonic()
        self._again_s = now_s + self._backoff.next_s()
        self._imported_s = now_s + self._imports_s
        self._socket.unlink(missing_ok=True)
        self._ready.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, self._log.open("ab") as log:
            listener.bind(str(self._socket))
            listener.listen(socket.SOMAXCONN)
            program = str(Path(__file__).with_name("fork_server.py"))
            words = [str(os.getpid()), str(listener.fileno()), worker_program(), *PRELOADED]
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, program, *words],
                env=self._environment,
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def tend(self) -> None:
        """Start it again if it has ended or stands still, unless another one would give up."""
        if self._process is None:
            return
        ended = self._process.poll()
        if ended == GAVE_UP:
            log.warning("no_forked_workers: they start more slowly; %s says why", self._log)
            self._process = None
        elif ended is not None or not self._socket.exists() or self._stands_still():
            self._start_again()

    def _stands_still(self) -> bool:
        return time.monotonic() >= self._imported_s and not self._ready.exists()

    def _start_again(self) -> None:
        if time.monotonic() < self._again_s:
            return
        log.warning("fork_server_lost: it is started again")
        self._end()
        try:
            self.start()
        except OSError as error:
            log.warning("fork_server_not_started: %s", error)

    def stop(self) -> None:
        """End it, and let its workers be."""
        self._end()
        self._process = None

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _differences() -> Iterator[str]:
    if not Path(worker_program()).is_file():
        yield f"there is no {worker_program()}"
    yield from missing(importlib.import_module("ray.actor"), "ActorClassID")
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield f"{name} cannot be imported: {error}"
    services = importlib.import_module("ray._private.services")
    yield from not_in_source(services, "worker_path")


RELIES_ON: Final = (
    Assumption(
        library="ray",
        relies_on="a node starts its workers by the program worker_path with Ray's own arguments;"
        " RAY_JOB_ID, RAY_LD_PRELOAD_ON_WORKERS, RAY_RAYLET_PID and SPT_NOENV are all that it adds"
        " to their environment; ray.actor.ActorClassID draws the ids of classes at their import",
        seen_with="2.60.0",
        if_it_changes="silent: workers start as Ray starts them, a second slower each"
        " (tests/cluster/test_forked_workers.py notices); loud where copies would draw the same"
        " ids: the fork server gives up and says so in the log",
        differences=_differences,
    ),
)
