"""Who tries rules out holds up nobody: what a request may take, make and answer is bounded.

It runs beside the event loop, and when too many are at it, more are refused.
"""

import asyncio
import threading
import time
from typing import Any, Final

import pytest

from rillflow.errors import OverloadedError
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.aio.thread_pool import BoundedThreads
from tests.api.definition_texts import PASS
from tests.api.serving import Api
from tests.machine_speed import processor_time

TRY: Final = "/flow/mapping_evaluation.json"
LOOP: Final = "let i = 0; while true { i = i + 1; }"


def rules(*transforms: str) -> str:
    """Return rules as YAML."""
    listed = (f'{{transform: "{text}", target: $.input.n{n}}}' for n, text in enumerate(transforms))
    return f"[{', '.join(listed)}]"


async def test_many_looping_rules_are_refused_and_health_is_answered_meanwhile(api: Api) -> None:
    # It is in the body, since the address is limited.
    body = {"resource_name": "http://f/", "input_mapping_rules": rules(*[LOOP] * 300)}
    refused = asyncio.create_task(api.refusal("/flow/function_dispatch_params.json", body))
    answered = 0
    while not refused.done():
        await api.get("/healthz")
        answered += 1
    status, code, text = await refused
    assert (status, code) == (400, 30110)
    assert "turn_max_steps sets the limit" in text
    assert answered >= 3


async def test_an_answer_that_shares_its_parts_is_not_written_out(api: Api) -> None:
    doubling = "{source: $.input, target: $.input.c%d}"
    listed = ", ".join(doubling % (number % 2) for number in range(60))
    given: dict[str, Any] = {"input": {"a": "x" * 1000}}
    with processor_time(5, time.process_time):
        status, code, text = await api.refusal(TRY, given, mapping_rules=f"[{listed}]")
    assert (status, code) == (400, 30110)
    assert "the answer would be larger than 9437184 bytes" in text


async def test_a_long_text_many_times_is_passed_over_as_any_rule_is(api: Api) -> None:
    given = {"context": {"text": "x" * 500_000}, "input": {}}
    shown = await api.post(TRY, given, mapping_rules=rules("'' + repeat(1500, context.text)"))
    assert shown["ret"]["input"] == {}
    assert "a string would be longer" in shown["ret"]["warnings"][0]["reason"]


async def test_when_the_queue_is_full_more_are_refused_and_told_when_to_come_again(
    api: Api,
) -> None:
    gate = threading.Event()
    held = [
        asyncio.ensure_future(FOR_AUTHORS.run(gate.wait, sender="127.0.0.1", text_bytes=None))
        for _ in range(16)
    ]
    await asyncio.sleep(0)
    try:
        response = await api.client.post(TRY, json={}, params={"mapping_rules": "[]"})
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "1"
        # What is short has a thread and places of its own.
        assert (await api.post("/flow/validate.json", PASS))["valid"]
        await api.add(PASS)
    finally:
        gate.set()
        await asyncio.gather(*held)
    assert await api.post(TRY, {}, mapping_rules="[]")


async def test_what_waits_takes_its_place_until_it_is_done_or_given_up() -> None:
    threads = BoundedThreads(1, 1, name="test")
    gate = threading.Event()
    first = asyncio.ensure_future(threads.run(gate.wait))
    second = asyncio.ensure_future(threads.run(lambda: 2))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 requests of this kind"):
        await threads.run(lambda: 3)
    second.cancel()
    third = asyncio.ensure_future(threads.run(lambda: 3))
    await asyncio.sleep(0)
    gate.set()
    assert (await first, await third) == (True, 3)
    with pytest.raises(ValueError, match="no"):
        await threads.run(lambda: int("no"))
    assert await threads.run(lambda: 4) == 4
