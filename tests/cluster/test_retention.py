"""A stack removes what ended long ago by itself, and writes it to the archive first."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.ports.store import ExecutionFilter
from rillflow.stores import open_store
from tests.cluster.processes import LOOK_S, OwnStack
from tests.contract.appends import close, id_of, submit
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

OLD: Final = range(250)
PATIENCE_S: Final = 30.0


@pytest.fixture(name="data_dir")
def _data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(name="stack")
def _stack(tmp_path: Path, data_dir: Path) -> Iterator[OwnStack]:
    asyncio.run(_fill(data_dir))
    archive = str(tmp_path / "archive")
    stack = OwnStack(data_dir, closed_port(), RILLFLOW_ARCHIVE_DIR=archive)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def test_what_ended_long_ago_is_archived_and_gone(
    stack: OwnStack, tmp_path: Path, data_dir: Path
) -> None:
    del stack
    give_up = time.monotonic() + PATIENCE_S
    while (counts := asyncio.run(_counts(data_dir))) != {"RUNNING": 1}:
        assert time.monotonic() < give_up, counts
        time.sleep(LOOK_S)
    [file] = (tmp_path / "archive").iterdir()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["execution_id"] for line in lines] == [id_of(number) for number in OLD]


async def _fill(data_dir: Path) -> None:
    """Make a store with executions that ended in 1970, and one that goes on."""
    store = open_store(_url(data_dir))
    await store.open()
    for number in OLD:
        await store.append([submit(number), close(number, 2, "SUCCEED")])
    # In a partition that nobody owns, so that nobody tries to read it.
    await store.append([submit(1_000, partition=1_000)])
    await store.close()


async def _counts(data_dir: Path) -> dict[str, int]:
    store = open_store(_url(data_dir))
    await store.open()
    try:
        return await store.count_executions(ExecutionFilter())
    finally:
        await store.close()


def _url(data_dir: Path) -> str:
    return f"sqlite://{data_dir / 'rillflow.db'}"
