"""Leases on the executions of a batch of calls.

`runtime/owner` takes them before it handles a batch, so that no execution is evicted meanwhile.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeAlias

from rillflow.core.events import ExecutionSubmitted
from rillflow.core.tasks.waiting import awaits, call_of
from rillflow.definition.addresses import RAY_PROTOCOLS
from rillflow.errors import (
    ConflictError,
    CrashedError,
    LargeExecutionError,
    NotReadyError,
    OverloadedError,
    RillflowError,
    SetApartError,
    StoreError,
)
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.gateways.outbound.targets import effective_protocol
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.executions import (
    Call,
    Delivery,
    Query,
    ResourceCall,
    Submission,
    TrafficCall,
    Watch,
)
from rillflow.ports.gateway import DispatchRequest
from rillflow.ports.storage.store import ExecutionFilter, Journal
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.cache import ActivationCache
from rillflow.runtime.aio.background import Crashed
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.crashes.crash_history import CrashHistory

log = logging.getLogger("rillflow.activation")

_WITHOUT_EXECUTION: Final = (ResourceCall, TrafficCall)
_READERS: Final = (Query, Watch)
MOST_COLD_BYTES: Final = 4 << 20
"""What a batch has read, about, when the rest of what it needs is read for each call alone."""
Leased: TypeAlias = dict[ExecutionId, ActiveExecution | RillflowError | None]
"""The execution of a call: leased from memory, an error if unreadable, or None if unknown."""

_SYNC: Final = "task_sync"


class Leases:
    """The executions of some calls, which stay in memory until the end of the context."""

    __slots__ = ("_activations", "cold_bytes", "leased")

    def __init__(self, activations: ActivationCache, leased: Leased) -> None:
        self.leased = leased
        self.cold_bytes = 0
        self._activations = activations

    def __enter__(self) -> Leased:
        return self.leased

    def release(self, *_: object) -> None:
        """Release all of them."""
        for execution in self.leased.values():
            if isinstance(execution, ActiveExecution):
                self._activations.release(execution)

    __exit__ = release

    @contextmanager
    def unless_interrupted(self) -> Iterator[None]:
        """Keep the executions while something is waited for; release them if that fails."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def split(self, execution_id: ExecutionId) -> "Leases":
        """Return the lease of one execution, which outlives these; its map goes on being used."""
        kept = Leases(self._activations, self.leased)
        others = [each for each in kept.leased if each != execution_id]
        self.leased = {each: kept.leased.pop(each) for each in others}
        return kept


