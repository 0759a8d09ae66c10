"""A function says how far it has come by a request to its callback address with ``progress``."""

import asyncio
from typing import Any, Final

import pytest

from rillflow.core.events import ProgressReported
from rillflow.ids import workspace_of
from rillflow.ports.task_logs import LogPlace, LogText
from rillflow.runtime.task_logs import MOST_WAITING, FairTaskLogs
from rillflow.testing import FunctionRequest
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import Api, refusal_of, served

TRIGGER: Final = "/flow/trigger.json"
SECRET: Final = "a-secret-of-some-length"
OK: Final = {"result": "ok"}
NOT_KEPT: Final = {"result": "ok", "kept": False}


def accepts(_: FunctionRequest) -> dict[str, Any]:
    """Accept a call, and call nobody back."""
    return {}


async def started(api: Api) -> dict[str, str]:
    """Start an execution that waits for a callback, and return its address."""
    text = calling("work", pattern="task_async")
    execution_id = await api.submit(await api.add(text))
    return {"execution_id": execution_id, "task_name": "A"}


async def progress_of(api: Api, address: dict[str, str]) -> Any:
    return (await api.shown(address["execution_id"]))["tasks"]["A"].get("progress")


async def test_progress_is_shown_and_the_task_goes_on_until_its_outcome_comes() -> None:
    async with served({"work": accepts}) as api:
        address = await started(api)
        assert (
            await api.post(TRIGGER, {"a": 1}, **address, progress="0.4", message="12 of 30") == OK
        )
        shown = await progress_of(api, address)
        assert (shown["fraction"], shown["message"]) == (0.4, "12 of 30")
        assert (await api.shown(address["execution_id"]))["process"] == 40
        assert await api.post(TRIGGER, {}, **address, progress="0.5") == NOT_KEPT
        assert await api.post(TRIGGER, {"a": 1}, **address) == OK
        ended = await api.ended(address["execution_id"])
        assert ended["tasks"]["A"]["status"] == "SUCCEEDED"
        assert ended["tasks"]["A"]["progress"] == shown
        assert await api.post(TRIGGER, {}, **address, progress="0.9") == NOT_KEPT


async def test_a_message_alone_is_progress_and_secrets_are_masked_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", SECRET)
    async with served({"work": accepts}) as api:
        address = await started(api)
        told = f"x{SECRET}" + "y" * 1_000
        assert await api.post(TRIGGER, {}, **address, progress="", message=told) == OK
        shown = await progress_of(api, address)
        assert shown["message"].startswith("x${secret:TOKEN}y")
        assert len(shown["message"]) == 200
        assert "fraction" not in shown


@pytest.mark.parametrize("wrong", ["40", "-1", "nan", "inf", "much", "1e400", "0,5"])
async def test_progress_that_is_no_fraction_is_refused(wrong: str) -> None:
    async with served({"work": accepts}) as api:
        address = await started(api)
        response = await api.client.post(TRIGGER, params={**address, "progress": wrong})
        status, _, text = refusal_of(response)
        assert (status, text) == (422, f"progress is a number from 0 to 1, not {wrong!r}")
        assert await progress_of(api, address) is None


async def test_a_task_without_a_log_has_an_empty_one() -> None:
    async with served({"work": accepts}) as api:
        address = await started(api)
        told = {"execution_id": address["execution_id"], "task_name": "A"}
        unknown = {"execution_id": f"{address['execution_id'][:-1]}x"}
        for changes in ({}, {"task_name": "none"}, {"execution_id": "none"}, unknown):
            response = await api.client.get("/flow/logs.json", params={**told, **changes})
            assert (response.status_code, response.json()) == (200, {"ret": {}})


async def test_what_runs_no_function_has_no_progress() -> None:
    async with served({}) as api:
        execution_id = await api.submit(await api.add(SUSPENDED))
        shown = await api.shown(execution_id)
        [task] = shown["tasks"]
        told = {"execution_id": execution_id, "task_name": task, "progress": "0.5"}
        assert await api.post(TRIGGER, {}, **told) == NOT_KEPT
        for unknown in ({"task_name": "none"}, {"execution_id": f"{execution_id[:-1]}x"}):
            response = await api.client.post(TRIGGER, params={**told, **unknown})
            assert response.status_code >= 400


