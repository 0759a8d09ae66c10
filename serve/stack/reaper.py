"""Kills the remaining processes of a stack when its first process has ended for any reason.

A program that runs beside the stack. It waits until its standard input closes, which the kernel
does at the end of the first process. Then it kills every process of the stack and removes the
stack's folder for sockets. Ray's own processes notice their parent's end too, but take up to a
minute.

A process belongs to the stack if its environment has the stack's mark. Ray's processes write their
titles there, perhaps over the mark; they are recognized by the title together with an open file in
the folder of the stack's logs, whose path comes by standard input. The reaper lives as long as the
stack, so it imports very little.

Used by `serve/stack/standalone.py`.
"""

import os
import shutil
import signal
import sys
import time

MARK = "RILLFLOW_RUN_DIR"
TITLE = "ray::"
PAUSE_S = 0.05
ROUNDS = 20
"""A process may start another one while processes are listed."""


def belonging(run_dir: str, logs_dir: str) -> list[int]:
    """List the processes of a stack, without this one; none if there is no ``/proc``."""
    mark = f"{MARK}={run_dir}".encode()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208 - pathlib costs 3 MB
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            if _is_marked(name, mark) or (logs_dir and _writes_logs(name, logs_dir)):
                found.append(int(name))
        except OSError:
            continue
    return found


def _is_marked(pid: str, mark: bytes) -> bool:
    with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - pathlib costs 3 MB
        return mark in file.read().split(b"\0")


def _writes_logs(pid: str, logs_dir: str) -> bool:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - the same
        if not file.read().startswith(TITLE):
            return False
    files = f"/proc/{pid}/fd"
    links = (os.readlink(f"{files}/{number}") for number in os.listdir(files))  # noqa: PTH115, PTH208 - the same
    return any(link.startswith(logs_dir + "/") for link in links)


def reap(run_dir: str, logs_dir: str) -> None:
    """Kill the processes of a stack, and remove its folder for sockets."""
    for _ in range(ROUNDS):
        left = belonging(run_dir, logs_dir)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not left:
            break
        time.sleep(PAUSE_S)
    shutil.rmtree(run_dir, ignore_errors=True)


if __name__ == "__main__":
    reap(sys.argv[1], sys.stdin.read().strip())
