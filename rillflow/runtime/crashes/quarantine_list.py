"""Which executions are in quarantine, for operators.

Used by `serve/routes/console_api/operations.py`.
"""

from collections import defaultdict

from rillflow.ids import ExecutionId
from rillflow.jsontypes import decode_json
from rillflow.ports.executions import Executions, ResourceCall
from rillflow.ports.storage.store import Death, Store
from rillflow.runtime.crashes.crash_history import MOST_DEATHS, reason_of


async def quarantined(store: Store, executions: Executions) -> dict[ExecutionId, str]:
    """Return the executions in quarantine, with the reasons.

    Those whose processes died are in the store. Those whose handling raises are known only to
    their owners: one that does not answer, or that owns one dedicated execution, tells none.

    Raises:
        StoreError: The store cannot be read.
    """
    deaths: dict[ExecutionId, list[Death]] = defaultdict(list)
    for death in await store.deaths():
        deaths[death.execution_id].append(death)
    found = {
        each: reason_of(of_one) for each, of_one in deaths.items() if len(of_one) >= MOST_DEATHS
    }
    for reply in await executions.ask_all(ResourceCall(kind="quarantined", service="")):
        told = decode_json(reply.body) if reply.body else None
        # An owner of an earlier release answers with a list.
        if isinstance(told, dict):
            found |= {each: str(reason) for each, reason in told.items()}
    return found
