"""Callbacks for executions that do not exist are limited by address, and so are wrong keys.

A callback of an execution that exists is taken whatever others behind its address do, and so is a
request with a right key.
"""

import asyncio
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from rillflow.errors import OverloadedError
from rillflow.gateways.callbacks.seals import seal
from rillflow.testing import FunctionRequest
from serve.limits.failed_lookups import MOST_ADDRESSES, FailedLookups
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import Api, MovableClock, refusal_of, served

TRIGGER: Final = "/flow/trigger.json"
UNKNOWN: Final = "shop:order_c_00000000-0000-1000-8000-000000000000"
KEY: Final = "a-key-of-callbacks"
MOST: Final = 3


async def guess(
    api: Api, execution_id: str = UNKNOWN, *, progress: str = "", log: str = "", **headers: str
) -> httpx.Response:
    params = {"execution_id": execution_id, "task_name": "wait"}
    if progress:
        params["progress"] = progress
    if log:
        told = {"content-type": "text/plain", **headers}
        return await api.client.post(TRIGGER, params=params, content=log, headers=told)
    return await api.client.post(TRIGGER, params=params, json={"go": True}, headers=headers)


async def fail_too_often(api: Api, *, progress: str = "") -> None:
    for _ in range(MOST):
        assert refusal_of(await guess(api, progress=progress))[0] == 400


async def test_who_fails_too_often_is_told_to_come_later() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        api.clock.stop()
        await fail_too_often(api)
        for execution_id in (UNKNOWN, "no id at all"):
            refused = await guess(api, execution_id)
            status, code, text = refusal_of(refused)
            assert (status, code) == (429, 30201)
            assert text == "too many callbacks of this address named unknown executions"
            assert "RILLFLOW_UNKNOWN_EXECUTIONS_PER_MINUTE" in refused.json()["hint"]
            assert refused.headers["Retry-After"] == "1"


async def test_progress_of_an_execution_that_does_not_exist_is_a_failure_too() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        api.clock.stop()
        await fail_too_often(api, progress="0.5")
        assert refusal_of(await guess(api))[0] == 429
        assert refusal_of(await guess(api, "no id at all", progress="0.5"))[0] == 429
        assert refusal_of(await guess(api, log="a line", progress="0.5"))[0] == 429


async def test_progress_of_an_execution_that_exists_is_taken_whatever_others_do() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        api.clock.stop()
        waiting = await api.submit(await api.add(SUSPENDED))
        await fail_too_often(api, progress="0.5")
        answer = await guess(api, waiting, log="a line", progress="0.5")
        assert answer.status_code == 200


async def test_an_artifact_of_an_execution_that_does_not_exist_is_a_failure_too() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        api.clock.stop()
        params = {"execution_id": UNKNOWN, "task_name": "wait"}
        answers = [
            await api.client.post("/flow/artifacts", params=params, content=b"a")
            for _ in range(MOST + 1)
        ]
        assert [each.status_code for each in answers] == [400] * MOST + [429]
        assert refusal_of(await guess(api))[0] == 429


async def test_a_callback_of_an_execution_that_exists_is_taken_whatever_others_do() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        api.clock.stop()
        waiting = await api.submit(await api.add(SUSPENDED))
        await fail_too_often(api)
        assert refusal_of(await guess(api))[0] == 429
        assert (await guess(api, waiting)).json() == {"result": "ok"}
        assert (await api.ended(waiting))["dag_status"] == "SUCCEED"


async def test_no_body_is_read_of_who_fails_too_often() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        api.clock.stop()
        await fail_too_often(api)
        port = api.stack.settings.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = f"{TRIGGER}?execution_id={UNKNOWN}&task_name=wait"
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
        answer = await asyncio.wait_for(reader.readline(), api.stack.settings.body_timeout_s / 2)
        assert b" 429 " in answer
        writer.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/flow/finish.json", 500), ("/flow/wakeup.json", 500), ("/flow/get.json", 200)],
)
async def test_other_routes_count_nothing(path: str, status: int) -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        params = {"execution_id": UNKNOWN, "task_name": "wait"}
        method = "GET" if path == "/flow/get.json" else "POST"
        for _ in range(2 * MOST):
            answer = await api.client.request(method, path, params=params, json={})
            assert answer.status_code == status
        await fail_too_often(api)


async def test_other_addresses_are_not_concerned() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        api.clock.stop()
        waiting = await api.submit(await api.add(SUSPENDED))
        for _ in range(MOST + 1):
            await guess(api, **{"X-Forwarded-For": "203.0.113.7"})
        assert (await guess(api, **{"X-Forwarded-For": "203.0.113.7"})).status_code == 429
        assert (await guess(api, waiting, **{"X-Forwarded-For": "203.0.113.8"})).status_code == 200


async def test_callbacks_of_known_executions_count_for_nothing() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        waiting = await api.submit(await api.add(SUSPENDED))
        answers = [await guess(api, waiting) for _ in range(3 * MOST)]
        assert 429 not in {answer.status_code for answer in answers}


