"""A store is moved to another one by `rillflow export` and `import`, and executions go on there."""

import asyncio
import gzip
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.ports.storage.access import ApiKey
from rillflow.ports.storage.lease import DeploymentName
from rillflow.runtime.supervision.store_lease import StoreLease
from rillflow.stores import open_store
from rillflow.transfer.frames import (
    TableFrame,
)
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.moving import (
    Work,
    command,
    executions_in,
    exported,
    fill_ended,
    frames_of,
    imported,
    refused,
    source,
)
from tests.api.serving import Api
from tests.contract.tables import run_sql
from tests.postgres_server import PostgresServer

TRIGGER: Final = "/flow/trigger.json"
LARGE: Final = "x" * 100_000
HOUR_S: Final = 3_600


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(name="urls", params=["sqlite to postgres", "postgres to sqlite"])
def _urls(
    request: pytest.FixtureRequest, tmp_path: Path, server: PostgresServer
) -> tuple[str, str]:
    sqlite, postgres = f"sqlite://{tmp_path}/stores/rillflow.db", server.new_database()
    return (sqlite, postgres) if request.param.startswith("sqlite") else (postgres, sqlite)


@pytest.fixture(name="ended_url")
async def _ended_url(tmp_path: Path) -> str:
    return await fill_ended(f"sqlite://{tmp_path}/source/rillflow.db")