class LeaseSource:
    """Leases executions for calls; an unreadable execution affects its own calls only."""

    def __init__(
        self,
        activations: ActivationCache,
        crashed: Crashed,
        *,
        crashes: CrashHistory,
        journal: Journal,
    ) -> None:
        self._crashes = crashes
        self._journal = journal
        self._activations = activations
        self._crashed = crashed

    async def for_calls(self, calls: Sequence[Call], *, look: bool, waits: bool) -> Leases:
        """Lease the executions of calls; with ``look`` the store is read for new ones, too.

        Unless it ``waits``, there is a ``NotReadyError`` for what takes long to read, and for what
        would take much memory together with the others.
        """
        leases = Leases(self._activations, {})
        leased, from_memory = leases.leased, self._activations.lease_from_memory
        try:
            for call in calls:
                execution_id = call.execution_id
                if execution_id in leased:
                    continue
                if isinstance(call, Delivery):
                    execution = from_memory(execution_id)
                    if execution is None:
                        leased[execution_id] = await self._lease_cold(leases, call, waits=waits)
                    else:
                        leased[execution_id] = execution
                else:
                    await self._lease_for(leases, call, look=look, waits=waits)
        except BaseException:
            leases.release()
            raise
        return leases

    def reads_cold(self, call: Call) -> bool:
        """Tell whether a call only reads an execution, which is not in memory."""
        return isinstance(call, _READERS) and not self._activations.holds(call.execution_id)

    def unread(self, calls: Sequence[Call]) -> set[ExecutionId]:
        """Return the executions that must be read before calls can be handled."""
        needs = self._needs_stored
        wanted = {each.execution_id for each in calls if isinstance(each, Delivery) or needs(each)}
        return self._activations.not_held(wanted) if wanted else wanted

    def _needs_stored(self, call: Call) -> bool:
        if isinstance(call, Submission):
            return self._may_exist(call.execution_id)
        return not isinstance(call, _WITHOUT_EXECUTION)

    async def at_one_moment(self, execution_ids: Iterable[ExecutionId]) -> Leases:
        """Lease executions in their state at one moment, however long reading them takes."""
        ids = list(dict.fromkeys(execution_ids))
        while True:
            leases = Leases(self._activations, {})
            try:
                for execution_id in ids:
                    leases.leased[execution_id] = await retry_while_unavailable(
                        partial(self._lease_if_read, execution_id)
                    )
            except BaseException:
                leases.release()
                raise
            if not any(map(is_distrusted, leases.leased.values())):
                return leases
            leases.release()

    async def still_awaited(self, requests: Sequence[DispatchRequest]) -> list[DispatchRequest]:
        """Return the dispatches whose answers would be accepted now."""
        with await self.at_one_moment(request.execution_id for request in requests) as leased:
            return [each for each in requests if _awaits(leased[each.execution_id], each)]

    async def unawaited(self, requests: Iterable[DispatchRequest]) -> list[DispatchRequest]:
        """Return the calls whose answers nobody waits for: synchronous calls, and calls of Ray.

        Any other asynchronous call is short, and its callback is recorded after the end, too. So is
        the answer of a synchronous call of an execution that has ended without a cancellation (spec
        3.13). Executions that are not in memory are not read: this is asked every second for
        thousands of calls. What is told is durable: a call that is ended cannot be taken back if
        the event that ended it is lost.
        """
        found = [request for request in requests if self._is_unawaited(request)]
        ids = {request.execution_id for request in found}
        await _written([self._activations.peek(execution_id) for execution_id in ids])
        return [request for request in found if self._is_unawaited(request)]

    async def ended_calls(self, calls: Sequence[CallId]) -> list[CallId]:
        """Return those of some calls that nobody waits for; see ``unawaited``, but from the store.

        An execution that cannot be read may still wait.
        """
        with await self.at_one_moment(execution_id for execution_id, *_ in calls) as leased:
            found = [call for call in calls if _has_ended(leased[call[0]], call)]
            await _written([leased[call[0]] for call in found])
            return [call for call in found if _has_ended(leased[call[0]], call)]

    def _is_unawaited(self, request: DispatchRequest) -> bool:
        if not _lasts(request):
            return False
        execution = self._activations.peek(request.execution_id)
        if execution is None:
            return self._activations.was_cancelled(request.execution_id)
        if execution.is_distrusted:
            return False
        return _is_over_for(execution, request)

    async def _lease_if_read(
        self, execution_id: ExecutionId
    ) -> ActiveExecution | RillflowError | None:
        found = await self._lease_safely(execution_id)
        if isinstance(found, StoreError):
            raise found
        return found

    async def _lease_for(self, leases: Leases, call: Call, *, look: bool, waits: bool) -> None:
        execution_id, leased = call.execution_id, leases.leased
        if isinstance(call, _WITHOUT_EXECUTION):
            return
        if isinstance(call, Submission):
            if self._activations.plans.ready(call.event.definition_id) is None:
                error = await self._plan_error(call.event, waits=waits)
                if error is not None:
                    leased[execution_id] = error
                    return
            if not look and not self._may_exist(execution_id):
                return
        execution = self._activations.lease_from_memory(execution_id)
        if execution is None:
            leased[execution_id] = await self._lease_cold(leases, call, waits=waits)
        else:
            leased[execution_id] = execution

    async def _lease_cold(
        self, leases: Leases, call: Call, *, waits: bool
    ) -> ActiveExecution | RillflowError | None:
        """Lease what is not in memory, or not to be built on yet."""
        execution_id = call.execution_id
        if not waits and leases.cold_bytes > MOST_COLD_BYTES:
            return NotReadyError(f"{execution_id} is not in memory")
        reads_large = not isinstance(call, Query) or call.reads_large
        found = await self._lease_safely(execution_id, waits=waits, reads_large=reads_large)
        if isinstance(found, ActiveExecution):
            leases.cold_bytes += found.weight_bytes
        return found

    def _may_exist(self, execution_id: ExecutionId) -> bool:
        is_unread = execution_id in self._activations.unresumed
        is_suspected = execution_id in self._crashes.suspects
        return is_unread or (is_suspected and self._crashes.is_set_apart(execution_id))

    async def _with_status(self, error: SetApartError, execution_id: ExecutionId) -> RillflowError:
        """Add what listings say about an execution that cannot be read itself."""
        wanted = ExecutionFilter(execution_id=execution_id)
        try:
            for listed in await self._journal.list_executions(wanted, limit=1):
                error.status = listed.status.upper()
        except StoreError as failure:
            return failure
        return error

    async def _plan_error(self, event: ExecutionSubmitted, *, waits: bool) -> RillflowError | None:
        definition_id = event.definition_id
        refuses = event.parent is None  # the task of a sub-flow would fail
        try:
            await self._activations.plans.get(
                definition_id,
                waits=waits,
                refuses=refuses,
                workspace=workspace_of(event.execution_id),
            )
        except (NotReadyError, OverloadedError) as error:
            return error
        except RillflowError as error:
            facts = {"definition_id": definition_id, "reason": repr(error)}
            log.error("definition_unusable", extra=facts)  # noqa: TRY400 - callers choose how many
            return error
        except Exception:
            log.exception("definition_unusable", extra={"definition_id": definition_id})
            return CrashedError(f"definition {definition_id} cannot be read")
        return None

    async def _lease_safely(
        self, execution_id: ExecutionId, *, waits: bool = True, reads_large: bool = True
    ) -> ActiveExecution | RillflowError | None:
        try:
            return await self._activations.lease(execution_id, waits=waits, reads_large=reads_large)
        except (NotReadyError, LargeExecutionError) as error:
            return error
        except SetApartError as error:
            return await self._with_status(error, execution_id)
        except CrashedError as error:
            return error
        except RillflowError as error:
            facts = {"execution_id": execution_id, "reason": repr(error)}
            log.error("activation_failed", extra=facts)  # noqa: TRY400 - callers choose how many
            return error
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            self._crashed(execution_id, error)
            return CrashedError(f"{execution_id} cannot be read")


