"""Ends what is left of a stack when its first process is gone, however that went.

A program, run beside the stack: it waits until its standard input closes, which the
kernel sees to, then kills every process that carries the stack's mark in its environment
and removes the stack's folder for sockets. Ray's own processes notice that they are
orphans too, but take up to a minute.

It lives as long as the stack, so it imports next to nothing.
"""

import os
import shutil
import signal
import sys

MARK = "RILLFLOW_RUN_DIR"
ROUNDS = 5
"""A process may start another one while it is looked for."""


def marked(run_dir: str) -> list[int]:
    """List the processes with this mark, without this one; none where there is no ``/proc``."""
    mark = f"{MARK}={run_dir}".encode()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208 - pathlib costs 3 MB
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123 - the same
                if mark in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return found


def reap(run_dir: str) -> None:
    """Kill what carries the mark, and remove the folder."""
    for _ in range(ROUNDS):
        left = marked(run_dir)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not left:
            break
    shutil.rmtree(run_dir, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    reap(sys.argv[1])
