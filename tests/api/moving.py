"""Stores that are filled by a served API, and the commands that move them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from rillflow.stores import open_store
from rillflow.testing import FunctionRequest
from rillflow.transfer.frames import End, Frame, FrameReader
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import Api, served
from tests.contract.tables import run_sql
from tests.unit.commands import run

KEY: Final = "a-callback-key"


class Work:
    """A function that keeps the addresses it is given and calls nobody."""

    def __init__(self) -> None:
        self.addresses: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    def __call__(self, request: FunctionRequest) -> dict[str, Any]:
        address = urlsplit(request.headers["X-Callback-Url"])
        self.addresses.put_nowait(dict(parse_qsl(address.query)))
        return {}


@asynccontextmanager
async def source(url: str, **functions: Any) -> AsyncIterator[tuple[Api, Work]]:
    work = Work()
    behind = {"work": work, "echo": lambda request: request.json(), **functions}
    store = open_store(url)
    async with served(behind, store=store, callback_keys=(KEY,)) as api:
        yield api, work


async def command(*arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(run, *arguments)


async def exported(url: str, path: Path, *options: str) -> str:
    code, _, told = await command("export", str(path), "--store", url, *options)
    assert code == 0, told
    return told


async def imported(url: str, path: Path, *options: str) -> str:
    code, told, error = await command("import", str(path), "--store", url, *options)
    assert code == 0, error
    return told


async def refused(url: str, path: Path) -> str:
    code, _, error = await command("import", str(path), "--store", url)
    assert code == 1
    return error


def frames_of(path: Path) -> list[Frame]:
    """All frames but the header, which has the time."""
    with path.open("rb") as file:
        reader = FrameReader(file)
        frames = [reader.next()]
        while not isinstance(frames[-1], End):
            frames.append(reader.next())
    return frames


async def executions_in(url: str) -> int:
    [(count,)] = await run_sql(url, "SELECT count(*) FROM executions")
    return int(count)


async def fill_ended(url: str) -> str:
    """Make a store with one execution that has ended, and one that waits; return its URL."""
    async with source(url) as (api, _):
        await api.ended(await api.submit(await api.add(calling("echo")), {"name": "Bob"}))
        await api.submit(await api.add(SUSPENDED.replace("dagName: order", "dagName: waits")))
    return url
