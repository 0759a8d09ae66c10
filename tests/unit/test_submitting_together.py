"""Submissions of a group are those that each alone would be, in one message to each owner."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import pytest

from rillflow.errors import OverloadedError, RequestError, RillflowError, UnavailableError
from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Reply, Submission, reply_to_error
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.groups import GroupSubmissions, SubmissionRequest
from rillflow.runtime.submission.intake import Options
from rillflow.settings import ResourceCheck, Settings
from rillflow.stores.memory.store import MemoryStore

FLOW: Final = """
workspace: shop
dagName: NAME
type: flow
tasks: [{name: A, category: pass}]
"""
SCHEMA: Final = """
enforceInputSchema: true
inputSchema: '[{"required": true, "name": "n", "type": "Number"}]'
"""
Outcome = ExecutionId | RillflowError | None


class NoFunctions:
    """There is no function."""

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        raise AssertionError(request)

    async def close(self) -> None:
        """Nothing is open."""


class House:
    """A store, an owner of all executions, and what submits to it."""

    def __init__(self, **settings: Any) -> None:
        self.store = MemoryStore()
        gateway: Any = NoFunctions()
        self.executions = LocalExecutions(store=self.store, gateway=gateway, clock=SystemClock())
        self.submissions = GroupSubmissions(
            Settings(**settings),
            store=self.store,
            executions=self.executions,
            clock=SystemClock(),
        )
        self.messages: list[int] = []
        self.answer: Callable[[Reply], Reply] = lambda reply: reply

    async def add(self, name: str, more: str = "") -> None:
        text = FLOW.replace("NAME", name) + more
        await add_descriptor(self.store, "shop", name, "release", text, at_ms=1)

    async def send(self, calls: Sequence[Submission]) -> list[Reply]:
        self.messages.append(len(calls))
        replies = await self.executions.call_many(calls)
        return list(map(self.answer, replies))

    async def together(self, *asked: SubmissionRequest) -> list[Outcome]:
        return await self.submissions.submit_plain(asked, self.send)


@pytest.fixture(name="house")
async def _house() -> AsyncIterator[House]:
    house = House()
    await house.store.open()
    await house.executions.start()
    await house.add("order")
    yield house
    await house.executions.stop()


def asked(
    key: str | None, name: str = "order", data: bytes = b"{}", **options: Any
) -> SubmissionRequest:
    given: dict[str, Any] = {"idempotency_key": key, "is_new": True, **options}
    return SubmissionRequest(f"shop:{name}", data, Options(**given))


async def test_a_group_is_one_message_and_each_has_its_own_execution(house: House) -> None:
    await house.add("other")
    outcomes = await house.together(asked("a"), asked("b", "other"), asked(None, "order:release"))
    assert house.messages == [3]
    ids = [str(each) for each in outcomes]
    assert [each.partition("_c_")[0] for each in ids] == ["shop:order", "shop:other", "shop:order"]
    for name, key, execution_id in (("order", "a", ids[0]), ("other", "b", ids[1])):
        found = await house.store.find_by_idempotency_key("shop", name, key)
        assert found is not None
        assert found[0] == execution_id


async def test_what_is_checked_for_each_is_left_to_be_submitted_alone(house: House) -> None:
    await house.add("checked", SCHEMA)
    await house.add("apart", "isolation: dedicated\n")
    await house.add("gray")
    await house.store.set_rule("gray", ("shop", "gray"), "release", "true")
    left = [
        asked("1", "checked"),
        asked("2", "apart"),
        asked("3", "gray"),
        asked("4", "nosuch"),
        asked("5", "order:nosuch"),
        asked("6", "not a name"),
        asked("7", is_new=False),
        asked("8", isolation="dedicated"),
        asked("9", callback=b'{"resourceName": "http://127.0.0.1:1"}'),
        asked("10", resource_check=ResourceCheck(check_type="skip")),
        asked("11", data=b'{"a": "' + b"x" * SHORT_BYTES + b'"}'),
    ]
    assert await house.together(*left) == [None] * len(left)
    assert not house.messages
    assert isinstance((await house.together(*left, asked("12")))[-1], str)
    assert house.messages == [1]


@pytest.mark.parametrize(
    "settings",
    [
        {"workspace_quotas": {"shop": {"running": 1}}},
        {"submit_traffic_limits": {"shop": 1}},
    ],
)
async def test_what_has_a_quota_or_a_limit_is_submitted_alone(settings: dict[str, Any]) -> None:
    house = House(**settings)
    await house.store.open()
    await house.add("order")
    assert await house.together(asked("a")) == [None]
    assert not house.messages


async def test_malformed_data_refuse_only_themselves(house: House) -> None:
    first, second, third = await house.together(asked("a"), asked("b", data=b"[]"), asked("c"))
    assert isinstance(second, RequestError)
    assert isinstance(first, str)
    assert isinstance(third, str)


async def test_a_key_that_is_taken_is_the_execution_that_has_it_or_refused(house: House) -> None:
    [first] = await house.together(asked("a", data=b'{"n": 1}'))
    same, other, new = await house.together(
        asked("a", data=b'{ "n" : 1 }'), asked("a", data=b'{"n": 2}'), asked("b")
    )
    assert same == first
    assert isinstance(other, RequestError)
    assert other.http_status == 409
    assert isinstance(new, str)
    assert new != first


async def test_a_submission_whose_answer_is_lost_is_found_by_its_key(house: House) -> None:
    house.answer = lambda _: reply_to_error(UnavailableError("lost"))
    outcome, unknown = await house.together(asked("a"), asked(None))
    found = await house.store.find_by_idempotency_key("shop", "order", "a")
    assert found is not None
    assert outcome == found[0]
    assert isinstance(unknown, UnavailableError)


async def test_a_refused_submission_says_why(house: House) -> None:
    house.answer = lambda _: reply_to_error(OverloadedError("too many"))
    [outcome] = await house.together(asked("a"))
    assert isinstance(outcome, OverloadedError)
