"""An owner journals the language version by whose rules it handles an execution.

While a deployment rolls, a replica of the later release submits executions to owners of the earlier
one, which knows no later version than its own. The replay of the later release must follow the same
rules as the owner did.

What owners of the later release have begun is not for owners of the earlier one, to which a
deployment goes back: they would handle its events by other rules.
"""

from typing import Any, Final

import pytest
from msgspec.structs import replace

from rillflow.core.encoding import codec
from rillflow.core.events import ExecutionSubmitted, RedoRequested
from rillflow.errors import CrashedError, StoreError
from rillflow.ids import ExecutionId, new_execution_id
from rillflow.language.versions import CURRENT
from rillflow.ports.executions import Delivery, Query, Reply, Submission
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.replay import replay
from rillflow.runtime.definitions.catalogue import Plans, add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.unit.test_submitting_together import NoFunctions

FLOW: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: wait
    category: suspense
    conditions: ["$.input[?(@.done == 1)]"]
"""
ENDING: Final = """
workspace: shop
dagName: order
type: flow
tasks: [{name: A, category: pass}]
"""


class LaterStore(MemoryStore):
    """A store whose executions were begun by a release with the next version, while it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_later = False
        self.says: str | None = None

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        stored = await super().load(execution_id, most_bytes)
        if stored is None or not self.is_later:
            return stored
        status = self.says or stored.status
        if stored.snapshot is not None:
            state = codec.decode_state(stored.snapshot)
            state.language = CURRENT + 1
            return replace(stored, snapshot=codec.encode_state(state), status=status)
        first = codec.decode_event(stored.records[0])
        assert isinstance(first, ExecutionSubmitted)
        begun = codec.encode_event(replace(first, language=CURRENT + 1))
        return replace(stored, records=(begun, *stored.records[1:]), status=status)


async def _submit(store: MemoryStore, flow: str, said: int = CURRENT) -> ExecutionId:
    """Submit an execution, and wait until it is in the store."""
    executions = await _owner(store)
    found = await add_descriptor(store, "shop", "order", "release", flow, at_ms=1)
    execution_id: ExecutionId = new_execution_id("shop", "order", at_ms=1, entropy=bytes(10))
    event = ExecutionSubmitted(
        at_ms=1,
        execution_id=execution_id,
        definition_id=found.version or "",
        data=b"{}",
        host="http://rillflow.test",
        language=said,
    )
    submission = Submission(business="shop", feature="order", event=event)
    for _ in range(2):  # a repetition changes nothing
        (await executions.call(submission)).raise_for_error()
    await executions.stop()
    return execution_id


async def _owner(store: MemoryStore) -> LocalExecutions:
    gateway: Any = NoFunctions()
    executions = LocalExecutions(store=store, gateway=gateway, clock=SystemClock())
    await executions.start()
    return executions


async def _shown(store: MemoryStore, execution_id: ExecutionId) -> Reply:
    """Ask an owner that has just started."""
    executions = await _owner(store)
    try:
        return await executions.call(Query(execution_id=execution_id, kind="status"))
    finally:
        await executions.stop()


async def _language_of(said: int) -> tuple[int, bytes | None]:
    """Submit an execution of a language version; return the journaled one, and what is shown."""
    store = MemoryStore()
    await store.open()
    execution_id = await _submit(store, FLOW, said)
    shown = await _shown(store, execution_id)
    stored = await store.load(execution_id)
    assert stored is not None
    first = codec.decode_event(stored.records[0])
    assert isinstance(first, ExecutionSubmitted)
    return first.language, shown.body


@pytest.mark.parametrize("said", [1, CURRENT - 1, CURRENT])
async def test_a_version_that_the_owner_knows_is_kept(said: int) -> None:
    assert (await _language_of(said))[0] == said


async def test_in_the_place_of_a_later_version_is_that_of_the_owner() -> None:
    assert await _language_of(CURRENT + 1) == await _language_of(CURRENT)


async def test_an_unfinished_execution_of_a_later_version_is_left_alone_and_says_why() -> None:
    store = LaterStore()
    await store.open()
    execution_id = await _submit(store, FLOW)
    before = await store.load(execution_id)
    store.is_later = True
    told = await _shown(store, execution_id)
    with pytest.raises(CrashedError, match=f"has language version {CURRENT + 1}.* deploy the"):
        told.raise_for_error()
    store.is_later = False
    assert await store.load(execution_id) == before
    (await _shown(store, execution_id)).raise_for_error()


async def test_a_snapshot_of_a_later_version_is_left_alone_too() -> None:
    store = MemoryStore()
    await store.open()
    execution_id = await _submit(store, FLOW)
    stored = await store.load(execution_id)
    assert stored is not None
    plan = await Plans(store).get(stored.definition_id)
    state = replay(plan, stored).state
    state.language = CURRENT + 1
    later = replace(stored, snapshot=codec.encode_state(state), records=())
    with pytest.raises(StoreError, match="deploy the release to which it was submitted"):
        replay(plan, later)
    state.language = CURRENT
    known = replace(stored, snapshot=codec.encode_state(state), records=())
    assert replay(plan, known).state == state


async def test_one_that_has_ended_is_shown_and_not_begun_again() -> None:
    store = LaterStore()
    await store.open()
    execution_id = await _submit(store, ENDING)
    expected = await _shown(store, execution_id)
    store.is_later = True
    assert (await _shown(store, execution_id)).body == expected.body
    executions = await _owner(store)
    redo = Delivery(execution_id=execution_id, event=RedoRequested(at_ms=2))
    refused = await executions.call(redo)
    assert refused.error is not None
    assert f"has language version {CURRENT + 1}" in refused.error
    await executions.stop()


async def test_one_that_has_ended_otherwise_by_its_own_rules_is_not_shown() -> None:
    store = LaterStore()
    await store.open()
    execution_id = await _submit(store, ENDING)
    store.is_later, store.says = True, "failed"
    with pytest.raises(CrashedError, match=f"has language version {CURRENT + 1}"):
        (await _shown(store, execution_id)).raise_for_error()
