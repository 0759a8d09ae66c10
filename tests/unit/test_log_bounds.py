"""The logs of a stack that runs for months are bounded, and places in them stay what they are."""

import os
from pathlib import Path
from typing import Final

from rillflow.ports.task_logs import LogPart, LogText, read_part
from serve.stack.local_ray import LocalRay
from serve.stack.log_bounds import MOST_ENDED, SERVE, bound_logs

WORKER: Final = "0a" * 28
LINE: Final = b"a line of a function\n"
KEPT_BYTES: Final = 256 * 1024


def written(folder: Path, pid: int, content: bytes = LINE, at_s: int = 0) -> list[Path]:
    """Write the files of a worker."""
    files = [
        folder / f"worker-{WORKER}-01000000-{pid}.out",
        folder / f"worker-{WORKER}-01000000-{pid}.err",
        folder / f"worker-{WORKER}-01000000-{pid}.ends",
        folder / f"python-core-worker-{WORKER}_{pid}.log",
    ]
    for file in files:
        file.write_bytes(content)
        os.utime(file, (at_s, at_s))
    return files


def test_the_files_of_the_latest_workers_that_have_ended_are_kept_and_of_all_that_run(
    tmp_path: Path,
) -> None:
    others = [tmp_path / name for name in ("raylet.out", "worker-1.err", "events")]
    for other in others:
        other.touch()
    files = {pid: written(tmp_path, pid, at_s=pid) for pid in range(1, 7)}
    bound_logs(tmp_path, most_ended=2, runs=lambda pid: pid == 1)
    kept = {pid for pid in files if all(file.exists() for file in files[pid])}
    assert kept == {1, 5, 6}
    assert set(tmp_path.iterdir()) == {*others, *files[1], *files[5], *files[6]}


def test_what_workers_have_left_takes_so_much_together(tmp_path: Path) -> None:
    files = {pid: written(tmp_path, pid, b"x" * 100_000, at_s=pid) for pid in range(1, 7)}
    bound_logs(tmp_path, most_ended_bytes=1_300_000, runs=lambda _: False)
    assert {pid for pid in files if files[pid][0].exists()} == {4, 5, 6}


def test_the_beginning_of_a_long_file_takes_no_room_and_places_in_it_stay(tmp_path: Path) -> None:
    [out, *_] = written(tmp_path, os.getpid(), LINE * 100_000)
    size = out.stat().st_size
    bound_logs(tmp_path, most_bytes=2 * KEPT_BYTES)
    assert out.stat().st_size == size
    assert KEPT_BYTES <= out.stat().st_blocks * 512 <= KEPT_BYTES + 8192
    with out.open("ab") as file:
        file.write(LINE)
    last = read_part(str(tmp_path), LogPart(out.name, size, size + len(LINE)))
    assert last == LogText("out", LINE.decode(), is_cut=False)
    first = read_part(str(tmp_path), LogPart(out.name, 0, 10 * len(LINE)))
    assert first == LogText("out", "", is_cut=True)
    partly = read_part(str(tmp_path), LogPart(out.name, size - KEPT_BYTES - 9000, size))
    assert partly is not None
    assert partly.is_cut
    assert partly.text.endswith(LINE.decode())
    assert "\0" not in partly.text


def test_logs_of_other_processes_of_ray_and_of_serve_are_shortened_and_none_is_removed(
    tmp_path: Path,
) -> None:
    (tmp_path / SERVE).mkdir()
    logs = [tmp_path / "gcs_server.out", tmp_path / SERVE / "controller_7.log"]
    for log in logs:
        log.write_bytes(LINE * 100_000)
    bound_logs(tmp_path, most_ended=0, most_bytes=2 * KEPT_BYTES)
    for log in logs:
        assert log.stat().st_blocks * 512 <= KEPT_BYTES + 8192
        assert log.read_bytes().endswith(LINE)


def test_a_short_file_is_left_as_it_is(tmp_path: Path) -> None:
    [out, *_] = written(tmp_path, os.getpid())
    bound_logs(tmp_path)
    assert out.read_bytes() == LINE


def test_a_folder_that_is_gone_holds_nothing_up(tmp_path: Path) -> None:
    bound_logs(tmp_path / "nowhere")


def test_a_stack_bounds_its_logs_while_it_runs(tmp_path: Path) -> None:
    gone = [4_194_305 + number for number in range(MOST_ENDED + 1)]  # beyond any pid of Linux
    for at, pid in enumerate(gone):
        written(tmp_path, pid, at_s=at)
    ray = LocalRay(tmp_path, tmp_path, agent_port=1, dashboard=False)
    ray.tend()
    left = {file.name.rpartition("-")[2] for file in tmp_path.glob("worker-*.out")}
    assert len(left) == MOST_ENDED
    assert f"{gone[0]}.out" not in left
