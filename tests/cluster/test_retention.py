"""A stack removes what ended long ago by itself, and writes it to the archive first."""

import asyncio
import json
import time
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.old_executions import OLD, counts
from tests.cluster.processes import LOOK_S, OwnStack
from tests.contract.appends import id_of

pytestmark = pytest.mark.cluster

PATIENCE_S: Final = 60.0


def test_what_ended_long_ago_is_archived_and_gone(stack: OwnStack, archive: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while (left := asyncio.run(counts(stack.data_dir))) != {"RUNNING": 1}:
        assert time.monotonic() < give_up, left
        time.sleep(LOOK_S)
    [file] = archive.iterdir()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["execution_id"] for line in lines] == [id_of(number) for number in OLD]
