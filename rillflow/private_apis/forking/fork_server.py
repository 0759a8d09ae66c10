"""The fork server: a program beside Ray's processes that forks the workers of a stack.

A worker that Ray starts imports Ray, Serve and Rillflow for a second or more, and keeps all of it
in its own memory. This program imports them once. Each worker is then a fork of this process, made
in milliseconds, which shares the pages that it does not write.

Its arguments are the process with which it ends, the number of an open listening socket, the
program of Ray's workers, and the modules to import. It forks only for workers whose environment
equals its own, because the modules have read it; other requests are closed, and these workers start
as in Ray.

A fork must not share threads, or the state from which Ray draws ids. If the imports leave any of
these, nothing is forked.

Used by `private_apis/forking/start.py`.
"""

import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

PR_SET_PDEATHSIG = 1
STANDARD_STREAMS = 3
LENGTH_BYTES = 8
MOST_BYTES = 16 * 1024 * 1024
"""More than an environment and arguments can have."""
PATIENCE_S = 5.0
"""How long a request may take to come, for which all others wait, and an agreement."""
AUTHKEY_BYTES = 32
READY = "fork.ready"
"""What ``forked_worker.py`` looks for, whose names are not imported here: both run as programs."""
GAVE_UP = 3
"""The exit code of one after which another would give up as well."""
TASKS = "/proc/self/task"
OOM_SCORE = "/proc/self/oom_score_adj"
THREADS_OF_NUMPY = "OPENBLAS_NUM_THREADS"


class Request(NamedTuple):
    """What ``forked_worker.py`` asks for: a worker as it would have been itself.

    ``niceness``, ``oom_score`` and ``blocked`` are what Ray gave to the process that asks: how far
    it gives way to others, how readily the kernel ends it when memory is short, and the numbers
    of the signals that it does not hear.
    """

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    niceness: int
    oom_score: str
    blocked: list[int]


def main(parent: int, listener_fd: int, program: str, modules: Iterable[str]) -> None:
    """Import modules; then become each worker that is asked for, one copy for each."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # copies are free of that
    if os.getppid() != parent:
        sys.exit()
    # `rillflow up` may have more files than its processes when it starts this again.
    importlib.import_module("rillflow.private_apis.forking.forked_worker").have_few_files()
    environment = dict(os.environ)
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(program).parent)  # as in the worker's own process
    try:
        preload(modules)
        refuse_threads()
        refuse_equal_ids()
    except Exception:  # noqa: BLE001 - whatever it is, it would be so again
        give_up(traceback.format_exc())
    with socket.socket(fileno=listener_fd) as listener:
        Path(listener.getsockname()).with_name(READY).touch()
        request = await_request(listener, environment)
    os.chdir(request.folder)
    sys.argv = [program, *request.arguments]
    runpy.run_path(program, run_name="__main__")


def preload(modules: Iterable[str]) -> None:
    """Import modules, and keep what they make out of the collector's way."""
    gc.disable()
    # NumPy, which Serve imports where it is installed, would start threads.
    threads_wanted = os.environ.get(THREADS_OF_NUMPY)
    os.environ[THREADS_OF_NUMPY] = "1"
    # Serve's classes are given ids when they are imported, by what Ray draws all ids from.
    vars(importlib.import_module("ray.actor"))["ActorClassID"] = ClassIds
    importlib.import_module("rillflow.private_apis.ray_core.folders").keep_closed()
    for module in modules:
        importlib.import_module(module)
    if "ray.serve._private.haproxy" in sys.modules:
        importlib.import_module("rillflow.private_apis.haproxy.without_files").go_on_without_files()
    del os.environ[THREADS_OF_NUMPY]
    if threads_wanted is not None:
        os.environ[THREADS_OF_NUMPY] = threads_wanted
    gc.collect()
    gc.freeze()


class ClassIds:
    """Ray's ids of classes, drawn from the kernel, which leaves nothing behind here."""

    @staticmethod
    def from_random() -> Any:
        """Draw an id."""
        kind = importlib.import_module("ray").ActorClassID
        return kind(os.urandom(kind.size()))


def refuse_threads() -> None:
    """Give up if there is a second thread, which copies would be without."""
    threads = len(list(Path(TASKS).iterdir()))
    if threads > 1:
        give_up(f"{threads} threads run after the imports")


def refuse_equal_ids() -> None:
    """Give up if copies would draw the same ids from Ray, which are to be their own."""
    if draw_in_a_copy() == draw_in_a_copy():
        give_up("copies would draw the same ids")


def draw_in_a_copy() -> bytes:
    """Return the first id that a copy of this process draws."""
    reader, writer = os.pipe()
    copy = os.fork()
    if copy == 0:
        os.write(writer, importlib.import_module("ray").UniqueID.from_random().binary())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        drawn = file.read()
    os.waitpid(copy, 0)
    return drawn


def give_up(why: str) -> None:
    """End this process, which makes no copies, whatever threads it has."""
    tell(f"no worker is forked: {why}")
    os._exit(GAVE_UP)


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
            except Exception as error:  # noqa: BLE001 - whatever it is, it is one worker's
                tell(f"a request cannot be read: {error!r}")
                continue
            if request.environment == environment and fork() == 0:
                become_worker(request, connection, streams)
                return request


def receive(connection: socket.socket, opened: ExitStack) -> tuple[Request, list[int]]:
    """Read a request and the standard streams of whoever asks, which are closed in the end.

    Raises:
        OSError: The connection is broken, or silent.
        ValueError: The request is cut off, or too long.
        TypeError: It is no request.
    """
    head, streams, _, _ = socket.recv_fds(connection, LENGTH_BYTES, STANDARD_STREAMS)
    for stream in streams:
        opened.callback(os.close, stream)
    length = int.from_bytes(head, "big")
    if length > MOST_BYTES:
        raise ValueError(f"{length} bytes are announced")
    with connection.makefile("rb") as file:
        return Request(*json.loads(file.read(length))), streams


def fork() -> int:
    """Return 0 in a copy of this process; another number in this one, copied or not."""
    try:
        return os.fork()
    except OSError as error:
        tell(f"no worker can be forked: {error}")
        return -1


def become_worker(request: Request, connection: socket.socket, streams: list[int]) -> None:
    """Have this copy look as a process that Ray has started, once whoever asks has agreed.

    A copy ends here when whoever asked does not: it has become the worker itself.
    """
    try:
        connection.sendall(b"1")
        agreed = connection.recv(1) == b"1"
    except OSError:
        agreed = False
    if not agreed:
        tell("a copy came too late")
        os._exit(0)
    os.setpgid(0, 0)  # Ray ends the whole group of a worker that has died
    os.setpriority(os.PRIO_PROCESS, 0, request.niceness)
    with suppress(OSError):
        Path(OOM_SCORE).write_text(request.oom_score, encoding="ascii")
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, request.blocked)
    multiprocessing.current_process().authkey = os.urandom(AUTHKEY_BYTES)
    gc.enable()


def tell(text: str) -> None:
    """Write a line to the log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
