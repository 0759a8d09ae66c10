"""The program that a stack's Ray runs for each worker: asks the fork server for a fork.

If there is no fork server, if it does not answer, or if the worker needs another environment, this
process becomes the worker itself, as in Ray.

It runs before each worker, so it imports very little.

Used by `private_apis/forking/start.py`.
"""

import importlib.util
import json
import os
import resource
import signal
import socket
import sys
import time

MARK = "RILLFLOW_RUN_DIR"
FEW_FILES = "RILLFLOW_FEW_FILES"
"""How many files a worker begins with, of a raylet that may have more."""
SOCKET = "fork.sock"
READY = "fork.ready"
"""A file beside the socket that the fork server makes once it has imported everything."""
PATIENCE_S = 10.0
"""How long the fork server may take once it has imported everything."""
IMPORTS_S = 40.0
"""How long its imports may take: Ray ends a worker that has not said a word after 60 s.

Until then no worker is faster by itself, since it would import the same on the same machine.
"""
LENGTH_BYTES = 8
OOM_SCORE = "/proc/self/oom_score_adj"
PROGRAM = ("_private", "workers", "default_worker.py")


def main(arguments: list[str], patience_s: float = PATIENCE_S) -> None:
    """Have the fork server make a worker, or become it."""
    if not is_forked(arguments, patience_s):
        have_few_files()
        os.execv(sys.executable, [sys.executable, worker_program(), *arguments])  # noqa: S606 - Ray's own


def have_few_files() -> None:
    """Have no more files than a process that has been forked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = int(os.environ.get(FEW_FILES, soft))
    if soft == resource.RLIM_INFINITY or soft > few:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))


def is_forked(
    arguments: list[str], patience_s: float = PATIENCE_S, imports_s: float = IMPORTS_S
) -> bool:
    """Tell whether the fork server has made the worker.

    A worker is never made twice: a copy says that it is there, and goes on only when it has
    heard that it may. It hears nothing when it comes too late. A fork server that is still
    importing is waited for, and left as it is; one that stands still later is given up.
    """
    try:
        request = json.dumps(describe(arguments)).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience_s)
            connection.connect(path_of(SOCKET))
            length = len(request).to_bytes(LENGTH_BYTES, "big")
            socket.send_fds(connection, [length], [0, 1, 2])
            connection.sendall(request)
            if answer(connection, imports_s) != b"1":
                return False
            connection.sendall(b"1")
            return True
    except TimeoutError:
        give_up_the_server()
        return False
    except (OSError, KeyError):
        return False


def answer(connection: socket.socket, imports_s: float) -> bytes:
    """Return what the fork server answers; nothing if it is still importing after ``imports_s``.

    Raises:
        OSError: The connection is broken.
        TimeoutError: The fork server has imported everything, and stands still.
    """
    give_up_s = time.monotonic() + imports_s
    while True:
        was_ready = os.path.exists(path_of(READY))  # noqa: PTH110 - the same
        try:
            return connection.recv(1)
        except TimeoutError:
            if was_ready:
                raise
            if time.monotonic() >= give_up_s:
                return b""


def path_of(name: str) -> str:
    """Return where a file of the fork server is.

    Raises:
        KeyError: This is no process of a stack.
    """
    return os.path.join(os.environ[MARK], name)  # noqa: PTH118 - pathlib costs 10 ms


def give_up_the_server() -> None:
    """Have no other worker wait for a fork server that stands still; it will be replaced."""
    try:
        os.unlink(path_of(SOCKET))  # noqa: PTH108 - the same
    except FileNotFoundError:
        return


def describe(arguments: list[str]) -> list[object]:
    """Return what is asked for: a worker with what this process has (see ``Request``)."""
    folder = os.getcwd()  # noqa: PTH109 - the same
    with open(OOM_SCORE, encoding="ascii") as file:  # noqa: PTH123 - the same
        oom_score = file.read().strip()
    blocked = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
    return [arguments, dict(os.environ), folder, os.nice(0), oom_score, blocked]


def worker_program() -> str:
    """Find the program of Ray's workers, without the second that importing Ray takes."""
    ray = importlib.util.find_spec("ray")
    if ray is None or not ray.submodule_search_locations:
        sys.exit("Ray is not installed here")
    return os.path.join(ray.submodule_search_locations[0], *PROGRAM)  # noqa: PTH118 - the same


if __name__ == "__main__":
    main(sys.argv[1:])
