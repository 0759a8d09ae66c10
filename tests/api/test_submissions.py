"""A submission starts one execution, of the right definition, with data of the right form."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from rillflow.gateways.outbound.fair_thread import FOR_SCHEMAS
from rillflow.ids import DescriptorId
from rillflow.jsontypes import JsonObject
from rillflow.stores import open_store
from rillflow.triggers.schedule import key_of_firing
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, served

SUBMIT = "/flow/submit.json"
LISTED = json.dumps(
    [
        {"required": True, "name": "user", "type": "String", "desc": "who"},
        {"required": "true", "name": "count", "type": "Number"},
        {"required": False, "name": "vip", "type": "Boolean"},
    ]
)
SCHEMA = json.dumps(
    {
        "type": "object",
        "required": ["user", "count"],
        "properties": {"user": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    }
)


def with_schema(schema: str, *, enforced: bool = True) -> str:
    flag = "enforceInputSchema: true\n" if enforced else ""
    return f"{PASS}{flag}inputSchema: '{schema}'\n"


@pytest.mark.case("E2E-27")
async def test_the_context_starts_with_defaults_and_data(api: Api) -> None:
    text = f"{PASS}defaultContext: {{n: '5', o: '{{\"k\":1}}'}}\n"
    execution_id = await api.submit(await api.add(text), {"n": 7})
    shown = await api.ended(execution_id)
    assert shown["context"] == {"n": 7, "o": {"k": 1}, "flow_execution_id": execution_id}


@pytest.mark.case("AP-06", "AP-15")
@pytest.mark.parametrize(("body", "context"), [(b"", {}), (b"{}", {}), (b'{"a":1}', {"a": 1})])
async def test_data_up_to_the_limit_are_taken(body: bytes, context: dict[str, int]) -> None:
    async with served(submit_max_bytes=7) as api:
        await api.add(PASS)
        response = await api.client.post(
            SUBMIT, params={"descriptor_id": "shop:order"}, content=body
        )
        execution_id = response.json()["execution_id"]
        shown = await api.ended(execution_id)
        assert shown["context"] == {**context, "flow_execution_id": execution_id}


@pytest.mark.case("AP-06", "AP-15", "AP-16")
async def test_more_data_than_the_limit_of_a_business_are_refused() -> None:
    async with served(submit_max_bytes=6, submit_max_bytes_by_business={"small": 2}) as api:
        await api.add(PASS)
        await api.add(PASS.replace("shop", "small"))
        too_large = (400, 30109, "context size nonsupport")
        assert await api.refusal(SUBMIT, b'{"a":1}', descriptor_id="shop:order") == too_large
        assert await api.refusal(SUBMIT, b"{ }", descriptor_id="small:order") == too_large
        assert await api.submit("shop:order", b"{    }")


@pytest.mark.case("AP-16")
async def test_callbacks_wake_ups_and_redos_have_limits_of_their_own() -> None:
    async with served(callback_max_bytes=9, callback_max_bytes_by_business={"small": 2}) as api:
        for business, status in (("shop", 200), ("small", 400)):
            text = SUSPENDED.replace("shop", business)
            execution_id = await api.submit(await api.add(text))
            for path in ("wakeup", "trigger", "redo"):
                params = {"execution_id": execution_id, "task_name": "wait"}
                answer = await api.client.post(
                    f"/flow/{path}.json", params=params, content=b"{   }"
                )
                wanted = 413 if (path, status) == ("trigger", 400) else status
                assert answer.status_code == wanted, (path, answer.text)
                answer = await api.client.post(
                    f"/flow/{path}.json", params=params, content=b"{        }"
                )
                assert answer.json()["error"] == "context size nonsupport"
            params = {"execution_id": execution_id, "task_name": "wait"}
            refusal = await api.refusal("/flow/finish.json", b"{        }", **params)
            assert refusal == (400, 30109, "context size nonsupport")


@pytest.mark.case("AP-17")
async def test_an_extension_may_replace_the_data() -> None:
    def replaced(found: DescriptorId, data: JsonObject) -> JsonObject:
        return {"was": data, "of": found.business}

    async with served(hook=replaced) as api:
        execution_id = await api.submit(await api.add(PASS), {"a": 1})
        shown = await api.ended(execution_id)
        context = {"was": {"a": 1}, "of": "shop", "flow_execution_id": execution_id}
        assert shown["context"] == context


@pytest.mark.case("ST-01")
async def test_a_reserved_key_must_hold_a_map(api: Api) -> None:
    await api.add(PASS)
    refusal = await api.refusal(SUBMIT, {"__A": "value"}, descriptor_id="shop:order")
    assert refusal[:2] == (500, 30505)


async def test_a_submission_can_wait_for_the_end(api: Api) -> None:
    submitted = await api.post(SUBMIT, {"a": 1}, descriptor_id=await api.add(PASS), wait_s=10)
    assert submitted["ret"]["dag_status"] == "SUCCEED"
    assert submitted["ret"]["execution_id"] == submitted["execution_id"]

    descriptor_id = await api.add(SUSPENDED)
    submitted = await api.post(SUBMIT, descriptor_id=descriptor_id, wait_s=0.01)
    assert set(submitted) == {"execution_id"}


@pytest.mark.parametrize("isolation", ["shared", "dedicated"])
async def test_who_waits_sees_what_get_json_shows(api: Api, isolation: str) -> None:
    asked = {"descriptor_id": await api.add(PASS), "wait_s": 10, "isolation": isolation}
    submitted = await api.post(SUBMIT, {"a": 1}, **asked)
    execution_id = submitted["execution_id"]
    assert submitted["ret"] == await api.shown(execution_id)
    assert submitted["ret"] == await api.shown(execution_id, wait_s=10)
    brief = await api.post(SUBMIT, {"a": 1}, **asked, brief="true")
    assert brief["ret"] == await api.shown(brief["execution_id"], brief="true")
    assert "tasks" not in brief["ret"]


async def test_who_repeats_a_submission_may_wait_for_the_first_one(api: Api) -> None:
    asked = {"descriptor_id": await api.add(PASS), "wait_s": 10, "idempotency_key": "k"}
    first = await api.post(SUBMIT, {"a": 1}, **asked)
    assert await api.post(SUBMIT, {"a": 1}, **asked) == first


async def test_an_end_that_is_large_is_shown_whole(api: Api) -> None:
    asked = {"descriptor_id": await api.add(PASS), "wait_s": 10}
    submitted = await api.post(SUBMIT, {"a": "x" * 100_000}, **asked)
    assert len(submitted["ret"]["context"]["a"]) == 100_000


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        ({"callback": '{"inputMappings": [5]}'}, (500, 30603)),
        ({"callback": "{"}, (500, 30603)),
        ({"callback": "[1]"}, (500, 30603)),
        ({"resource_check": "{"}, (400, 30109)),
        ({"resource_check": '{"check_type":"x"}'}, (400, 30109)),
        ({"resource_check": "[]"}, (400, 30109)),
        ({"isolation": "alone"}, (400, 30109)),
        ({"idempotency_key": "k" * 256}, (400, 30109)),
        ({"idempotency_key": "trigger/nightly/1764237600000"}, (400, 30109)),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_malformed_option_is_refused(
    shared_api: Api, params: dict[str, str], refusal: tuple[int, int]
) -> None:
    await shared_api.add(PASS)
    found = await shared_api.refusal(SUBMIT, descriptor_id="shop:order", **params)
    assert found[:2] == refusal


async def test_a_callback_has_a_bounded_number_of_rules_with_those_it_refers_to(api: Api) -> None:
    rules = ", ".join(["{source: '1', target: $.input.a}"] * 100)
    await api.add(PASS.replace("tasks:", f"commonMapping: {{c: [{rules}]}}\ntasks:", 1))
    asked = {"descriptor_id": "shop:order", "wait_s": "10"}
    callback = {"resourceName": "http://127.0.0.1:9/", "inputMappings": [{"reference": "c"}] * 10}
    assert await api.post(SUBMIT, {}, **asked, callback=json.dumps(callback))
    callback["inputMappings"] = [{"reference": "c"}] * 11
    found = await api.refusal(SUBMIT, **asked, callback=json.dumps(callback))
    assert found[:2] == (400, 30109)


# -- one key, one execution ---------------------------------------------------------


async def test_the_same_key_and_data_find_the_same_execution(api: Api) -> None:
    await api.add(PASS)
    first = await api.submit("shop:order", b'{"a":1,"b":2}', idempotency_key="k")
    headers = {"Idempotency-Key": "k"}
    again = await api.client.post(
        SUBMIT,
        params={"descriptor_id": "shop:order:release"},
        content=b'{"b": 2, "a": 1}',
        headers=headers,
    )
    assert again.json() == {"execution_id": first}
    assert await api.submit("shop:order", {"a": 1, "b": 2}, idempotency_key="l") != first


async def test_nobody_takes_the_key_of_a_firing_beforehand(api: Api) -> None:
    await api.add(PASS)
    refused = await api.client.post(
        SUBMIT,
        params={"descriptor_id": "shop:order"},
        headers={"Idempotency-Key": key_of_firing("nightly", 1764237600000)},
    )
    assert refused.status_code == 400
    assert "are those of triggers" in refused.json()["error"]


async def test_the_same_key_with_other_data_is_a_conflict(api: Api) -> None:
    await api.add(PASS)
    first = await api.submit("shop:order", {"a": 1}, idempotency_key="k")
    params = {"descriptor_id": "shop:order", "idempotency_key": "k"}
    refusal = await api.refusal(SUBMIT, {"a": 2}, **params)
    assert refusal == (409, 30109, f"idempotency key k was used for other data, by {first}")


async def test_keys_of_different_features_do_not_meet(api: Api) -> None:
    await api.add(PASS)
    await api.add(PASS.replace("order", "refund"))
    first = await api.submit("shop:order", {"a": 1}, idempotency_key="k")
    assert await api.submit("shop:refund", {"a": 2}, idempotency_key="k") != first


async def test_submissions_of_one_key_at_once_give_one_execution(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/rillflow.db")
    async with served(store=store) as api:
        await api.add(PASS)
        keyed = [api.submit("shop:order", {"a": 1}, idempotency_key="k") for _ in range(12)]
        others = [api.submit("shop:order", {"a": 1}) for _ in range(12)]
        ids = await asyncio.gather(*keyed, *others)
        assert len(set(ids[:12])) == 1
        assert len(set(ids)) == 13
        assert (await api.ended(ids[0]))["dag_status"] == "SUCCEED"


# -- schemas ------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [LISTED, SCHEMA])
async def test_data_that_do_not_fit_the_schema_are_refused_with_everything_wrong(
    api: Api, schema: str
) -> None:
    await api.add(with_schema(schema))
    params = {"descriptor_id": "shop:order"}
    assert await api.submit("shop:order", {"user": "Bob", "count": 2})
    status, code, text = await api.refusal(SUBMIT, {"user": 5, "vip": True}, **params)
    assert (status, code) == (400, 30109)
    assert text.startswith("the data do not fit inputSchema: ")
    assert "user" in text
    assert "count" in text


async def test_a_schema_is_enforced_only_when_the_definition_or_a_setting_says_so() -> None:
    text = with_schema(LISTED, enforced=False)
    async with served() as api:
        await api.add(text)
        shown = await api.ended(await api.submit("shop:order"))
        assert shown["input_schema"] == LISTED
    async with served(enforce_input_schema=True) as api:
        await api.add(text)
        assert (await api.refusal(SUBMIT, descriptor_id="shop:order"))[:2] == (400, 30109)


@pytest.mark.parametrize("schema", ["5", "{", '{"type": "thing"}', '[{"type": "String"}]'])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_schema_that_cannot_be_enforced_is_refused_when_it_is_added(
    shared_api: Api, schema: str
) -> None:
    params: dict[str, Any] = {"business_id": "shop", "feature_name": "order", "alias": "release"}
    path = "/flow/bg/manage/descriptor/add_descriptor.json"
    refusal = await shared_api.refusal(path, with_schema(schema), **params)
    assert refusal[:2] == (400, 30110)
    assert refusal[2].startswith("inputSchema cannot be enforced: ")


async def test_checks_of_one_definition_are_refused_beyond_a_number_and_those_of_others_are_not(
    api: Api,
) -> None:
    await api.add(with_schema(SCHEMA))
    await api.add(with_schema(SCHEMA).replace("shop", "video"))
    await api.add(with_schema(SCHEMA).replace("order", "other"))
    data = {"user": "x" * 20_000, "count": 1}
    gate = threading.Event()
    held = [asyncio.create_task(FOR_SCHEMAS.run("shop", gate.wait)) for _ in range(32)]
    await asyncio.sleep(0)
    try:
        refused = await api.client.post(SUBMIT, params={"descriptor_id": "shop:other"}, json=data)
        other = asyncio.create_task(api.submit("video:order", data))
        small = await api.submit("shop:order", {"user": "x", "count": 1})
    finally:
        gate.set()
        await asyncio.gather(*held)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert "32 schema-checks of shop are under way or waiting" in refused.text
    assert small
    assert await other
