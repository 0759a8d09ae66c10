"""A server stops at the first signal; the second one, or the time of a failed start, ends it."""

import os
import signal
import subprocess
import sys
import time
from typing import Final

import pytest

LIMIT_S: Final = 60.0
PROGRAM: Final = """
import os, signal, sys, threading, time
from rillflow.cli.commands.serving import _serve
from rillflow.cli.visible import say
from rillflow.errors import StackError
from rillflow.settings import Settings

START, STOP = sys.argv[1:]
# What ends by itself is waited for, however busy the machine is.
END_S = 0.2 if STOP == "hangs" else 60.0


def hang():
    # As a Ray does that is not there: Python runs no handler of a signal meanwhile.
    lock = threading.Lock()
    lock.acquire()
    while True:
        try:
            lock.acquire()
        except BaseException:
            pass


class Stack:
    def start(self):
        if START == "fails":
            raise StackError("Ray does not start")
        if START == "hangs":
            say("starting")
            hang()
        return {"url": "", "ray_address": "", "logs_dir": "", "dashboard_url": ""}

    def run_until(self, stopped):
        if START == "set twice":
            with stopped._cond:  # as in set(), which the first signal has called
                signal.raise_signal(signal.SIGINT)
        stopped.wait()

    def stop(self, exit_code):
        say("ending")
        if STOP == "hangs":
            hang()


_serve(Stack(), Settings(), None, end_s=END_S)
"""


def started(start: str, stop: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, start, stop],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def read_until(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        if word in line:
            return
    pytest.fail(f"it ended without {word}")


def signalled_until_it_ends(child: subprocess.Popen[str], number: int) -> str:
    """Repeat a signal, as an impatient user does; return what was said since."""
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        child.send_signal(number)
        try:
            return child.communicate(timeout=0.1)[0]
        except subprocess.TimeoutExpired:
            continue
    child.kill()
    return child.communicate()[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("start", "until"), [("works", "Ctrl-C stops it"), ("hangs", "starting")])
def test_a_second_signal_ends_what_neither_starts_nor_stops(
    start: str, until: str, number: int
) -> None:
    child = started(start, "hangs")
    read_until(child, until)
    said = signalled_until_it_ends(child, number)
    assert child.returncode == 130
    assert "ended at once" in said


def test_a_start_that_fails_is_ended_when_its_end_takes_too_long() -> None:
    child = started("fails", "hangs")
    said, _ = child.communicate(timeout=LIMIT_S)
    assert child.returncode == 1
    assert "it does not stop, and is ended" in said


def test_a_start_that_fails_tells_its_error_where_its_end_is_quick() -> None:
    child = started("fails", "works")
    said, _ = child.communicate(timeout=LIMIT_S)
    assert child.returncode == 1
    assert "StackError: Ray does not start" in said
    assert "is ended" not in said


def test_a_signal_that_comes_while_the_first_is_handled_holds_up_nothing() -> None:
    child = started("set twice", "works")
    said, _ = child.communicate(timeout=LIMIT_S)
    assert "stopped; accepted executions go on" in said


def test_one_signal_stops_a_server_and_is_waited_for() -> None:
    child = started("works", "works")
    read_until(child, "Ctrl-C stops it")
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=LIMIT_S)
    assert "stopped; accepted executions go on" in said
    assert "ended at once" not in said
