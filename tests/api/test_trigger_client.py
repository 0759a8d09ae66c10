"""Python clients and the command line manage triggers, over HTTP and on Ray alike."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

import rillflow
from rillflow.client.ray_transport.driver import StackTransport
from rillflow.errors import RequestError
from tests.api.definition_texts import PASS
from tests.api.serving import Api, served
from tests.unit.commands import run

YEARLY = "0 0 0 1 1 *"


async def clients(api: Api) -> AsyncIterator[rillflow.AsyncClient]:
    """Give a client of each way, one after the other."""
    async with rillflow.AsyncClient(str(api.client.base_url)) as over_http:
        yield over_http
    yield rillflow.AsyncClient(transport=StackTransport(api.stack))


async def test_both_ways_manage_the_same_triggers() -> None:
    async with served() as api:
        await api.add(PASS)
        async for client in clients(api):
            triggers = client.triggers
            added = await triggers.add(
                "shop:order",
                YEARLY,
                {"a": 1},
                trigger_id="t",
                overlap="skip",
                catch_up=3,
                callback="http://127.0.0.1:9/x",
                resource_check={"check_type": "skip"},
            )
            assert (added["overlap"], added["catch_up"]) == ("skip", 3)
            assert await triggers.show("t") == added
            with pytest.raises(RequestError, match="there is a trigger t already"):
                await triggers.add("shop:order", YEARLY, trigger_id="t")
            await triggers.add("shop:order", YEARLY, {"a": 2}, trigger_id="t", replace=True)
            await triggers.pause("t")
            assert [(each["id"], each["paused"]) for each in await triggers.all()] == [("t", True)]
            await triggers.resume("t")
            first = await triggers.fire("t", idempotency_key="once")
            assert await triggers.fire("t", idempotency_key="once") == first
            assert await triggers.fire("t") != first
            span = "2020-01-01", "2022-06-01"
            assert len(await triggers.backfill("t", *span)) == 3
            await triggers.remove("t")
            assert await triggers.all() == []
            for lost in (triggers.show, triggers.pause, triggers.remove, triggers.fire):
                with pytest.raises(RequestError, match="there is no trigger t"):
                    await lost("t")
            with pytest.raises(RequestError, match="6 fields"):
                await triggers.add("shop:order", "soon")


async def test_a_trigger_of_a_definition_that_was_not_added_says_so() -> None:
    async with served() as api:
        async for client in clients(api):
            early = await client.triggers.add("shop:order:early", YEARLY, trigger_id="t")
            assert early["hint"] == (
                "no definition was added to shop:order as early; until then it starts nothing"
            )
            version = "shop:order:md5_" + "0" * 32
            pinned = await client.triggers.add(version, YEARLY, trigger_id="p")
            assert str(pinned["hint"]).startswith(f"descriptor:{version} value empty; until")
            assert "hint" not in await client.triggers.show("t")
            await client.triggers.remove("t")
            await client.triggers.remove("p")
        await api.add(PASS)
        over_http = rillflow.AsyncClient(str(api.client.base_url))
        assert "hint" not in await over_http.triggers.add("shop:order", YEARLY)
        await over_http.close()


async def test_a_client_lists_all_pages() -> None:
    async with served() as api, rillflow.AsyncClient(str(api.client.base_url)) as client:
        for number in range(501):
            await client.triggers.add("shop:order", YEARLY, trigger_id=f"t{number:03}")
        found = await client.triggers.all()
        assert [each["id"] for each in found] == [f"t{number:03}" for number in range(501)]


async def test_the_command_line_manages_triggers() -> None:
    async with served() as api:
        await api.add(PASS)
        url = ("--url", str(api.client.base_url))
        await asyncio.to_thread(_manage, url)


def _manage(url: tuple[str, str]) -> None:
    new = ("shop:order", "0 2 * * *", "--id", "nightly", "--data", '{"a": 1}')
    more = ("--time-zone", "Europe/Berlin", "--overlap", "skip", "--catch-up", "none")
    assert run("triggers", "add", *new, *more, *url) == (0, "nightly\n", "")
    code, printed, _ = run("triggers", "list", *url)
    assert code == 0
    assert printed.startswith("nightly  shop:order  0 2 * * * Europe/Berlin  next 2")
    assert printed.endswith("  fired 0\n")
    shown = json.loads(run("triggers", "show", "nightly", *url)[1])
    assert (shown["context"], shown["overlap"]) == ({"a": 1}, "skip")
    assert run("triggers", "pause", "nightly", *url)[0] == 0
    assert "next paused" in run("triggers", "list", *url)[1]
    assert run("triggers", "resume", "nightly", *url)[0] == 0
    assert run("triggers", "fire", "nightly", *url)[1].startswith("shop:order_c_")
    span = ("--from", "2026-03-01", "--to", "2026-03-03")
    assert len(run("triggers", "fire", "nightly", *span, *url)[1].split()) == 2
    assert run("triggers", "fire", "nightly", "--from", "2026-03-01", *url)[0] != 0
    assert run("triggers", "remove", "nightly", *url)[0] == 0
    code, printed, told = run("triggers", "remove", "nightly", *url)
    assert (code, printed) == (1, "")
    assert "there is no trigger nightly" in told
    code, _, told = run("triggers", "add", "shop:order", "never", *url)
    assert code == 1
    assert "6 fields" in told
