"""What a process handles stands in memory that outlives it, and that nobody else can reach."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from rillflow.core.events import CallbackReceived, CancelRequested, TimerFired
from rillflow.ids import new_execution_id
from rillflow.ports.executions import Delivery, Query
from rillflow.runtime.crashes import crash_history as handling
from rillflow.runtime.crashes.crash_history import (
    HandlingRecord,
    record_path,
    remove_records,
    step_of,
)

ID: Final = new_execution_id("shop", "order", at_ms=1, entropy=bytes(10))
OTHER: Final = new_execution_id("shop", "order", at_ms=2, entropy=bytes(10))
KILLED: Final = f"""
import os, signal, sys
from pathlib import Path
from rillflow.runtime.crashes.crash_history import HandlingRecord
record = HandlingRecord(Path(sys.argv[1]))
record.open()
record.begin("{ID}", "replay")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "owner"


def begun(path: Path) -> HandlingRecord:
    record = HandlingRecord(path)
    record.open()
    return record


def test_the_next_life_finds_what_a_killed_process_was_handling(path: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", KILLED, str(path)], check=False
    )
    assert done.returncode == -signal.SIGKILL
    [left] = HandlingRecord(path).left
    assert (left.execution_id, left.step) == (ID, "replay")
    again = HandlingRecord(path).left
    assert again == (left,), "what is not noted yet is found again"
    assert begun(path).left == (left,)
    assert HandlingRecord(path).left == ()


def test_what_was_done_leaves_nothing(path: Path) -> None:
    assert HandlingRecord(path).left == ()
    record = begun(path)
    record.begin(ID, "a long name of a step")
    record.begin(ID, "short")
    [left] = HandlingRecord(path).left
    assert left.step == "short"
    record.end()
    assert HandlingRecord(path).left == ()


def test_a_step_beside_the_others_has_a_place_of_its_own(path: Path) -> None:
    record = begun(path)
    record.begin_beside(OTHER, "replay")
    record.begin(ID, "short")
    assert [each.execution_id for each in HandlingRecord(path).left] == [ID, OTHER]
    record.end()
    assert [each.execution_id for each in HandlingRecord(path).left] == [OTHER]
    record.end_beside()
    assert HandlingRecord(path).left == ()


def test_each_life_has_a_name_of_its_own(path: Path) -> None:
    lives = set()
    for _ in range(3):
        begun(path).begin(ID, "replay")
        [left] = HandlingRecord(path).left
        lives.add(left.life)
    assert len(lives) == 3


def test_a_life_that_was_taken_for_dead_writes_where_nobody_reads(path: Path) -> None:
    earlier = begun(path)
    later = begun(path)
    earlier.begin(ID, "replay")
    assert HandlingRecord(path).left == ()
    later.begin(ID, "commands")
    earlier.end()
    [left] = HandlingRecord(path).left
    assert left.step == "commands"


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\xfe", b"life no-id step\0", b"x" * 9000, ID.encode()]
)
def test_what_is_no_record_counts_against_nobody(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    assert HandlingRecord(path).left == ()


def test_long_names_break_nothing(path: Path) -> None:
    record = begun(path)
    record.begin(ID, "\N{PILE OF POO}" * 5000)
    assert {left.execution_id for left in HandlingRecord(path).left} <= {ID}
    record.begin_beside(ID, "replay")
    record.begin(ID, "\N{PILE OF POO}" * 5000)
    assert HandlingRecord(path).left[-1].step == "replay", "the places do not overlap"
    record.end_beside()
    record.begin("x" * 9000, "step")
    assert HandlingRecord(path).left == ()
    record.begin_beside("x" * 9000, "step")
    assert HandlingRecord(path).left == ()


def test_without_a_place_the_work_goes_on(tmp_path: Path) -> None:
    for record in (HandlingRecord(), HandlingRecord(tmp_path / "missing" / "owner")):
        record.open()
        record.begin(ID, "replay")
        record.end()
        record.remove()


def test_the_folder_is_this_users_alone_and_names_no_password() -> None:
    url = "postgresql://me:secret@host:5432/database"
    path = record_path(url, "test-of-handling", "rillflow:execution:0")
    assert path is not None
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    others = [
        record_path(url.replace("secret", "other"), "test-of-handling", "rillflow:execution:0"),
        record_path(url, "another", "rillflow:execution:0"),
        record_path(url.replace("database", "other"), "test-of-handling", "rillflow:execution:0"),
    ]
    assert [path == other for other in others] == [True, False, False]
    begun(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for each in (url, url.replace("database", "other")):
        for namespace in ("test-of-handling", "another"):
            remove_records(each, namespace)
    assert not path.parent.exists()


def test_a_folder_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    for mode in (0o777, 0o750):
        folder = tmp_path / str(mode)
        folder.mkdir()
        folder.chmod(mode)
        assert not handling._is_ours(folder)
    link = tmp_path / "link"
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    link.symlink_to(own)
    assert not handling._is_ours(link)
    assert handling._is_ours(own)
    assert os.geteuid() == own.stat().st_uid


def test_a_step_has_one_name_however_often_it_is_repeated() -> None:
    def step(event: CallbackReceived | CancelRequested | TimerFired) -> str:
        return step_of(Delivery(execution_id=ID, event=event))

    first = CallbackReceived(at_ms=1, task="A", output=b'{"x":1}')
    assert step(first) == step(CallbackReceived(at_ms=2, task="A")) == "CallbackReceived A"
    assert step(CallbackReceived(at_ms=1, task="B")) != step(first)
    assert step(CancelRequested(at_ms=1)) == "CancelRequested"
    assert step(TimerFired(at_ms=1, kind="dag", task="", due_ms=1)) == "TimerFired"
    assert step_of(Query(execution_id=ID, kind="brief")) == "view brief"