async def test_a_running_execution_is_ended_in_the_other_store_by_a_callback_of_before(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    here, there = urls
    path = tmp_path / "all.rillflow"
    async with source(here) as (api, work):
        execution_id = await api.submit(await api.add(calling("work", pattern="task_async")))
        address = await work.addresses.get()
        await exported(here, path)
    assert await imported(there, path) == (
        f"imported 1 executions and {rows_in(path)} rows; 0 executions were there already\n"
    )
    async with source(there) as (api, work):
        forged = await api.client.post(TRIGGER, params={**address, "seal": "x"}, json={})
        assert forged.status_code == 403
        await api.post(TRIGGER, {"a": 1}, **address)
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"
        assert work.addresses.empty()


def rows_in(path: Path) -> int:
    """How many rows of tables an empty store lacks: all but the template that each store has."""
    seen = {
        (frame.table, row[:3] if len(row) > 1 else row)
        for frame in frames_of(path)
        if isinstance(frame, TableFrame)
        for row in frame.rows
        if frame.table != "versions"
    }
    versions = sum(
        len(frame.rows)
        for frame in frames_of(path)
        if isinstance(frame, TableFrame) and frame.table == "versions"
    )
    return len(seen) + versions - 1


async def test_everything_is_there_afterwards_as_it_was(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    here, there = urls
    async with source(here) as (api, work):
        await fill(api, work)
    await exported(here, tmp_path / "here")
    await imported(there, tmp_path / "here")
    await exported(there, tmp_path / "there")
    assert frames_of(tmp_path / "there") == frames_of(tmp_path / "here")


async def fill(api: Api, work: Work) -> None:
    """Make something of every kind that is moved."""
    echo = await api.add(calling("echo"))
    await api.ended(await api.submit(echo, {"name": LARGE}))
    await api.ended(await api.submit(echo, {"name": "Bob"}, idempotency_key="one"))
    await api.submit(await api.add(SUSPENDED.replace("dagName: order", "dagName: waits")))
    for text in (calling("echo"), calling("work", pattern="task_async")):
        newest = await api.add(text, alias="next")
    await api.submit(newest)
    await work.addresses.get()
    await api.post(
        "/flow/template/create_task_template.json",
        {
            "name": "mine",
            "type": 0,
            "category": "function",
            "icon": "",
            "task_yaml": "name: a",
            "schema": "{}",
            "output": "{}",
        },
    )
    await api.post(
        "/flow/trigger/add_trigger.json",
        {"cron": "0 0 0 1 1 *", "context": {"a": LARGE}},
        descriptor_id="shop:order",
        type="cron",
    )


async def test_an_import_that_is_repeated_changes_nothing(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    here, there = urls
    async with source(here) as (api, work):
        await fill(api, work)
    await exported(here, tmp_path / "here")
    await imported(there, tmp_path / "here")
    again = await imported(there, tmp_path / "here")
    assert again == "imported 0 executions and 0 rows; 4 executions were there already\n"
    await exported(there, tmp_path / "there")
    assert frames_of(tmp_path / "there") == frames_of(tmp_path / "here")


async def test_a_difference_brings_the_other_store_up_to_date(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    here, there = urls
    first, difference, whole = (tmp_path / name for name in ("first", "difference", "whole"))
    async with source(here) as (api, work):
        api.clock.advance(-HOUR_S)
        old = await api.submit(await api.add(calling("echo")), {"name": "Bob"})
        await api.ended(old)
        api.clock.advance(HOUR_S)
        waits = await api.submit(await api.add(calling("work", pattern="task_async", name="waits")))
        address = await work.addresses.get()
        await exported(here, first)
        await imported(there, first)
        await api.post(TRIGGER, {"a": 1}, **address)
        await api.ended(waits)
        new = await api.add(calling("echo", more="\n    timeout: 9"))
        await api.ended(await api.submit(new, {"name": "Eve"}))
    await exported(here, difference, "--since", str(first))
    await exported(here, whole)
    ids = {
        frame.execution.row.execution_id
        for frame in frames_of(difference)
        if hasattr(frame, "execution")
    }
    assert old not in ids
    assert len(ids) == 2
    await imported(there, difference)
    await exported(there, tmp_path / "there")
    assert frames_of(tmp_path / "there") == frames_of(whole)
    assert "0 executions and 0 rows; 2 executions" in await imported(there, difference)
    assert "another content" in await refused(there, first) or "other versions" in await refused(
        there, first
    )


async def test_a_store_that_has_another_record_is_refused(ended_url: str, tmp_path: Path) -> None:
    path, there = tmp_path / "all", f"sqlite://{tmp_path}/there/rillflow.db"
    await exported(ended_url, path)
    await imported(there, path)
    await run_sql(there, "UPDATE journal SET record = x'00' WHERE seq = 2 AND execution = 1")
    error = await refused(there, path)
    assert "is here with another record 2" in error
    assert "nothing was imported" in error


async def test_a_store_in_which_an_alias_means_something_else_is_refused(
    ended_url: str, tmp_path: Path
) -> None:
    path, there = tmp_path / "all", f"sqlite://{tmp_path}/there/rillflow.db"
    await exported(ended_url, path)
    async with source(there) as (api, _):
        await api.add(calling("echo", more="\n    timeout: 9"))
    error = await refused(there, path)
    assert "the alias shop:order:release has other versions here than in the file" in error
    assert await executions_in(there) == 0


async def test_hashes_of_keys_are_moved_only_on_request(tmp_path: Path) -> None:
    here, there = (f"sqlite://{tmp_path}/{name}/rillflow.db" for name in ("here", "there"))
    store = open_store(here)
    await store.open()
    key = ApiKey(name="ci", key_id="ab" * 6, digest="ab" * 32, role="viewer")
    assert await store.add_api_key(key, most=10)
    await store.close()
    without, with_keys = tmp_path / "without", tmp_path / "with"
    await exported(here, without)
    await exported(here, with_keys, "--with-keys")
    assert key.digest.encode() not in gzip.decompress(without.read_bytes())
    assert key.digest.encode() in gzip.decompress(with_keys.read_bytes())
    await imported(there, with_keys)
    assert await run_sql(there, "SELECT name FROM api_keys") == []
    await imported(there, with_keys, "--with-keys")
    assert await run_sql(there, "SELECT name FROM api_keys") == [("ci",)]


async def test_a_store_on_which_a_server_runs_is_refused(ended_url: str, tmp_path: Path) -> None:
    path, there = tmp_path / "all", f"sqlite://{tmp_path}/there/rillflow.db"
    await exported(ended_url, path)
    store = open_store(there)
    await store.open()
    lease = StoreLease(store, DeploymentName("server", "a server"))
    await lease.acquire()
    renewing = asyncio.create_task(_renewed(lease))
    error = await refused(there, path)
    renewing.cancel()
    assert "the store is held by a server" in error
    assert await executions_in(there) == 0
    await lease.give_up()
    await store.close()
    await imported(there, path)


async def _renewed(lease: StoreLease) -> None:
    while True:
        await lease.renew()
        await asyncio.sleep(0)


async def test_an_export_says_that_a_server_goes_on(ended_url: str, tmp_path: Path) -> None:
    store = open_store(ended_url)
    await store.open()
    await StoreLease(store, DeploymentName("server", "a server")).acquire()
    told = await exported(ended_url, tmp_path / "all")
    await store.close()
    assert "a server may run on this store (a server)" in told


async def test_the_file_is_for_its_owner_and_replaces_none(ended_url: str, tmp_path: Path) -> None:
    path = tmp_path / "all"
    await exported(ended_url, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    code, _, error = await command("export", str(path), "--store", ended_url)
    assert code == 1
    assert "exists already" in error
    assert path.read_bytes() == before
    assert not path.with_name("all.partial").exists()


async def test_a_damaged_execution_is_left_out_and_named(ended_url: str, tmp_path: Path) -> None:
    [(damaged,)] = await run_sql(ended_url, "SELECT execution_id FROM executions WHERE key = 1")
    await run_sql(ended_url, "DELETE FROM journal WHERE execution = 1 AND seq = 1")
    path = tmp_path / "all"
    code, _, told = await command("export", str(path), "--store", ended_url)
    assert code == 1
    assert re.search(rf"left out  {damaged}: 1 of \d+ records are missing", told)
    assert "1 executions" in await imported(f"sqlite://{tmp_path}/there/rillflow.db", path)


async def test_a_pipe_does_as_well_as_a_file(ended_url: str, tmp_path: Path) -> None:
    there = f"sqlite://{tmp_path}/there/rillflow.db"
    program = f"{_program()} export - --store {ended_url} | {_program()} import - --store {there}"
    ended = await asyncio.create_subprocess_shell(program, stdout=asyncio.subprocess.PIPE)
    told, _ = await ended.communicate()
    assert ended.returncode == 0
    assert told.startswith(b"imported 2 executions")


def _program() -> str:
    return f"{sys.executable} -m rillflow.cli"


async def test_executions_are_found_by_their_search_keys_in_the_other_store(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    here, there = urls
    keyed = SUSPENDED + "searchKeys: [$.context.user]\n"
    async with source(here) as (api, _):
        bob = await api.submit(await api.add(keyed), {"user": "bob"})
        await api.submit(await api.add(keyed), {"user": "eve"})
    await exported(here, tmp_path / "file")
    await imported(there, tmp_path / "file")
    async with source(there) as (api, _):
        page = await api.get("/flow/console/v1/executions.json", q="context.user:bob")
        assert [row["execution_id"] for row in page["rows"]] == [bob]
