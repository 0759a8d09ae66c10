"""Logs of tasks are read a few at a time, workspaces in turn, those of this node without Ray."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from rillflow.actors.task_logs import OwnLogs, RayTaskLogs
from rillflow.errors import OverloadedError
from rillflow.ports.task_logs import LogPart, LogPlace, LogText
from rillflow.runtime.task_logs import AT_ONCE, MOST_WAITING, FairTaskLogs

NAME: Final = "worker-0a1b-01000000-123.out"
NODE: Final = "0a" * 28


class HeldLogs:
    """Logs that are read when they are told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.goes_on = asyncio.Event()

    async def read(self, place: LogPlace) -> list[LogText]:
        self.begun.append(place.node)
        await self.goes_on.wait()
        return []


async def test_who_reads_logs_without_an_end_leaves_turns_to_others_and_is_refused_more() -> None:
    held = HeldLogs()
    logs = FairTaskLogs(held)
    many, other = LogPlace("of many", []), LogPlace("of another", [])
    first = [asyncio.create_task(logs.read("many", many)) for _ in range(MOST_WAITING // 2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="many logs are waiting to be read") as error:
        await logs.read("many", many)
    assert error.value.http_status == 503
    second = asyncio.create_task(logs.read("other", other))
    await asyncio.sleep(0)
    assert held.begun == [many.node] * (AT_ONCE - 1) + [other.node]
    held.goes_on.set()
    assert await asyncio.gather(*first, second) == [[]] * (len(first) + 1)


async def test_a_log_of_this_node_is_read_without_ray(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("printed", encoding="utf-8")
    logs = RayTaskLogs(lambda: OwnLogs(NODE, str(tmp_path)))
    found = await logs.read(LogPlace(NODE, [LogPart(NAME, 0, 7), LogPart("secret", 0, 7)]))
    assert found == [LogText("out", "printed")]


async def test_no_more_parts_are_read_than_a_worker_has_files(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("printed", encoding="utf-8")
    logs = RayTaskLogs(lambda: OwnLogs(NODE, str(tmp_path)))
    found = await logs.read(LogPlace(NODE, [LogPart(NAME, 0, 7)] * 3))
    assert found == [LogText("out", "printed")] * 2


def test_a_process_that_is_no_worker_has_no_folder_of_logs() -> None:
    assert OwnLogs.folder_of(f"/x/{NAME}") == "/x"
    for path in ("/dev/pts/0", "pipe:[1]", f"/x/{NAME} (deleted)", "/x/mine.out", ""):
        assert OwnLogs.folder_of(path) is None
