"""What a call of one workspace has left in a Ray worker says nothing in a call of another."""

import subprocess
import sys
from pathlib import Path
from typing import Final

FUNCTIONS: Final = """
import subprocess, sys, threading
import rillflow

turns = {name: (threading.Event(), threading.Event()) for name in ("first", "second", "third")}
children = []


def say(name):
    print(f"left behind says {name}", flush=True)
    print(f"left behind says {name} as an error", file=sys.stderr, flush=True)
    rillflow.progress(0.5, f"left behind reports {name}")


def wait(names):
    go, done = turns[names[0]]
    go.wait()
    say(names[0])
    follower = threading.Thread(target=wait, args=(names[1:],), daemon=True)
    if names[1:]:
        follower.start()
    done.set()


def leave():
    print("begun", flush=True)
    threading.Thread(target=wait, args=(list(turns),), daemon=True).start()
    return 1


def hear(name: str):
    go, done = turns[name]
    go.set()
    assert done.wait(60)
    print(f"own of {name}", flush=True)
    rillflow.progress(0.9, f"own of {name}")
    return 2


def own_threads():
    thread = threading.Thread(target=print, args=("of a thread of its own",))
    thread.start()
    thread.join()


def leave_process():
    print("left", flush=True)
    children.append(subprocess.Popen(["sleep", "600"], stderr=subprocess.DEVNULL))


def end_process():
    children[0].kill()
    children[0].wait()
"""
WORKER: Final = """
import os, sys
from ray._private.utils import open_log
from rillflow.ray_tasks import tasks
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.worker import FunctionCall

# As Ray's workers have them.
sys.stdout, sys.stderr = (open_log(number, unbuffered=True, closefd=False) for number in (1, 2))
reports = []
def called(workspace, function, fields=b"{}"):
    reports.clear()
    target = FunctionTarget("late", function)
    given = FunctionCall(target, fields, ("late",), (sys.argv[1],), 1000, workspace=workspace)
    done = tasks.called(given, lambda fraction, message, log: reports.append(message))
    assert done.error is None, done
    return done

def call(*given):
    called(*given)
    return [message for message in reports if message]

def log_of(*given):
    return "shown" if called(*given).log else "not shown"
"""


def run_worker(folder: Path, program: str) -> list[str]:
    """Run calls in a process of their own, and return the lines that it has printed."""
    (folder / "late.py").write_text(FUNCTIONS, encoding="utf-8")
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", WORKER + program, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout.splitlines()


def test_threads_that_were_left_neither_print_nor_report_for_another_workspace(
    tmp_path: Path,
) -> None:
    lines = run_worker(
        tmp_path,
        """
call("evil", "leave")
assert call("victim", "hear", b'{"name":"first"}') == ["own of first"]
assert call("other", "hear", b'{"name":"second"}') == ["own of second"]
assert call("evil", "hear", b'{"name":"third"}')[0] == "left behind reports third"
""",
    )
    assert lines == [
        "begun",
        "own of first",
        "own of second",
        "left behind says third",
        "left behind says third as an error",
        "own of third",
    ]


def test_threads_of_a_call_are_heard_whatever_was_called_before(tmp_path: Path) -> None:
    lines = run_worker(tmp_path, 'call("evil", "leave"); call("victim", "own_threads")')
    assert lines == ["begun", "of a thread of its own"]


def test_no_output_is_shown_while_a_process_of_another_workspace_may_print(tmp_path: Path) -> None:
    run_worker(
        tmp_path,
        """
from rillflow.ray_tasks import worker_log
worker_log._names, worker_log._node = lambda: ("out", ""), lambda: "node"
os.dup2(os.open(sys.argv[1] + "/out", os.O_CREAT | os.O_WRONLY), 1)
assert log_of("evil", "leave_process") == "shown"
assert log_of("evil", "own_threads") == "shown"
assert log_of("victim", "own_threads") == "not shown"
assert log_of("victim", "end_process") == "not shown"
assert log_of("victim", "own_threads") == "shown"
""",
    )
