"""Long lists become text beside the event loop; who asks for them is told to the store."""

import asyncio

import pytest
from starlette.types import Scope

from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.jsontypes import decode_json
from serve.limits.callers import CALLER, Caller
from serve.limits.large_answers import ANSWERED_REQUEST, reader_of_request
from serve.routes.console import definition_rules
from serve.schemas.exchange import ENTRY_BYTES, long_response


@pytest.mark.parametrize(("names", "is_beside"), [(10, False), (10_000, True)])
async def test_a_long_list_becomes_text_beside_the_loop(*, names: int, is_beside: bool) -> None:
    listed = {"features": [f"name{number}" for number in range(names)]}
    answering = asyncio.create_task(long_response(listed, ENTRY_BYTES * names, workspace="w"))
    await asyncio.sleep(0)  # its first step, which does all that is done in the loop
    assert answering.done() != is_beside
    assert decode_json(bytes((await answering).body)) == listed


def test_a_few_long_rules_are_a_long_list() -> None:
    assert definition_rules._bytes_of({"a": "x" * SHORT_BYTES}) > SHORT_BYTES
    assert definition_rules._bytes_of({"a": "uid > 1"}) < SHORT_BYTES


@pytest.mark.parametrize(
    ("caller", "reader"),
    [
        (Caller("n", "id", workspaces=frozenset({"shop"})), "shop"),
        (Caller("other", "id2", workspaces=frozenset({"shop"})), "shop"),
        (Caller("n", "id", workspaces=frozenset({"b", "a"})), "a"),
        (Caller("n", "id"), "key id"),
        (None, "192.0.2.7"),
    ],
)
def test_a_reader_is_a_workspace_whichever_of_its_keys_asks(
    caller: Caller | None, reader: str
) -> None:
    scope: Scope = {"type": "http", "client": ("192.0.2.7", 1), "headers": []}
    if caller is not None:
        scope[CALLER] = caller
    token = ANSWERED_REQUEST.set(scope)
    try:
        assert reader_of_request() == reader
    finally:
        ANSWERED_REQUEST.reset(token)


def test_the_stack_itself_reads_for_nobody() -> None:
    assert not reader_of_request()