async def post_log(
    api: Api, address: dict[str, str], lines: bytes, kind: str = "text/plain"
) -> Any:
    """Post the end of a log with no other progress."""
    response = await api.client.post(
        TRIGGER, params={**address, "progress": ""}, content=lines, headers={"Content-Type": kind}
    )
    return response.json()


async def streams_of(api: Api, address: dict[str, str]) -> Any:
    told = {"execution_id": address["execution_id"], "task_name": "A"}
    response = await api.client.get("/flow/logs.json", params=told)
    return response.json()["ret"].get("streams")


async def test_what_a_function_posts_is_its_log_until_the_next_one_comes() -> None:
    async with served({"work": accepts}) as api:
        address = await started(api)
        assert await post_log(api, address, b'{"a": 1}', "application/json") == OK
        assert await streams_of(api, address) is None, "that is no text"
        address = await started(api)
        assert await post_log(api, address, "é\n\udcff".encode(errors="surrogateescape")) == OK
        [stream] = await streams_of(api, address)
        assert stream == {"name": "err", "text": "é\n\ufffd", "is_cut": False}
        assert await post_log(api, address, b"too soon") == NOT_KEPT
        headers = {"X-Function-Log": "the%20end%0A%C3%A9"}
        await api.client.post(TRIGGER, params=address, json={}, headers=headers)
        assert (await api.ended(address["execution_id"]))["tasks"]["A"]["log"] == {"posted": True}
        [stream] = await streams_of(api, address)
        assert stream["text"] == "the end\né"


async def test_of_a_long_log_the_end_is_kept_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", SECRET)
    async with served({"work": accepts}) as api:
        address = await started(api)
        lines = b"x" * 50_000 + SECRET.encode() + b"y" * 3_990
        assert await post_log(api, address, lines) == OK
        [stream] = await streams_of(api, address)
        assert stream["is_cut"]
        assert len(stream["text"]) == 4_000
        assert stream["text"].endswith("y" * 3_990)
        assert SECRET[-9:] not in stream["text"]


async def test_a_log_that_is_too_long_is_named_and_not_cut() -> None:
    async with served({"work": accepts}) as api:
        address = await started(api)
        assert await post_log(api, address, b"x" * 100_000) == OK
        [stream] = await streams_of(api, address)
        assert stream["text"].startswith("(a log of 100000 bytes, of which none is kept")


async def test_control_characters_take_less_of_a_log() -> None:
    async with served({"work": accepts}) as api:
        address = await started(api)
        assert await post_log(api, address, b"\x01" * 5_000 + b"end") == OK
        [stream] = await streams_of(api, address)
        assert stream["text"].endswith("\x01end")
        assert stream["is_cut"]


async def test_an_empty_log_is_none() -> None:
    async with served({"work": accepts}) as api:
        address = await started(api)
        headers = {"X-Function-Log": "%20%ZZ"[:3]}
        await api.client.post(TRIGGER, params=address, json={}, headers=headers)
        await api.ended(address["execution_id"])
        assert await streams_of(api, address) is None


class HeldLogs:
    """Logs on a node that does not answer."""

    async def read(self, place: LogPlace) -> list[LogText]:
        await asyncio.Event().wait()
        raise AssertionError(place)


async def test_who_has_many_logs_read_is_told_to_come_again() -> None:
    async with served({"work": accepts}) as api:
        address = await started(api)
        execution_id, place = address["execution_id"], '{"node": "n", "parts": []}'
        report = ProgressReported(at_ms=api.clock.now_ms(), task="A", log=place)
        assert (await api.stack.deliver(execution_id, report)).error is None
        assert await streams_of(api, address) == []
        api.stack.task_logs = logs = FairTaskLogs(HeldLogs())
        own = LogPlace("n", [])
        reads = [
            asyncio.create_task(logs.read(workspace_of(execution_id), own))
            for _ in range(MOST_WAITING // 2)
        ]
        await asyncio.sleep(0)
        refused = await api.client.get("/flow/logs.json", params=address)
        assert refusal_of(refused)[0] == 503
        assert refused.headers["Retry-After"] == "1"
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
