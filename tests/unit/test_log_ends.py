"""At the place of a call that told no end, nothing is read that later calls of its worker print."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from rillflow.ports.log_ends import MOST, forget, note
from rillflow.ports.task_logs import LogPart, LogPlace, LogText, read_part

NAME: Final = "worker-0a1b-01000000-123.out"
ERRORS: Final = "worker-0a1b-01000000-123.err"
NOTES: Final = "worker-0a1b-01000000-123.ends"
JOB: Final = f"job-driver-rillflow-{'0a' * 16}-0.log"
FUNCTIONS: Final = """
import sys
import rillflow


class Interrupted:
    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def flush(self):
        sys.stdout = self.stream
        raise KeyboardInterrupt


def interrupted():
    print("begun", flush=True)
    rillflow.progress(0.5)
    print("going on", flush=True)
    raise KeyboardInterrupt


def interrupted_again():
    sys.stdout.write("begun\\n")
    sys.stdout.flush()
    rillflow.progress(0.5)
    sys.stdout = Interrupted(sys.stdout)
    raise KeyboardInterrupt


def says(text: str):
    print(text, flush=True)
    print(text, file=sys.stderr, flush=True)


def reports(text: str):
    says(text)
    rillflow.progress(0.5)
    says(text)
"""
WORKER: Final = """
import sys
from contextlib import suppress
from ray._private.utils import open_log
from rillflow.ports.task_logs import LogPart
from rillflow.ray_tasks import tasks, worker_log
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.worker import FunctionCall

# As Ray's workers have them.
sys.stdout, sys.stderr = (open_log(number, unbuffered=True, closefd=False) for number in (1, 2))
worker_log._node = lambda: "node"
worker_log.FIRST_LOOK_S = 3600.0  # places are told with reports, and not by the time
places = open(sys.argv[2], "a", buffering=1)


def call(workspace, function, fields=b"{}"):
    target = FunctionTarget("printing", function)
    given = FunctionCall(target, fields, ("printing",), (sys.argv[1],), 1000, workspace=workspace)
    done = tasks.called(given, lambda fraction, message, log: print(log or "null", file=places))
    assert done.error is None, done
    print(done.log or "null", file=places)
"""


def run_worker(folder: Path, program: str) -> list[Any]:
    """Run calls in a process with the files of a worker, and return the places that were told."""
    (folder / "printing.py").write_text(FUNCTIONS, encoding="utf-8")
    places = folder / "places"
    with (folder / NAME).open("ab") as out, (folder / ERRORS).open("ab") as errors:
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", WORKER + program, str(folder), str(places)],
            stdout=out,
            stderr=errors,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 0, (folder / ERRORS).read_text(encoding="utf-8")
    return [json.loads(line) for line in places.read_text(encoding="utf-8").splitlines()]


def read(folder: Path, place: Any) -> list[LogText | None]:
    parts = msgspec.convert(place, LogPlace).parts
    return [read_part(str(folder), part) for part in parts]


@pytest.mark.parametrize(
    ("function", "printed"),
    [("interrupted", "begun\ngoing on\n"), ("interrupted_again", "begun\n")],
)
def test_what_others_print_after_an_interrupted_call_is_not_read_at_its_place(
    tmp_path: Path, function: str, printed: str
) -> None:
    """Also if a second interruption keeps it from telling where it has ended."""
    told = run_worker(
        tmp_path,
        f"""
with suppress(KeyboardInterrupt):
    call("evil", "{function}")
for number in range(3):
    call("victim", "says", b'{{"text":"secret"}}')
""",
    )
    assert read(tmp_path, told[0]) == [LogText("out", printed), LogText("err", "")]
    assert read(tmp_path, told[1]) == [LogText("out", "secret\n"), LogText("err", "secret\n")]


def test_each_of_two_calls_that_told_no_end_shows_its_own_output(tmp_path: Path) -> None:
    program = """
for text in (b'{"text":"first"}', b'{"text":"second"}'):
    call("a", "reports", text)
"""
    told = run_worker(tmp_path, program)
    for place, text in zip(told, ["first", "first", "second", "second"], strict=True):
        assert read(tmp_path, place) == [
            LogText("out", f"{text}\n" * 2),
            LogText("err", f"{text}\n" * 2),
        ]
    assert [set(part) for part in told[1]["parts"]] == [{"name", "begin", "end"}] * 2


def test_a_place_that_is_told_after_the_end_has_one(tmp_path: Path) -> None:
    told = run_worker(
        tmp_path,
        """
first = worker_log.WorkerLog()
print("first", flush=True)
second = worker_log.WorkerLog()
print("second", flush=True)
print(first.so_far(), file=places)
""",
    )
    assert read(tmp_path, told[0]) == [LogText("out", "first\n")]
    assert not (tmp_path / NOTES).exists()


def test_nothing_is_told_of_a_running_call_whose_end_cannot_be_noted(tmp_path: Path) -> None:
    (tmp_path / NOTES).mkdir()
    told = run_worker(tmp_path, "call('a', 'reports', b'{\"text\":\"text\"}')")
    assert told[0] is None
    assert read(tmp_path, told[1]) == [LogText("out", "text\n" * 2), LogText("err", "text\n" * 2)]


def test_an_end_that_cannot_be_noted_leaves_nothing_to_read(tmp_path: Path) -> None:
    told = run_worker(
        tmp_path,
        """
def refuse(*_):
    raise OSError

log = worker_log.WorkerLog()
print("text", flush=True)
print(log.so_far(), file=places)
worker_log.note = refuse
call("victim", "says", b'{"text":"secret"}')
""",
    )
    assert read(tmp_path, told[0]) == [LogText("out", ""), LogText("err", "")]


def test_while_a_call_runs_all_that_is_there_is_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("of another\nof this\n", encoding="utf-8")
    part = LogPart(NAME, 11, call=MOST + 5)
    note(str(tmp_path), NAME, MOST + 5, (11, 0), None)
    assert read_part(str(tmp_path), part) == LogText("out", "of this\n")
    with (tmp_path / NAME).open("a", encoding="utf-8") as file:
        file.write("more\nof the next\n")
    note(str(tmp_path), NAME, MOST + 5, (11, 0), (24, 0))
    assert read_part(str(tmp_path), part) == LogText("out", "of this\nmore\n")


def test_without_a_note_of_the_call_nothing_is_read(tmp_path: Path) -> None:
    for name in (NAME, ERRORS):
        (tmp_path / name).write_text("of another\n", encoding="utf-8")
    note(str(tmp_path), NAME, 5, (0, 3), None)
    for part in (
        LogPart(NAME, 0),  # as an earlier release has told it
        LogPart(NAME, 0, call=4),
        LogPart(NAME, 0, call=5 + MOST),
        LogPart(NAME, 1, call=5),
        LogPart(ERRORS, 0, call=5),
        LogPart(NAME, 0, call=-5),
    ):
        found = read_part(str(tmp_path), part)
        assert found is not None
        assert found.text == "", part
    assert read_part(str(tmp_path), LogPart(ERRORS, 3, call=5)) == LogText("err", "another\n")
    note(str(tmp_path), NAME, 5 + MOST, (0, 3), None)  # the latest calls are noted
    assert read_part(str(tmp_path), LogPart(ERRORS, 3, call=5)) == LogText("err", "")
    forget(str(tmp_path), NAME)
    assert read_part(str(tmp_path), LogPart(NAME, 0, call=5 + MOST)) == LogText("out", "")


def test_a_job_has_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / JOB).write_text("of the job\n", encoding="utf-8")
    assert read_part(str(tmp_path), LogPart(JOB, 0)) == LogText("out", "of the job\n")
