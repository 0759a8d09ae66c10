"""An owner journals the language version by whose rules it handles an execution.

While a deployment rolls, a replica of the later release submits executions to owners of the earlier
one, which knows no later version than its own. The replay of the later release must follow the same
rules as the owner did.
"""

from typing import Any, Final

import pytest

from rillflow.core.encoding import codec
from rillflow.core.events import ExecutionSubmitted
from rillflow.ids import ExecutionId, new_execution_id
from rillflow.language.versions import CURRENT
from rillflow.ports.executions import Query, Submission
from rillflow.runtime.definitions.catalogue import add_descriptor
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


async def _language_of(said: int) -> tuple[int, bytes | None]:
    """Submit an execution of a language version; return the journaled one, and what is shown."""
    store, clock = MemoryStore(), SystemClock()
    await store.open()
    gateway: Any = NoFunctions()
    executions = LocalExecutions(store=store, gateway=gateway, clock=clock)
    await executions.start()
    found = await add_descriptor(store, "shop", "order", "release", FLOW, at_ms=1)
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
    shown = await executions.call(Query(execution_id=execution_id, kind="status"))
    stored = await store.load(execution_id)
    assert stored is not None
    first = codec.decode_event(stored.records[0])
    assert isinstance(first, ExecutionSubmitted)
    await executions.stop()
    return first.language, shown.body


@pytest.mark.parametrize("said", [1, CURRENT - 1, CURRENT])
async def test_a_version_that_the_owner_knows_is_kept(said: int) -> None:
    assert (await _language_of(said))[0] == said


async def test_in_the_place_of_a_later_version_is_that_of_the_owner() -> None:
    assert await _language_of(CURRENT + 1) == await _language_of(CURRENT)