async def test_failures_are_forgotten_by_and_by() -> None:
    async with served(unknown_executions_per_minute=MOST) as api:
        await fail_too_often(api)
        assert (await guess(api)).status_code == 429
        api.clock.advance(60 / MOST)
        assert (await guess(api)).status_code == 400
        assert (await guess(api)).status_code == 429
        api.clock.advance(60)
        await fail_too_often(api)


async def test_sealed_callbacks_count_for_nothing_and_are_taken_whatever_others_do() -> None:
    addresses: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    def work(request: FunctionRequest) -> dict[str, Any]:
        query = urlsplit(request.headers["X-Callback-Url"]).query
        addresses.put_nowait(dict(parse_qsl(query)))
        return {}

    settings: dict[str, Any] = {"callback_keys": (KEY,), "unknown_executions_per_minute": MOST}
    async with served({"work": work}, **settings) as api:
        api.clock.stop()
        execution_id = await api.submit(await api.add(calling("work", pattern="task_async")))
        address = await addresses.get()
        await fail_too_often(api)
        assert (await guess(api)).status_code == 429
        answer = await api.client.post(TRIGGER, params=address, json={"a": 1})
        assert answer.json() == {"result": "ok"}
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"
        late = {"execution_id": UNKNOWN, "task_name": "work"}
        sealed = seal(KEY, execution_id=UNKNOWN, task="work", attempt=1, expires_s=2**40)
        for _ in range(2 * MOST):
            answer = await api.client.post(TRIGGER, params={**late, **sealed}, json={})
            assert refusal_of(answer)[0] == 400


async def test_no_limit_is_none() -> None:
    async with served(unknown_executions_per_minute="forever") as api:
        answers = [await guess(api) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {400}


def scope_of(address: str) -> dict[str, Any]:
    return {"type": "http", "client": (address, 1)}


def test_a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_ipv4() -> None:
    clock = MovableClock()
    clock.stop()
    lookups = FailedLookups(1, clock)
    lookups.failed(scope_of("2001:db8:1:2::1"))
    lookups.failed(scope_of("203.0.113.7"))
    for refused in ("2001:db8:1:2:ffff::9", "::ffff:203.0.113.7", "203.0.113.7"):
        assert lookups.are_too_many(scope_of(refused))
        with pytest.raises(OverloadedError):
            lookups.failed(scope_of(refused))
    for passed in ("2001:db8:1:3::1", "203.0.113.8", "no address"):
        assert not lookups.are_too_many(scope_of(passed))
    assert not lookups.are_too_many({"type": "http"})


def test_so_many_addresses_are_remembered_and_no_more() -> None:
    lookups = FailedLookups(5, MovableClock())
    for number in range(2 * MOST_ADDRESSES):
        lookups.failed(scope_of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
    assert len(lookups._by_address) == MOST_ADDRESSES


API_KEY: Final = "correct-horse-battery"
WRONG: Final = {"X-Rillflow-Api-Key": "correct-horse-batterz"}
RIGHT: Final = {"X-Rillflow-Api-Key": API_KEY}
SIGN_IN: Final = "/console/sign-in"
PAGE: Final = {"Sec-Fetch-Site": "same-origin"}
LIST: Final = "/flow/bg/get_business_options.json"


async def test_who_guesses_keys_too_often_is_told_to_come_later_and_right_keys_are_taken() -> None:
    async with served(unknown_executions_per_minute=MOST, api_key=API_KEY) as api:
        api.clock.stop()
        for _ in range(MOST):
            assert (await api.client.get(LIST, headers=WRONG)).status_code == 401
        refused = await api.client.get(LIST, headers=WRONG)
        assert refusal_of(refused)[0] == 429
        assert refused.json()["hint"].endswith("requests with a right one are always taken")
        signed_in = await api.client.post(SIGN_IN, json={"key": "guess"}, headers=PAGE)
        assert signed_in.status_code == 429, "the console's page is no other way to guess"
        assert (await api.client.get(LIST, headers=RIGHT)).status_code == 200
        name = {"name": "few", "role": "viewer"}
        made = await api.client.post("/flow/keys/add.json", params=name, headers=RIGHT)
        of_few = {"X-Rillflow-Api-Key": made.json()["key"]}
        assert (await api.client.get(LIST, headers=of_few)).status_code == 200
        right = await api.client.post(SIGN_IN, json={"key": API_KEY}, headers=PAGE)
        assert right.status_code == 200
        assert (await api.client.get(LIST)).status_code == 401, "who shows no key guesses none"
        api.clock.advance(60)
        assert (await api.client.get(LIST, headers=WRONG)).status_code == 401


async def test_who_signs_wrongly_too_often_is_told_to_come_later() -> None:
    async with served(
        unknown_executions_per_minute=MOST,
        auth_secret=API_KEY,
        switches={"ENABLE_AUTH_RESOLVER": True},
    ) as api:
        api.clock.stop()
        guessed = {"sign": "0" * 32, "ts": str(api.clock.now_ms())}
        for _ in range(MOST):
            assert (await api.client.get(LIST, params=guessed)).status_code == 500
        assert (await api.client.get(LIST, params=guessed)).status_code == 429
        unsigned = await api.client.get(LIST, params={"ts": guessed["ts"]})
        assert unsigned.status_code == 500
