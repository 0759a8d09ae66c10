"""Bringing into memory what a batch of calls is about, and giving it back."""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, TypeAlias

from rillflow.errors import (
    ConflictError,
    CrashedError,
    RillflowError,
    SetApartError,
    StoreError,
)
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, ResourceCall, Submission, TrafficCall
from rillflow.ports.gateway import DispatchRequest
from rillflow.ports.store import ExecutionFilter, Journal
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.cache import ActivationCache
from rillflow.runtime.aio.background import Crashed
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.crashes.crash_history import CrashHistory

log = logging.getLogger("rillflow.activation")

_WITHOUT_EXECUTION: Final = (ResourceCall, TrafficCall)
Found: TypeAlias = dict[ExecutionId, ActiveExecution | RillflowError | None]
"""What calls are about: borrowed from memory, unreadable, or unknown."""


class Leases:
    """Borrows executions for calls; what cannot be read concerns its own calls only."""

    def __init__(
        self,
        residents: ActivationCache,
        crashed: Crashed,
        *,
        deaths: CrashHistory,
        journal: Journal,
    ) -> None:
        self._deaths = deaths
        self._journal = journal
        self._residents = residents
        self._crashed = crashed

    async def borrow_all(self, calls: Sequence[Call], *, look: bool) -> Found:
        """Borrow what calls are about; ``look`` looks in the store also for new executions."""
        found: Found = {}
        try:
            for call in calls:
                if call.execution_id not in found:
                    await self._find_for(call, found, look=look)
        except BaseException:
            self.give_back(found)
            raise
        return found

    def must_read(self, call: Call) -> bool:
        """Tell whether the store must be asked before a call can be handled."""
        if isinstance(call, _WITHOUT_EXECUTION) or self._residents.holds(call.execution_id):
            return False
        return not isinstance(call, Submission) or self._may_exist(call.execution_id)

    async def retry_while_unavailable(self, execution_ids: Iterable[ExecutionId]) -> Found:
        """Borrow executions as they are at one moment, however long it takes to read them."""
        ids = list(dict.fromkeys(execution_ids))
        while True:
            found: Found = {}
            try:
                for execution_id in ids:
                    found[execution_id] = await retry_while_unavailable(
                        partial(self._borrow_if_read, execution_id)
                    )
            except BaseException:
                self.give_back(found)
                raise
            if not any(isinstance(each, ActiveExecution) and each.gone for each in found.values()):
                return found
            self.give_back(found)

    async def still_awaited(self, requests: Sequence[DispatchRequest]) -> list[DispatchRequest]:
        """Return those of some dispatches whose answers would be taken at this moment."""
        found = await self.retry_while_unavailable(request.execution_id for request in requests)
        awaited = [request for request in requests if awaits(found[request.execution_id], request)]
        self.give_back(found)
        return awaited

    def unawaited(self, requests: Iterable[DispatchRequest]) -> list[DispatchRequest]:
        """Return those of some dispatches whose answers would not be taken, as memory tells."""
        found = ((request, self._residents.find(request.execution_id)) for request in requests)
        return [
            request
            for request, hosted in found
            if hosted is not None and not hosted.gone and not hosted.awaits(request)
        ]

    async def _borrow_if_read(
        self, execution_id: ExecutionId
    ) -> ActiveExecution | RillflowError | None:
        found = await self._borrow_safely(execution_id)
        if isinstance(found, StoreError):
            raise found
        return found

    def give_back(self, found: Found) -> None:
        """End the borrowing."""
        for hosted in found.values():
            if isinstance(hosted, ActiveExecution):
                self._residents.give_back(hosted)

    async def _find_for(self, call: Call, found: Found, *, look: bool) -> None:
        execution_id = call.execution_id
        if isinstance(call, _WITHOUT_EXECUTION):
            return
        if isinstance(call, Submission):
            if self._residents.plans.ready(call.event.definition_id) is None:
                error = await self._plan_error(call.event.definition_id)
                if error is not None:
                    found[execution_id] = error
                    return
            if not look and not self._may_exist(execution_id):
                return
        hosted = self._residents.find(execution_id)
        if hosted is not None and hosted.can_be_borrowed:
            hosted.borrowers += 1
            found[execution_id] = hosted
        else:
            found[execution_id] = await self._borrow_safely(execution_id)

    def _may_exist(self, execution_id: ExecutionId) -> bool:
        is_unread = execution_id in self._residents.unresumed
        return is_unread or self._deaths.is_set_apart(execution_id)

    async def _with_status(self, error: SetApartError, execution_id: ExecutionId) -> RillflowError:
        """Add what listings say of an execution that cannot be read itself."""
        wanted = ExecutionFilter(execution_id=execution_id)
        try:
            for listed in await self._journal.list_executions(wanted, limit=1):
                error.status = listed.status.upper()
        except StoreError as failure:
            return failure
        return error

    async def _plan_error(self, definition_id: str) -> RillflowError | None:
        try:
            await self._residents.plans.get(definition_id)
        except RillflowError as error:
            log.exception("definition_unusable", extra={"definition_id": definition_id})
            return error
        except Exception:
            log.exception("definition_unusable", extra={"definition_id": definition_id})
            return CrashedError(f"definition {definition_id} cannot be read")
        return None

    async def _borrow_safely(
        self, execution_id: ExecutionId
    ) -> ActiveExecution | RillflowError | None:
        try:
            return await self._residents.borrow(execution_id)
        except SetApartError as error:
            return await self._with_status(error, execution_id)
        except CrashedError as error:
            return error
        except RillflowError as error:
            log.exception("activation_failed", extra={"execution_id": execution_id})
            return error
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            self._crashed(execution_id, error)
            return CrashedError(f"{execution_id} cannot be read")


def usable(found: ActiveExecution | RillflowError | None) -> ActiveExecution | None:
    """Return what was found of an execution, None when it is unknown.

    Raises:
        RillflowError: It cannot be read.
        ConflictError: Memory may be wrong, and is about to be read again.
    """
    if isinstance(found, RillflowError):
        raise found
    if found is not None and found.gone is not None:
        raise ConflictError(f"{found.state.execution_id} is being read again")
    return found


def awaits(found: ActiveExecution | RillflowError | None, request: DispatchRequest) -> bool:
    """Tell whether an answer would be taken; an execution that crashes may go on."""
    return found.awaits(request) if isinstance(found, ActiveExecution) else found is not None