def usable(found: ActiveExecution | None) -> ActiveExecution | None:
    """Return the lease of an execution, None if it is unknown.

    Raises:
        ConflictError: Memory may be wrong, and is about to be read again.
    """
    if found is not None and found.is_distrusted:
        raise ConflictError(f"{found.state.execution_id} is being read again")
    return found


async def _written(executions: Iterable[ActiveExecution | RillflowError | None]) -> None:
    """Wait until all is durable, or known to be lost, that memory holds of some executions."""
    appends = {
        each.append_under_way
        for each in executions
        if isinstance(each, ActiveExecution) and each.append_under_way is not None
    }
    if appends:
        await asyncio.wait(appends)


def _has_ended(found: ActiveExecution | RillflowError | None, call: CallId) -> bool:
    if found is None:
        return True  # it was removed
    if not isinstance(found, ActiveExecution) or found.is_distrusted:
        return False
    execution_id, task, attempt, poll = call
    request = call_of(found.plan, execution_id, task, attempt=attempt, poll=poll)
    return request is not None and _lasts(request) and _is_over_for(found, request)


def _is_over_for(execution: ActiveExecution, request: DispatchRequest) -> bool:
    if execution.over:
        return execution.state.cancelled
    return not awaits(execution.state, request)


def _lasts(request: DispatchRequest) -> bool:
    return request.pattern == _SYNC or _calls_ray(request)


def _calls_ray(request: DispatchRequest) -> bool:
    """Tell whether a call lasts until its outcome is there, whatever its pattern."""
    return effective_protocol(request.resource_name, request.resource_protocol) in RAY_PROTOCOLS


def _awaits(found: ActiveExecution | RillflowError | None, request: DispatchRequest) -> bool:
    """Tell whether an answer would be accepted; a crashed execution may still continue."""
    return awaits(found.state, request) if isinstance(found, ActiveExecution) else found is not None


def is_distrusted(found: ActiveExecution | RillflowError | None) -> bool:
    """Tell whether what was leased is an execution that is about to be read again."""
    return isinstance(found, ActiveExecution) and found.is_distrusted
