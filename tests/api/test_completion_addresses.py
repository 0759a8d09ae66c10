"""A completion callback is posted to an HTTP address, and starts nothing else (spec 3.19)."""

import json
import logging
from typing import Any, Final

import pytest

from tests.api.definition_texts import PASS
from tests.api.serving import Api, served

OTHER: Final = PASS.replace("dagName: order", "dagName: other")
WITH_CALLBACK: Final = "callback: {{ resourceName: '{}' }}\n"
REFUSED: Final = ["rillflow://shop:other", "ab://shop:table", "chatgpt://x", "ftp://x/y", "x/y"]


async def started(api: Api) -> Any:
    """Return how many executions of the other workflow there are."""
    found = await api.get("/flow/bg/get_execution_ids.json", business="shop", feature="other")
    return found["total"]


@pytest.mark.parametrize("address", REFUSED)
async def test_another_address_is_refused_at_the_submission(address: str) -> None:
    async with served() as api:
        await api.add(OTHER)
        descriptor = await api.add(PASS)
        status, code, message = await api.refusal(
            "/flow/submit.json",
            {},
            descriptor_id=descriptor,
            callback=f'{{"resourceName": "{address}"}}',
        )
        assert (status, code) == (500, 30603)
        assert message.startswith("a completion callback is posted to http:// or https://, not to ")
        assert await started(api) == 0


@pytest.mark.parametrize("address", REFUSED)
async def test_a_definition_with_another_address_is_warned_of_and_not_started(address: str) -> None:
    text = PASS + WITH_CALLBACK.format(address)
    async with served() as api:
        found = await api.post("/flow/validate.json", text)
        assert [
            (one["severity"], one["message"].split(",")[0])
            for one in found["problems"]
            if "completion callback" in one["message"]
        ] == [("warning", "a completion callback is posted to http:// or https://")]
        descriptor = await api.add(text)
        refusal = await api.refusal("/flow/submit.json", {}, descriptor_id=descriptor)
        assert refusal[:2] == (500, 30603)
        given = '{"resourceName": "http://127.0.0.1:9/told"}'
        assert await api.run(text, callback=given)


async def test_a_sub_flow_whose_definition_has_another_address_calls_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    child = PASS.replace("dagName: order", "dagName: child")
    parent = """
workspace: shop
dagName: parent
type: flow
tasks:
  - { name: P, category: function, pattern: flow_sync, resourceName: "rillflow://shop:child" }
"""
    async with served() as api:
        await api.add(OTHER)
        await api.add(child + WITH_CALLBACK.format("rillflow://shop:other"))
        with caplog.at_level(logging.WARNING):
            shown = await api.run(parent)
            assert shown["dag_status"] == "SUCCEED"
            while not any(record.msg == "completion_callback_failed" for record in caplog.records):
                await api.shown(shown["execution_id"])
        assert await started(api) == 0


async def test_a_callback_with_many_regular_expressions_is_refused_at_the_submission() -> None:
    rule = {"source": "$.context.l[?(@.a =~ /x/)]", "target": "$.input.x"}
    async with served() as api:
        descriptor = await api.add(PASS)
        wanted = "a callback has up to 10 regular expressions (=~)"
        for count in (10, 11):
            callback = {"resourceName": "http://127.0.0.1:9/told", "inputMappings": [rule] * count}
            # In JSON, a sign may be written otherwise.
            text = json.dumps(callback).replace("=~", "\\u003d~")
            asked = api.client.post(
                "/flow/submit.json", params={"descriptor_id": descriptor, "callback": text}, json={}
            )
            answer = await asked
            assert (wanted in answer.text) is (count == 11), answer.text
