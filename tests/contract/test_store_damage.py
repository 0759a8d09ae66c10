"""What is broken in the rows of one execution is told from a store that cannot be read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.errors import DamagedError, StoreError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Store
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores import open_store
from tests.contract.appends import id_of, submit
from tests.contract.tables import run_sql
from tests.loopback import GatedFunction, ManualClock
from tests.postgres_server import PostgresServer

LONG_S: Final = 20
LONG: Final = 20_000
"""What has so many bytes spills over to pages of its own, and is not yet a large value."""
NO_PAGE: Final = b"\x7f\xff\xff\xff"
FLOW: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - { name: one, category: function, pattern: task_sync, resourceName: "http://127.0.0.1:1/one" }
"""


@pytest.fixture
async def durable(durable_url: str) -> AsyncIterator[Store]:
    async for opened in _opened(durable_url):
        yield opened


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Store]:
    async for opened in _opened(sqlite_url):
        yield opened


async def _opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    await store.open()
    await store.append([submit(1), submit(2)])
    yield store
    await store.close()


async def the_first_is_damaged(store: Store, reason: str) -> None:
    """Look whether the first execution cannot be read for a reason, and the second one can."""
    for _ in range(2):
        with pytest.raises(DamagedError, match=f"{id_of(1)}: .*{reason}"):
            await store.load(id_of(1))
        assert await store.load(id_of(2)) is not None


def break_page(url: str) -> None:
    """Have a page that is full of one letter refer to a next one that does not exist."""
    path = Path(url.removeprefix("sqlite://"))
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18])
    [start, *_] = [
        start
        for start in range(0, len(data), size)
        if data[start + 4 : start + size] == b"Z" * (size - 4)
    ]
    data[start : start + 4] = NO_PAGE
    path.write_bytes(data)


async def test_a_broken_page_concerns_its_execution_only(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    await store.open()
    await store.append([submit(1, snapshot=b"Z" * LONG), submit(2)])
    await store.close()
    break_page(sqlite_url)
    await store.open()
    await the_first_is_damaged(store, "database disk image is malformed")
    await store.close()


async def test_a_text_that_is_none_concerns_its_execution_only(
    sqlite: Store, sqlite_url: str
) -> None:
    await run_sql(sqlite_url, "UPDATE executions SET status = CAST(x'5aff' AS TEXT) WHERE key = 1")
    await the_first_is_damaged(sqlite, "Could not decode to UTF-8 column 'status'$")


@pytest.mark.parametrize("cut", ["fe", "fec1", "fe93"])
async def test_a_record_that_cannot_be_decoded_concerns_its_execution_only(
    durable: Store, durable_url: str, cut: str
) -> None:
    value = f"x'{cut}'" if durable_url.startswith("sqlite:") else rf"'\x{cut}'::bytea"
    await run_sql(durable_url, f"UPDATE journal SET record = {value} WHERE execution = 1")  # noqa: S608 - a constant
    await the_first_is_damaged(durable, r"its rows cannot be decoded \(\w+\)")


@pytest.mark.parametrize("code", ["data_corrupted", "index_corrupted"])
async def test_damage_that_postgresql_reports_concerns_its_execution_only(
    postgres_server: PostgresServer, code: str
) -> None:
    url = postgres_server.new_database()
    async for store in _opened(url):
        for statement in (
            f"""CREATE FUNCTION torn(execution bigint, record bytea) RETURNS bytea AS $$ BEGIN
                IF execution = 1 THEN RAISE 'invalid page' USING ERRCODE = '{code}'; END IF;
                RETURN record; END $$ LANGUAGE plpgsql""",
            "ALTER TABLE journal RENAME TO pages",
            """CREATE VIEW journal AS
                SELECT execution, seq, torn(execution, record) AS record FROM pages""",
        ):
            await run_sql(url, statement)
        await the_first_is_damaged(store, "invalid page")


async def test_a_store_that_cannot_be_read_at_all_damages_nothing(
    durable: Store, durable_url: str
) -> None:
    await run_sql(durable_url, "ALTER TABLE journal RENAME TO elsewhere")
    with pytest.raises(StoreError) as caught:
        await durable.load(id_of(1))
    assert type(caught.value) is StoreError
    await run_sql(durable_url, "ALTER TABLE elsewhere RENAME TO journal")
    assert await durable.load(id_of(1)) is not None
    await durable.close()
    with pytest.raises(StoreError) as caught:
        await durable.load(id_of(1))
    assert type(caught.value) is StoreError


# -- what becomes of the other executions ----------------------------------------------


async def test_a_broken_page_holds_up_no_other_execution_after_a_restart(sqlite_url: str) -> None:
    store, function = open_store(sqlite_url), GatedFunction()
    await store.open()
    await add_descriptor(store, "shop", "order", "release", FLOW, at_ms=1)
    ids: list[ExecutionId] = []
    life = LocalExecutions(store=store, gateway=function, clock=SystemClock())
    await life.start()
    clock = ManualClock()
    submissions = Submissions(Settings(), store=store, executions=life, clock=clock)
    for number in range(8):
        data = b'{"text": "%s"}' % (b"Z" * (0 if number else LONG))
        ids.append(await submissions.submit("shop:order", data, Options()))
        clock.forward(1)  # Ids are in the order of their milliseconds.
    requests = [await function.called.get() for _ in ids]
    await life.stop()
    await store.close()
    # The first is what a start resumes first, too.
    assert ids == sorted(ids)
    break_page(sqlite_url)

    await store.open()
    life = LocalExecutions(store=store, gateway=function, clock=SystemClock())
    async with asyncio.timeout(LONG_S):
        await life.start()
        await life.host.recovered()
        # A dispatcher that was started again gets all that may be taken yet.
        assert await life.host.still_awaited(requests) == requests
        function.answers.set()
        # To find the second one's records, SQLite reads all of the record before them.
        for execution_id in ids[2:]:
            assert await life.wait(execution_id, LONG_S)
    await life.stop()
    await store.close()
