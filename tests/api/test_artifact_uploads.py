"""Files are stored only for tasks that wait, and only while the disk has room for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from serve.routes.artifacts import AT_ONCE_OF_ONE, PIECE_S
from tests.api.serving import LONG_S, Api, served
from tests.api.test_artifacts import FILM, FLOW

MAKES: Final = FLOW.partition("    next: measure")[0].replace("PATTERN", "task_async")
UPLOADS: Final = "/flow/artifacts"


@asynccontextmanager
async def waiting(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Api, str]]:
    """A server, and the address at which a function that was called stores files."""
    calls: asyncio.Queue[str] = asyncio.Queue()

    def make(request: Any) -> dict[str, Any]:
        calls.put_nowait(request.headers["X-Callback-Url"])
        return {}

    async with served({"make": make}, data_dir=tmp_path, **settings) as api:
        if "api_key" in settings:
            api.client.headers["X-Rillflow-Api-Key"] = settings["api_key"]
        await api.submit(await api.add(MAKES.replace("URL", f"{api.gateway.url}/function")))
        url = await calls.get()
        # The answer of the function has been taken as well.
        execution = httpx.URL(url).params["execution_id"]
        while (await api.shown(execution))["tasks"]["make"]["status"] != "RUNNING":  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        yield api, url.replace("/flow/trigger.json", UPLOADS)


async def finish(api: Api, url: str) -> None:
    """Call back for the task of an address, and wait for the end of its execution."""
    done = await api.client.post(url.replace(UPLOADS, "/flow/trigger.json"), json={"film": 1})
    assert done.status_code == 200, done.text
    await api.ended(httpx.URL(url).params["execution_id"])


def stored_files(tmp_path: Path) -> list[Path]:
    return [each for each in (tmp_path / "artifacts" / "data").glob("*") if each.is_file()]


async def test_files_are_stored_for_a_task_while_it_waits_and_not_afterwards(
    tmp_path: Path,
) -> None:
    async with waiting(tmp_path) as (api, url):
        assert (await api.client.post(url, content=FILM)).status_code == 200
        await finish(api, url)
        assert len(stored_files(tmp_path)) == 1
        refused = await api.client.post(url, content=b"another film")
        assert refused.status_code in (400, 409), refused.text
        assert len(stored_files(tmp_path)) == 1


async def test_no_files_are_stored_for_a_task_that_does_not_exist(tmp_path: Path) -> None:
    async with waiting(tmp_path) as (api, url):
        refused = await api.client.post(url.replace("task_name=make", "task_name=no"), content=FILM)
        assert refused.status_code == 400
        assert "task not exists" in refused.text
        assert stored_files(tmp_path) == []


async def test_a_file_whose_task_ends_while_it_arrives_is_not_stored(tmp_path: Path) -> None:
    async with waiting(tmp_path) as (api, url):

        async def pieces() -> AsyncIterator[bytes]:
            yield FILM
            await finish(api, url)
            yield FILM

        refused = await api.client.post(url, content=pieces())
        assert refused.status_code in (400, 409), refused.text
        assert stored_files(tmp_path) == []


async def test_a_sealed_address_stores_nothing_when_its_task_has_ended(tmp_path: Path) -> None:
    async with waiting(tmp_path, callback_keys=("k" * 32,)) as (api, url):
        await finish(api, url)
        refused = await api.client.post(url, content=FILM)
        assert refused.status_code in (400, 409), refused.text
        assert stored_files(tmp_path) == []


async def test_where_there_is_a_key_files_are_stored_at_sealed_addresses_only(
    tmp_path: Path,
) -> None:
    async with waiting(tmp_path, api_key="the-key-of-this-server") as (api, url):
        asked = httpx.URL(url)
        unsealed = asked.copy_with(
            params={name: asked.params[name] for name in ("execution_id", "task_name", "ts")}
        )
        key = api.client.headers.pop("X-Rillflow-Api-Key")
        for forged in (
            unsealed,
            url.replace("seal=", "seal=x"),
            url.replace("attempt=1", "attempt=2"),
        ):
            assert (await api.client.post(forged, content=FILM)).status_code == 403
        assert stored_files(tmp_path) == []
        assert (await api.client.post(url, content=FILM)).status_code == 200
        # Callbacks need a seal only where there are keys for them, as before.
        done = await api.client.post(
            unsealed.copy_with(path="/flow/trigger.json"), json={"film": 1}
        )
        assert done.status_code == 200
        api.client.headers["X-Rillflow-Api-Key"] = key
        ended = await api.ended(asked.params["execution_id"])
        assert ended["dag_status"] == "SUCCEED"


async def test_a_disk_without_the_room_that_must_stay_free_takes_no_file(tmp_path: Path) -> None:
    async with waiting(tmp_path, artifacts_min_free_bytes=1 << 60) as (api, url):
        refused = await api.client.post(url, content=FILM)
        assert refused.status_code == 503
        assert "artifacts_min_free_bytes" in refused.text
        assert stored_files(tmp_path) == []


async def begun(url: httpx.URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin an upload of which nothing more will come."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {url.raw_path.decode()} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\n"
    writer.write(f"{head}Content-Length: 900000000\r\n\r\nslow".encode())
    return reader, writer


async def test_an_upload_below_the_lowest_rate_is_ended(tmp_path: Path) -> None:
    async with waiting(tmp_path) as (api, url):
        reader, writer = await begun(httpx.URL(url))
        async with asyncio.timeout(PIECE_S - 5):
            status = await reader.readline()
        writer.close()
        assert status.split()[1] == b"408"
        assert stored_files(tmp_path) == []
        assert (await api.client.post(url, content=FILM)).status_code == 200


async def test_slow_files_of_who_has_several_places_give_way_to_others(tmp_path: Path) -> None:
    calls: asyncio.Queue[str] = asyncio.Queue()

    def make(request: Any) -> dict[str, Any]:
        calls.put_nowait(request.headers["X-Callback-Url"])
        return {}

    settings: dict[str, Any] = {"callback_keys": ("k" * 32,), "answer_min_bytes_per_s": 1}
    async with served({"make": make}, data_dir=tmp_path, **settings) as api:
        name = await api.add(MAKES.replace("URL", f"{api.gateway.url}/function"))
        urls = []
        for _ in range(3):
            await api.submit(name)
            urls.append((await calls.get()).replace("/flow/trigger.json", UPLOADS))
        slow = [await begun(httpx.URL(url)) for url in urls[:2] for _ in range(AT_ONCE_OF_ONE)]
        answers = [asyncio.create_task(reader.readline()) for reader, _ in slow]
        async with asyncio.timeout(LONG_S):
            while not (ended := [each for each in answers if each.done()]):
                stored = await api.client.post(urls[2], content=FILM)
                assert stored.status_code == 200, stored.text
        # A second may have given way before the answer to the first has arrived.
        assert {each.result().split()[1] for each in ended} == {b"429"}
        for _, writer in slow:
            writer.close()
        await asyncio.gather(*answers, *(writer.wait_closed() for _, writer in slow))


async def test_files_of_one_execution_take_a_part_of_the_places(tmp_path: Path) -> None:
    async with waiting(tmp_path, answer_min_bytes_per_s=1) as (api, url):
        began: asyncio.Queue[None] = asyncio.Queue()
        may_end = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            yield b"a" * 1_000
            began.put_nowait(None)
            await may_end.wait()
            yield b"b"

        uploads = [
            asyncio.create_task(api.client.post(url, content=pieces()))
            for _ in range(AT_ONCE_OF_ONE)
        ]
        for _ in uploads:
            await began.get()
        async with asyncio.timeout(LONG_S):  # until the server has begun with all of them
            while (more := await api.client.post(url, content=FILM)).status_code == 200:
                pass
        assert more.status_code == 429
        assert "4 of one sender" in more.text
        may_end.set()
        assert {(await each).status_code for each in uploads} == {200}
        assert (await api.client.post(url, content=FILM)).status_code == 200
