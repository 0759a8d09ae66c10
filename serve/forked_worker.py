"""Starts a worker of Ray in a moment: the program that a stack's Ray runs for each of them.

It asks the fork server for the worker. Where there is none, or where the worker must have
another environment than the fork server, it becomes the worker itself, as Ray would have it.

It runs before each worker, so it imports next to nothing.
"""

import importlib.util
import json
import os
import socket
import sys

MARK = "RILLFLOW_RUN_DIR"
SOCKET = "fork.sock"
PROGRAM = ("_private", "workers", "default_worker.py")
LENGTH_BYTES = 8


def main(arguments: list[str]) -> None:
    """Have the fork server make a worker, or become it."""
    if not is_forked(arguments):
        os.execv(sys.executable, [sys.executable, worker_program(), *arguments])  # noqa: S606 - Ray's own


def is_forked(arguments: list[str]) -> bool:
    """Tell whether the fork server has made the worker, which tells by itself that it is there.

    So a worker is never made twice: the connection ends without a word only where there is
    no copy, or where it has died before it began.
    """
    try:
        folder = os.getcwd()  # noqa: PTH109 - pathlib costs 10 ms
        request = json.dumps([arguments, dict(os.environ), folder]).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(os.environ[MARK], SOCKET))  # noqa: PTH118 - the same
            length = len(request).to_bytes(LENGTH_BYTES, "big")
            socket.send_fds(connection, [length], [0, 1, 2])
            connection.sendall(request)
            return connection.recv(1) != b""
    except (OSError, KeyError):
        return False


def worker_program() -> str:
    """Find the program of Ray's workers, without the second that importing Ray takes."""
    ray = importlib.util.find_spec("ray")
    if ray is None or not ray.submodule_search_locations:
        sys.exit("Ray is not installed here")
    return os.path.join(ray.submodule_search_locations[0], *PROGRAM)  # noqa: PTH118 - the same


if __name__ == "__main__":
    main(sys.argv[1:])
