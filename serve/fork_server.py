"""Forks the workers of a stack: run as a program, beside Ray's own processes.

A worker that Ray starts imports Ray, Serve and Rillflow for a second or more, and keeps all
of it in memory for itself. This program imports them once. Each worker is then a copy of
this process, made in milliseconds, which shares the pages that it does not write.

Its arguments are the number of an open socket that listens, the program of Ray's workers,
and the modules to import. It makes copies for workers whose environment is its own, to the
last variable, since the modules have read that; others hear nothing, and start as Ray would.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

STANDARD_STREAMS = 3
LENGTH_BYTES = 8
PATIENCE_S = 5.0
"""How long a request may take to come; all others wait."""
TASKS = "/proc/self/task"
THREADS_OF_NUMPY = "OPENBLAS_NUM_THREADS"


class Request(NamedTuple):
    """What ``forked_worker.py`` asks for: a worker as it would have been itself."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str


def main(listener_fd: int, program: str, modules: Iterable[str]) -> None:
    """Import modules; then become each worker that is asked for, one copy for each.

    Raises:
        SystemExit: A module has started a thread, which a copy would be without.
    """
    environment = dict(os.environ)
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(program)  # noqa: PTH120 - as in the worker's own process
    preload(modules)
    with socket.socket(fileno=listener_fd) as listener:
        request = await_request(listener, environment)
    os.chdir(request.folder)
    sys.argv = [program, *request.arguments]
    runpy.run_path(program, run_name="__main__")


def preload(modules: Iterable[str]) -> None:
    """Import modules, and keep them out of the collector's way.

    Raises:
        SystemExit: A module has started a thread.
    """
    gc.disable()
    # NumPy, which Serve imports where it is installed, would start threads.
    threads_wanted = os.environ.get(THREADS_OF_NUMPY)
    os.environ[THREADS_OF_NUMPY] = "1"
    for module in modules:
        importlib.import_module(module)
    del os.environ[THREADS_OF_NUMPY]
    if threads_wanted is not None:
        os.environ[THREADS_OF_NUMPY] = threads_wanted
    threads = len(os.listdir(TASKS))  # noqa: PTH208 - a number is all that is wanted
    if threads > 1:
        sys.exit(f"{threads} threads run after the imports, so no worker can be forked")
    gc.collect()
    gc.freeze()


def await_request(listener: socket.socket, environment: Mapping[str, str]) -> Request:
    """Return in a copy of this process, once for each request, and never in this one.

    The copy says so on the connection; where there is none, the connection just ends.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that copies that ended leave nothing
    while True:
        with ExitStack() as opened:
            connection = opened.enter_context(listener.accept()[0])
            connection.settimeout(PATIENCE_S)
            try:
                request, streams = receive(connection, opened)
            except (OSError, ValueError, TypeError) as error:
                _tell(f"a request was cut off: {error}")
                continue
            if request.environment == environment and fork() == 0:
                become_worker(connection, streams)
                return request


def receive(connection: socket.socket, opened: ExitStack) -> tuple[Request, list[int]]:
    """Read a request and the standard streams of whoever asks, which are closed in the end.

    Raises:
        OSError: The connection is broken, or silent.
        ValueError: The request is cut off.
        TypeError: The same.
    """
    head, streams, _, _ = socket.recv_fds(connection, LENGTH_BYTES, STANDARD_STREAMS)
    for stream in streams:
        opened.callback(os.close, stream)
    with connection.makefile("rb") as file:
        request = Request(*json.loads(file.read(int.from_bytes(head, "big"))))
    return request, streams


def fork() -> int:
    """Return 0 in a copy of this process; another number in this one, copied or not."""
    try:
        return os.fork()
    except OSError as error:
        _tell(f"no worker can be forked: {error}")
        return -1


def become_worker(connection: socket.socket, streams: list[int]) -> None:
    """Have this copy look as a process that Ray has started, and say that it is there."""
    os.setpgid(0, 0)  # Ray ends the whole group of a worker that has died
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.enable()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    connection.sendall(b"1")


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
