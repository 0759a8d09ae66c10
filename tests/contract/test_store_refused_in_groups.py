"""An append that is refused costs the others of its group nothing, whatever it is refused for.

Whoever has a key of one workspace can send a thousand submissions of which all but one are refused.
The number of statements of a group does not depend on how many of its appends are.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from rillflow.errors import ConflictError, FencedError, QuotaError, StoreError
from rillflow.ports.storage.store import Append
from rillflow.stores import open_store
from rillflow.stores.postgres.writer import PostgresWriter
from rillflow.stores.sqlite.writer import SqliteWriter
from tests.contract.appends import PARTITION, follow, id_of, submit
from tests.postgres_server import PostgresServer

OTHER_PARTITION: Final = PARTITION + 1
MOST_STATEMENTS: Final = 20
"""Those that the driver sends once to learn the types of the tables are among them."""
BLOCKED: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
UNWRITABLE: Final = "\ud800"
"""A text that no store can write, and of which a writer knows nothing before."""


class TracedWriter(SqliteWriter):
    """A writer to a SQLite file that notes its statements."""

    def __init__(self, path: Path, statements: list[str]) -> None:
        super().__init__(path)
        self._statements = statements

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with super()._transaction() as connection:
            connection.set_trace_callback(self._statements.append)
            yield connection


class Group:
    """Appends that one writer commits as one group, and the statements that this took."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statements: list[str] = []

    async def append(self, *appends: Append) -> list[StoreError | None]:
        """Return why each was refused, None for those that were written."""
        self.statements.clear()
        if self.url.startswith("sqlite:"):
            return await self._in_sqlite(appends)
        return await self._in_postgres(appends)

    async def _in_sqlite(self, appends: Sequence[Append]) -> list[StoreError | None]:
        writer = TracedWriter(Path(self.url.removeprefix("sqlite://")), self.statements)
        written = [asyncio.ensure_future(writer.append([each])) for each in appends]
        await asyncio.sleep(0)  # all of them are handed in before the writer takes any
        writer.start()
        try:
            return await asyncio.gather(*written, return_exceptions=True)  # type: ignore[return-value]
        finally:
            await asyncio.to_thread(writer.stop)

    async def _in_postgres(self, appends: Sequence[Append]) -> list[StoreError | None]:
        writer = PostgresWriter(self.url)
        connection = await writer.connect()
        connection.add_query_logger(lambda found: self.statements.append(found.query))
        try:
            written = [writer.append([each]) for each in appends]
            return await asyncio.gather(*written, return_exceptions=True)  # type: ignore[return-value]
        finally:
            await writer.stop()


async def _prepared(url: str) -> Group:
    """Return the group of a store with one execution, and a partition that has been taken."""
    store = open_store(url)
    await store.open()
    await store.take_scopes([OTHER_PARTITION])
    await store.append([submit(1, idempotency_key="taken", request_digest="d")])
    await store.close()
    return Group(url)


@pytest.fixture
async def group(durable_url: str) -> Group:
    return await _prepared(durable_url)


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


def _keyed(number: int, key: str, business: str = "shop") -> Append:
    return submit(number, business=business, idempotency_key=key, request_digest="d")


def _kinds(outcomes: Sequence[object]) -> list[type]:
    return [type(each) for each in outcomes]


REFUSED: Final[dict[str, tuple[type, Callable[[int], Append]]]] = {
    "a key that an execution has": (ConflictError, lambda number: _keyed(number, "taken")),
    "a key of another one of the group": (ConflictError, lambda number: _keyed(number, "own")),
    "an id that an execution has": (ConflictError, lambda _: submit(1)),
    "an execution that there is not": (ConflictError, lambda number: follow(number, 2, b"x")),
    "records that do not follow": (ConflictError, lambda _: follow(1, 7, b"x")),
    "a partition that has another owner": (
        FencedError,
        lambda number: submit(number, partition=OTHER_PARTITION),
    ),
    "too many sub-flows": (
        QuotaError,
        lambda number: submit(number, ancestors=(id_of(1),), max_descendants=0),
    ),
}


@pytest.mark.parametrize("many", [1, 60])
@pytest.mark.parametrize("reason", REFUSED)
async def test_a_group_takes_as_few_statements_however_many_are_refused(
    group: Group, reason: str, many: int
) -> None:
    kind, refused = REFUSED[reason]
    sent = [refused(number) for number in range(100, 100 + many)]
    outcomes = await group.append(_keyed(2, "own"), submit(3, business="other"), *sent)
    assert _kinds(outcomes) == [type(None), type(None), *[kind] * many]
    assert len(group.statements) <= MOST_STATEMENTS, group.statements


async def test_what_a_writer_knows_of_others_stays_when_a_key_is_taken(url: str) -> None:
    """Whoever sends such keys does not make the next appends of others take more statements."""
    group = await _prepared(url)
    writer = PostgresWriter(url)
    (await writer.connect()).add_query_logger(lambda found: group.statements.append(found.query))
    await writer.append([submit(2)])
    with pytest.raises(ConflictError):
        await writer.append([_keyed(3, "taken")])
    group.statements.clear()
    await writer.append([follow(2, 2, b"next")])
    await writer.stop()
    assert len(group.statements) == 1, group.statements


async def test_a_key_that_another_writer_takes_meanwhile_refuses_only_who_sent_it(
    url: str, other: asyncpg.Connection
) -> None:
    group = await _prepared(url)
    taking = other.transaction()
    await taking.start()
    await other.execute("UPDATE executions SET idempotency_key = 'raced'")
    raced = [_keyed(number, "raced") for number in range(10, 40)]
    # A sub-flow is not written before the writer has read.
    child = submit(2, business="other", ancestors=(id_of(1),), max_descendants=9)
    writing = asyncio.create_task(group.append(*raced, child))
    async with asyncio.timeout(60):
        while not await other.fetchval(BLOCKED):
            # Within a transaction the view shows its first answer again and again.
            await other.execute("SELECT pg_stat_clear_snapshot()")
    await taking.commit()
    assert _kinds(await writing) == [*[ConflictError] * 30, type(None)]
    assert len(group.statements) <= 2 * MOST_STATEMENTS, group.statements


@pytest.mark.parametrize("bad", [1, 3])
async def test_a_group_that_fails_for_an_unknown_reason_is_divided_by_halves(
    group: Group, bad: int
) -> None:
    appends = [submit(number, business=f"w{number % 64}") for number in range(10, 266)]
    for number in range(bad):
        appends[7 + 64 * number] = submit(9 - number, business="w17", definition_id=UNWRITABLE)
    outcomes = await group.append(*appends)
    assert sum(each is not None for each in outcomes) == bad
    assert all(isinstance(outcomes[7 + 64 * number], StoreError) for number in range(bad))
    # Six halves of workspaces, and for each bad one two of the four appends of its own.
    begun = sum(each.lstrip().startswith(("BEGIN", "WITH held")) for each in group.statements)
    assert begun <= 2 * (6 + 2 * bad) + 2, begun
