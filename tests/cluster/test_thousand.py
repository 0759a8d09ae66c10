"""A thousand films at once all end right, each with its own parts, and memory stays flat."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from rillflow.actors.names import execution_actor_name
from tests.cluster.api import Api
from tests.cluster.processes import (
    OwnStack,
    RayDriver,
    function_gateway,
    resident_bytes,
    workers,
)

pytestmark = [pytest.mark.cluster, pytest.mark.long]

HERE: Final = Path(__file__).parent
WORKFLOW: Final = HERE.parents[1] / "examples" / "text-to-video" / "workflow.yaml"
FILMS: Final = 1000
HALF: Final = FILMS // 2
SCENES: Final = 2
WAIT_S: Final = 110
PROCESSES: Final = ("ExecutionActor", "DispatcherActor", "ServeReplica")
GROWTH_BYTES: Final = 8 * 1024 * 1024
"""How much more memory another 500 films may leave behind in any process.

The owner keeps the last 512 ended executions at hand, 33 kB each of this workflow; were
it to keep all, 500 would add 16 MB. Were the API to keep the connections that its front
has dropped, it would add 20 MB. What is measured is 1 to 3 MB, the allocator's.
"""


@pytest.fixture(name="base_url", scope="module")
def _base_url(stack: OwnStack, api: Api) -> Iterator[str]:
    """Add the workflow of the example, with functions that take their time but write no files."""
    with function_gateway(HERE / "video_functions.py") as functions_url:
        text = WORKFLOW.read_text(encoding="utf-8")
        assert api.add(text.replace("http://127.0.0.1:8081", functions_url)).status == 200
        yield stack.base_url


@pytest.fixture(name="films", scope="module")
def _films_at_once(base_url: str) -> list[dict[str, Any]]:
    return asyncio.run(_shoot(base_url, range(FILMS)))


def test_a_thousand_films_submitted_at_once_all_succeed(films: list[dict[str, Any]]) -> None:
    assert len({film["execution_id"] for film in films}) == FILMS
    assert [film["dag_status"] for film in films] == ["SUCCEED"] * FILMS


def test_each_of_them_has_a_context_of_its_own(films: list[dict[str, Any]]) -> None:
    for topic, film in enumerate(films):
        texts = [f"About film {topic}"] * SCENES
        parts = [f"{text}/{number}" for number, text in enumerate(texts)]
        assert film["context"] == {
            "flow_execution_id": film["execution_id"],
            "topic": f"film {topic}",
            "scenes": SCENES,
            "text": ". ".join(texts).lower(),
            "script": [{"text": text} for text in texts],
            "videos": (videos := [f"{part}.y4m" for part in parts]),
            "audios": (audios := [f"{part}.wav" for part in parts]),
            "captions": (captions := [f"{part}/{len(texts[0])}.srt" for part in parts]),
            "result": {"videos": videos, "audios": audios, "captions": captions},
        }


def test_no_process_grows_with_the_number_of_executions(
    films: list[dict[str, Any]], stack: OwnStack, base_url: str
) -> None:
    assert len(films) == FILMS
    asyncio.run(_shoot(base_url, range(HALF)))
    before = {name: _memory(stack, name) for name in PROCESSES}
    asyncio.run(_shoot(base_url, range(HALF, FILMS)))
    growth = {name: _memory(stack, name) - before[name] for name in PROCESSES}
    assert all(grown <= GROWTH_BYTES for grown in growth.values()), growth


def _memory(stack: OwnStack, name: str) -> int:
    """Return what a process has in memory; of execution actors, that of the partitions.

    Dedicated executions of other tests may have actors that are about to end.
    """
    found = workers(stack.pid, name)
    if name == "ExecutionActor":
        driver = RayDriver(stack.ray_address)
        try:
            facts = driver.facts(execution_actor_name(0))
        finally:
            driver.close()
        assert facts is not None
        found = [pid for pid in found if pid == facts["pid"]]
    [pid] = found
    return resident_bytes(pid)


async def _shoot(base_url: str, topics: range) -> list[dict[str, Any]]:
    """Submit a film for each topic at once, and wait for all."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(base_url, connector=connector, timeout=timeout) as http:
        return await asyncio.gather(*(_film(http, topic) for topic in topics))


async def _film(http: aiohttp.ClientSession, topic: int) -> dict[str, Any]:
    query = {"descriptor_id": "video:textToVideo"}
    data = {"topic": f"film {topic}", "scenes": SCENES}
    async with http.post("/flow/submit.json", params=query, json=data) as response:
        execution_id = (await response.json())["execution_id"]
    wait = {"execution_id": execution_id, "wait_s": str(WAIT_S), "brief": "true"}
    async with http.get("/flow/get.json", params=wait) as response:
        shown: dict[str, Any] = (await response.json())["ret"]
    return shown
