"""The program that a stack's Ray runs for each worker: asks the fork server for a fork.

If there is no fork server, if it does not answer, or if the worker needs another environment, this
process becomes the worker itself, as in Ray.

It runs before each worker, so it imports very little.

Used by `private_apis/forking/start.py`.
"""

import importlib.util
import json
import os
import signal
import socket
import sys

MARK = "RILLFLOW_RUN_DIR"
SOCKET = "fork.sock"
PATIENCE_S = 10.0
"""How long the fork server may take, its imports included, before Ray's own way is faster."""
LENGTH_BYTES = 8
OOM_SCORE = "/proc/self/oom_score_adj"
PROGRAM = ("_private", "workers", "default_worker.py")


def main(arguments: list[str], patience_s: float = PATIENCE_S) -> None:
    """Have the fork server make a worker, or become it."""
    if not is_forked(arguments, patience_s):
        os.execv(sys.executable, [sys.executable, worker_program(), *arguments])  # noqa: S606 - Ray's own


def is_forked(arguments: list[str], patience_s: float = PATIENCE_S) -> bool:
    """Tell whether the fork server has made the worker.

    A worker is never made twice: a copy says that it is there, and goes on only when it has
    heard that it may. It hears nothing when it comes too late.
    """
    try:
        request = json.dumps(describe(arguments)).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience_s)
            connection.connect(socket_path())
            length = len(request).to_bytes(LENGTH_BYTES, "big")
            socket.send_fds(connection, [length], [0, 1, 2])
            connection.sendall(request)
            if connection.recv(1) != b"1":
                return False
            connection.sendall(b"1")
            return True
    except TimeoutError:
        give_up_the_server()
        return False
    except (OSError, KeyError):
        return False


def socket_path() -> str:
    """Return where the fork server listens.

    Raises:
        KeyError: This is no process of a stack.
    """
    return os.path.join(os.environ[MARK], SOCKET)  # noqa: PTH118 - pathlib costs 10 ms


def give_up_the_server() -> None:
    """Have no other worker wait for a fork server that stands still; it will be replaced."""
    try:
        os.unlink(socket_path())  # noqa: PTH108 - the same
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
