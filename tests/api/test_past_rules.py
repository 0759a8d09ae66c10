"""The rules of a task are shown with the data that they had, however long the journal is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId
from rillflow.runtime.definitions.catalogue import Plans
from rillflow.runtime.histories.history import History
from rillflow.runtime.histories.past_rules import LONGEST_S, AnswerBudget, past_rules
from rillflow.stores.memory.store import MemoryStore
from tests.api.serving import LONG_S, Api, served

BEFORE: Final = 150
"""How many events there are before the function is called."""
END: Final = BEFORE + 3
"""The number of the event that brings its answer."""
AFTER: Final = 150
LAST: Final = END + AFTER
MOST_REQUESTS: Final = 2_000
V1: Final = "/flow/console/v1/"
TEXT: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: wait
    category: suspense
    next: work
    conditions: ['$.input.[?(@.go == true)]']
    inputMappings: [{source: $.context.go, target: $.input.go}]
    outputMappings: [{source: $.output.go, target: $.context.go}]
  - name: work
    category: function
    pattern: task_sync
    resourceName: ${GW}/function/work
    next: later
    inputMappings: [{source: $.context.go, target: $.input.go}]
    outputMappings: [{source: $.output.said, target: $.context.said}]
  - name: later
    category: suspense
    conditions: ['$.input.[?(@.on == true)]']
    inputMappings: [{source: $.context.on, target: $.input.on}]
"""


class CountingStore(MemoryStore):
    """A store that counts the events that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.events_read = 0

    async def read_journal(
        self, execution_id: ExecutionId, *, after_seq: int, limit: int
    ) -> list[bytes]:
        found = await super().read_journal(execution_id, after_seq=after_seq, limit=limit)
        self.events_read += len(found)
        return found


@asynccontextmanager
async def waited() -> AsyncIterator[tuple[CountingStore, ExecutionId]]:
    """Run an execution whose function was called in the midst of its journal."""
    store = CountingStore()
    async with served({"work": lambda _: {"said": "done"}}, store=store) as api:
        execution_id = ExecutionId(await api.submit(await api.add(TEXT)))
        for number in range(BEFORE):
            await wake(api, execution_id, "wait", {"go": number})
        await wake(api, execution_id, "wait", {"go": True})
        async with asyncio.timeout(LONG_S):
            seen = 0
            while seen < END:
                seen = await events_of(api, execution_id)
        for number in range(AFTER):
            await wake(api, execution_id, "later", {"on": number})
        yield store, execution_id


async def events_of(api: Api, execution_id: str) -> int:
    page = await api.get(f"{V1}events.json", execution_id=execution_id, limit=1)
    return int(page["last_seq"])


async def wake(api: Api, execution_id: str, task: str, data: Any) -> None:
    await api.post("/flow/wakeup.json", data, execution_id=execution_id, task_name=task)


def assert_shown(rules: Any) -> None:
    assert rules["outputs"]["seq"] == END
    assert (rules["outputs"]["basis"], rules["inputs"]["basis"]) == ("exact", "exact")
    assert [rule["value"] for rule in rules["outputs"]["rules"]] == ["done"]


async def test_events_before_a_change_are_replayed_once() -> None:
    async with waited() as (store, execution_id):
        history = History(execution_id, store, Plans(store), spacing=LAST * 2)
        await history.whole(LAST)
        store.events_read = 0
        assert_shown(await past_rules(history, LAST, LAST, "work"))
        assert END <= store.events_read <= END + 2  # and the first one, for its definition


async def test_rules_that_need_states_far_apart_are_shown_in_the_end() -> None:
    async with waited() as (store, execution_id):
        history = History(execution_id, store, Plans(store), spacing=LAST * 2, longest_s=0)
        shown = None
        for _ in range(MOST_REQUESTS):
            with suppress(OverloadedError):
                shown = await past_rules(history, LAST, LAST - 1, "work")
                break
        assert_shown(shown)


async def test_a_look_at_the_present_does_not_begin_a_replay_anew() -> None:
    async with waited() as (store, execution_id):
        history = History(execution_id, store, Plans(store), spacing=LAST * 2)
        await history.at(LAST)
        await history.at(END)
        store.events_read = 0
        await history.at(LAST)
        await history.at(END + 1)
        assert store.events_read == 1


async def test_replays_take_no_time_from_the_rules() -> None:
    now_s = [0.0]
    budget = AnswerBudget(lambda: now_s[0])

    def spend(took_s: float) -> bool:
        now_s[0] += took_s
        return budget.is_over()

    assert not await budget.apply(lambda: spend(LONGEST_S / 2))
    now_s[0] += 10 * LONGEST_S
    assert budget.is_late()
    assert not await budget.apply(lambda: spend(LONGEST_S / 4))
    assert await budget.apply(lambda: spend(LONGEST_S / 2))
