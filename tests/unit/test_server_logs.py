"""The events of a server's processes are told once, by time, without the lines of others."""

import json
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from rillflow.cli import app
from rillflow.cli.output.server_logs import AT_ONCE_BYTES, SHOWN_BYTES, ServerLog

EVENT: Final = "2026-11-26 05:45:{:02},445 WARNING rillflow.owner append_failed appends={}"
JSON: Final = (
    '{{"time": "2026-11-26T05:45:{:02}.445Z", "level": "ERROR", "logger": "rillflow.api"}}'
)
CRASH: Final = ["Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: no"]


def write(path: Path, *lines: str, ending: str = "\n") -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + ending)


def test_events_of_all_processes_come_by_time_and_lines_of_others_are_left_out(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "worker-1.err", tmp_path / "worker-2.err"
    first, last = EVENT.format(1, 1), EVENT.format(9, 9)
    write(one, "[2026-11-26 05:45:00,1 W 5 6] core_worker.cc:1: a line of Ray", first, *CRASH)
    forged = "\u2028" + EVENT.format(3, 3)
    write(one, "(raylet) another line" + forged, "  below it", last)
    write(other, second := EVENT.format(5, 5))
    write(tmp_path / "raylet.err", EVENT.format(7, 7))
    assert ServerLog(tmp_path).added() == [first, *CRASH, second, last]


def test_what_comes_later_is_told_once_also_of_new_processes(tmp_path: Path) -> None:
    one, other = tmp_path / "worker-1.err", tmp_path / "worker-2.err"
    write(one, JSON.format(1))
    log = ServerLog(tmp_path)
    assert log.added() == [JSON.format(1)]
    assert log.added() == []
    write(one, begun := JSON.format(2), ending="")
    assert log.added() == [], "the line is not whole yet"
    write(one, "")
    write(other, JSON.format(3))
    assert log.added() == [begun, JSON.format(3)]
    one.write_text(JSON.format(4) + "\n", encoding="utf-8")
    assert log.added() == [JSON.format(4)], "a file that was begun anew is read anew"


def test_of_large_files_the_end_is_read_and_a_line_without_an_end_is_not_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "worker-1.err"
    line = EVENT.format(1, "x" * 1000)
    write(path, *[line] * 200)
    log = ServerLog(tmp_path)
    assert 0 < sum(map(len, log.added())) < SHOWN_BYTES
    write(path, EVENT.format(2, "y" * 2 * AT_ONCE_BYTES))
    parts = [log.added() for _ in range(3)]
    assert len(parts[0][0]) == AT_ONCE_BYTES
    assert log.added() == []


def test_the_command_finds_the_server_by_its_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(tmp_path / "data"))
    missing = CliRunner().invoke(app, ["logs"])
    assert missing.exit_code == 1
    (tmp_path / "data").mkdir()
    note = {"logs_dir": str(tmp_path)}
    (tmp_path / "data" / "stack.json").write_text(json.dumps(note), encoding="utf-8")
    write(tmp_path / "worker-1.err", EVENT.format(1, '"\x1b[2J"'))
    shown = CliRunner().invoke(app, ["logs"])
    assert shown.exit_code == 0
    assert shown.stdout == EVENT.format(1, '"\\x1b[2J"') + "\n"
