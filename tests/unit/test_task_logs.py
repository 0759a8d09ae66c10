"""Of the files of a worker, what one function has printed is read, and no other file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from rillflow.ports.task_logs import MOST_BYTES, LogPart, LogText, read_part

NAME: Final = "worker-0a1b-01000000-123.out"
NOTES: Final = "worker-0a1b-01000000-123.ends"


def read(folder: Path, part: LogPart) -> LogText | None:
    return read_part(str(folder), part)


def test_the_lines_of_one_function_are_read_without_those_of_ray(tmp_path: Path) -> None:
    before, own, after = "of another\n", ":task_name:m:f\nof this\n", "of the next\n"
    (tmp_path / NAME).write_text(before + own + after, encoding="utf-8")
    begin = len(before)
    part = LogPart(NAME, begin, begin + len(own))
    assert read(tmp_path, part) == LogText("out", "of this\n")


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"a" * MOST_BYTES + b"b" * MOST_BYTES)
    whole = LogPart(NAME, 0, 2 * MOST_BYTES)
    assert read(tmp_path, whole) == LogText("out", "b" * MOST_BYTES, is_cut=True)
    found = read(tmp_path, LogPart(NAME, 1, MOST_BYTES + 1))
    assert found == LogText("out", "a" * (MOST_BYTES - 1) + "b")


def test_whatever_was_written_is_text(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff\x00")
    assert read(tmp_path, LogPart(NAME, 0, 2)) == LogText("out", "\ufffd\0")


@pytest.mark.parametrize(
    "name", ["secret", "../secret", "/etc/passwd", "raylet.out", f"../{NAME}", f"{NAME}\n", ""]
)
def test_a_file_that_is_none_of_a_worker_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / NAME).write_text("secret", encoding="utf-8")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    assert read(tmp_path / "logs", LogPart(name, 0)) is None


def test_what_is_gone_or_shorter_than_it_was_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path, LogPart(NAME, 0)) is None
    (tmp_path / NAME).write_text("x", encoding="utf-8")
    assert read(tmp_path, LogPart(NAME, 100, 200)) == LogText("out", "")
    assert read(tmp_path, LogPart(NAME, -1)) is None


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, _link])
@pytest.mark.parametrize("name", [NAME, NOTES])
def test_what_a_function_has_put_in_the_place_of_a_file_is_not_read(
    tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    """A pipe would hold whoever opens it for ever, as nobody writes to it."""
    (tmp_path / NAME).write_text("printed", encoding="utf-8")
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    expected = None if name == NAME else LogText("out", "")
    assert read(tmp_path, LogPart(NAME, 0, call=1)) == expected


def test_lines_that_look_like_those_of_ray_are_left_out_wherever_they_begin(tmp_path: Path) -> None:
    lines = ":job_id:01000000\none\r\n:task_name:f\ntwo :actor_name: three\n:actor_name:A"
    (tmp_path / NAME).write_bytes(lines.encode())
    found = read(tmp_path, LogPart(NAME, 0, len(lines)))
    assert found == LogText("out", "one\r\ntwo :actor_name: three\n")
