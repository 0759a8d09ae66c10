"""Admission of submissions (spec 6): by memory, busy functions, traffic, health, and how many wait.

Checks that need another process are made only if a setting requires them. The owner of the new
execution checks for busy functions when it handles the submission. A check that cannot be made
accepts. ``SubmissionLimit`` counts at each owner, and before it in each process that submits.

Used by `actors`, `runtime`, and `serve/routes/monitoring/overload.py`.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from rillflow.errors import (
    DefectError,
    OverloadedError,
    RequestError,
    RillflowError,
    StoreError,
    UnavailableError,
)
from rillflow.gateways.limits.concurrency import LEAST_SHARED, SHARE
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.executions import (
    Call,
    Executions,
    Reply,
    ResourceCall,
    Submission,
    TrafficCall,
    reply_to_error,
)
from rillflow.ports.storage.store import Store
from rillflow.runtime.backpressure.busy_functions import ResourceRow, resource_limit, unsatisfied
from rillflow.runtime.backpressure.service_health import (
    MINUTE_MS,
    ExecutionCounts,
    Figures,
    check_health,
    measure,
)
from rillflow.runtime.backpressure.store_room import StoreRoom
from rillflow.setting_values import FlowHealth, matching_id
from rillflow.settings import ResourceCheck, Settings

log = logging.getLogger("rillflow.admission")

LONGEST_ASK_S: Final = 2.0

FRESH_S: Final = 30.0
"""For how long a reading of the memory in use is good."""
MEMINFO: Final = Path("/proc/meminfo")
STORAGE_LIMIT: Final = 30200
TRAFFIC_LIMIT: Final = 30201

_rows = msgspec.json.Decoder(list[ResourceRow])


class Health(NamedTuple):
    """The figures of a service and its thresholds."""

    figures: Figures
    thresholds: FlowHealth


class Admission:
    """The checks for a submission from outside; sub-flows are not checked."""

    def __init__(
        self, settings: Settings, *, store: Store, executions: Executions, clock: Clock
    ) -> None:
        self._settings = settings
        self._store = store
        self._executions = executions
        self._clock = clock
        self._memory = NodeMemory(clock)
        self.room = StoreRoom(settings, clock)
        switch = settings.switch
        self._checks_storage = (
            switch("ENABLE_RUNTIME_STORAGE_USAGE_CHECK")
            and 0 < settings.storage_max_usage_percent < 100
        )
        self._checks_resources = switch("ENABLE_RUNTIME_RESOURCE_STATUS_CHECK")
        self._traffic = (
            settings.submit_traffic_limits
            if switch("ENABLE_RUNTIME_SUBMIT_TRAFFIC_CONTROL")
            else {}
        )
        self._health = settings.flow_health if switch("ENABLE_RUNTIME_SUBMIT_DAG_CHECK") else {}

    @property
    def asks(self) -> bool:
        """Tell whether a submission may have to wait for what other processes say."""
        return bool(self._traffic or self._health)

    def resource_check(
        self, business: str, feature: str, asked: ResourceCheck | None
    ) -> ResourceCheck:
        """Return the check for busy functions: as requested, as set, or ``short_board``."""
        if not self._checks_resources:
            return ResourceCheck(check_type="skip")
        if asked is not None:
            return asked
        checks = self._settings.resource_checks
        subject = matching_id(checks, business, feature) if checks else None
        return checks[subject] if subject else ResourceCheck()

    async def check(
        self,
        business: str,
        feature: str,
        resources: ResourceCheck,
        *,
        dedicated: bool = False,
        size_bytes: int = 0,
    ) -> None:
        """Check a submission with data of so many bytes; its owner checks for busy functions.

        The owner of a new dedicated execution knows no busy functions, so they are checked here.

        Raises:
            RequestError: A limit is reached (30200, 30201).
        """
        self.room.require(size_bytes)
        if self._checks_storage and self.is_full(self.storage_usage()):
            raise RequestError("runtime storage limit", wire_code=STORAGE_LIMIT)
        is_checked = dedicated and resources.check_type != "skip"
        if not (self._traffic or self._health or is_checked):
            return
        traffic = matching_id(self._traffic, business, feature)
        is_measured = matching_id(self._health, business, feature) is not None
        if traffic is None and not is_measured and not is_checked:
            return
        try:
            busy = await self.busy(business, feature, resources)
            if busy:
                raise resource_limit(busy)
            if traffic is not None:
                await self._take_traffic(traffic)
            health = await self.health(business, feature)
        except (StoreError, UnavailableError, DefectError, TimeoutError) as error:
            log.warning("admission_not_checked", extra={"reason": repr(error)})
            return
        if health is not None:
            check_health(*health)

    async def _take_traffic(self, subject: str) -> None:
        call = TrafficCall(subject=subject, limit=self._traffic[subject])
        async with asyncio.timeout(LONGEST_ASK_S):
            reply = await self._executions.call(call)
        if not reply.raise_for_error().changed:
            raise RequestError("submit traffic limit", wire_code=TRAFFIC_LIMIT)

    def storage_usage(self) -> int:
        """Return the share of this machine's memory in use, in percents."""
        return self._memory.used_percent()

    def is_full(self, percent: int) -> bool:
        """Tell whether this use of memory refuses submissions."""
        return self._checks_storage and percent > self._settings.storage_max_usage_percent

    async def rows(self, service: str) -> list[ResourceRow]:
        """Return the functions that a service is known to call, with their hints."""
        replies = await self._executions.ask_all(ResourceCall(kind="read", service=service))
        found: dict[tuple[str, str], ResourceRow] = {}
        for reply in replies:
            for row in _rows.decode(reply.body or b"[]"):
                known = found.get((row.task, row.resource))
                if known is None or known.until_ms < row.until_ms:
                    found[row.task, row.resource] = row
        return list(found.values())

    async def busy(self, business: str, feature: str, check: ResourceCheck) -> list[str]:
        """Return the busy functions because of which a submission is refused."""
        rows = await self.rows(f"{business}:{feature}")
        return unsatisfied(
            {row.resource for row in rows if row.busy},
            {row.resource for row in rows},
            check=check.check_type,
            keys=check.key_resources,
            any_key=self._settings.key_resource_any,
        )

    async def health(
        self, business: str, feature: str, counting: ExecutionCounts | None = None
    ) -> Health | None:
        """Return the figures of the id for which thresholds are set, None without any.

        The store counts, or ``counting`` where nobody waits for it who submits.
        """
        subject = matching_id(self._health, business, feature)
        if subject is None:
            return None
        thresholds = self._health[subject]
        now_ms = self._clock.now_ms()
        figures = await measure(
            counting or self._store,
            business,
            None if subject == business else feature,
            from_ms=now_ms - thresholds.start_offset_min * MINUTE_MS,
            to_ms=now_ms - thresholds.end_offset_min * MINUTE_MS,
        )
        return Health(figures, thresholds)


class NodeMemory:
    """The share of memory in use, read again when it is older than 30 s (spec 6.1)."""

    def __init__(self, clock: Clock, source: Path = MEMINFO) -> None:
        self._clock = clock
        self._source = source
        self._read_s: float | None = None
        self._percent = 0

    def used_percent(self) -> int:
        """Return whole percents; 0 if the system does not tell."""
        now_s = self._clock.monotonic_s()
        if self._read_s is None or now_s - self._read_s > FRESH_S:
            self._read_s, self._percent = now_s, _used_percent(self._source)
        return self._percent


def _used_percent(source: Path) -> int:
    try:
        lines = (line.split() for line in source.read_text(encoding="ascii").splitlines())
        sizes = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        return 100 - 100 * sizes["MemAvailable:"] // sizes["MemTotal:"]
    except (OSError, ValueError, KeyError, ZeroDivisionError):
        return 0


MOST_QUEUED: Final = 5_000
MOST_UNANSWERED: Final = 100_000
MOST_UNANSWERED_BYTES: Final = 256 << 20

_CALLS_WAIT: Final = "calls wait for their answers"
_SUBMISSIONS_WAIT: Final = "submissions are waiting here"

COUNTING_SHARE: Final = 20
_COUNTED_AGAIN: Final = 100
"""Calls are counted by workspace anew when this part of the limit has come or gone."""

Take: TypeAlias = Callable[[Sequence[Call]], Awaitable[list[Reply]]]
IsKnown: TypeAlias = Callable[[ExecutionId], Awaitable[bool]]


class UnansweredCalls:
    """The calls without an answer; no workspace has so many that others may submit nothing.

    A workspace may have eight times as many as it leaves free. While fewer than eight ninths of the
    limit are unanswered in all, none can have more, so they are counted by workspace only beyond
    that: of 100,000 that takes some 30 ms, and at most a twentieth of the time.

    Executions that run exceed the limit, by one event or when their calls are made again after a
    restart. Then those workspaces wait that have more than a sixteenth of the limit.
    """

    def __init__(
        self,
        number: Callable[[], int] = lambda: 0,
        executions: Callable[[], Iterable[ExecutionId]] = tuple,
        most: int = MOST_UNANSWERED,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Count ``number`` calls up to ``most``; ``executions`` names that of each of them."""
        self._number = number
        self._executions = executions
        self._most, self._now_s = most, now_s
        self._counted = -1
        self._counts_from_s = 0.0
        self._of_workspace: Counter[str] = Counter()

    @property
    def are_few(self) -> bool:
        """Tell whether every workspace may submit."""
        number = self._number()
        share = SHARE if self._most >= LEAST_SHARED else self._most
        return number < share * (self._most - number)

    def refuse(self, execution_id: ExecutionId) -> bool:
        """Tell whether the workspace of an execution has to wait for answers first."""
        number = self._number()
        free = self._most - number
        if self._most < LEAST_SHARED:
            return free <= 0
        own = self._number_of(execution_id, number)
        return own >= SHARE * free if free > 0 else own > self._most // LEAST_SHARED

    def _number_of(self, execution_id: ExecutionId, number: int) -> int:
        """Return how many of all the workspace of an execution has."""
        if abs(number - self._counted) * _COUNTED_AGAIN >= max(self._most, number):
            begun_s = self._now_s()
            if begun_s >= self._counts_from_s:
                self._of_workspace = self._count_by_workspace()
                self._counted, now_s = number, self._now_s()
                self._counts_from_s = now_s + COUNTING_SHARE * (now_s - begun_s)
        return self._of_workspace[workspace_of(execution_id)]

    def _count_by_workspace(self) -> Counter[str]:
        return Counter(map(workspace_of, self._executions()))


class UnansweredInputs(UnansweredCalls):
    """The bytes of the inputs of these calls, which are in memory until they are answered."""

    def __init__(
        self,
        size_bytes: Callable[[], int] = lambda: 0,
        inputs: Callable[[], Iterable[tuple[ExecutionId, int]]] = tuple,
        most_bytes: int = MOST_UNANSWERED_BYTES,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Count ``size_bytes`` up to ``most_bytes``; ``inputs`` has execution and size of each."""
        super().__init__(size_bytes, most=most_bytes, now_s=now_s)
        self._inputs = inputs

    def _count_by_workspace(self) -> Counter[str]:
        counted: Counter[str] = Counter()
        for execution_id, size_bytes in self._inputs():
            counted[workspace_of(execution_id)] += size_bytes
        return counted


class CallInputs(Protocol):
    """What holds calls without an answer."""

    @property
    def input_bytes(self) -> int:
        """The bytes of the inputs of these calls; read for each submission."""
        ...

    def inputs(self) -> Iterator[tuple[ExecutionId, int]]:
        """Yield the execution of each call, and the bytes of its input."""
        ...


def inputs_of(holders: Sequence[CallInputs], most_bytes: int) -> UnansweredInputs:
    """Count the inputs of the calls that these hold, up to ``most_bytes``."""
    return UnansweredInputs(
        lambda: sum([each.input_bytes for each in holders]),
        lambda: chain.from_iterable(each.inputs() for each in holders),
        most_bytes,
    )


class SubmissionLimit:
    """Counts submissions until they are durable, and refuses those beyond the limit.

    It accepts none of a workspace of which too many calls are unanswered. What its executions
    need is not counted and always passes: callbacks, controls, reads, and their sub-flows.
    """

    def __init__(
        self,
        most: int = MOST_QUEUED,
        *,
        unanswered: UnansweredCalls | None = None,
        inputs: UnansweredInputs | None = None,
    ) -> None:
        """Accept ``most`` at once, while ``unanswered`` calls and their ``inputs`` allow it."""
        self._most = most
        self._unanswered = unanswered or UnansweredCalls()
        self._inputs = inputs or UnansweredInputs()
        self._queued = 0

    @property
    def queued(self) -> int:
        """How many submissions are not durable yet."""
        return self._queued

    @contextmanager
    def place(self, call: Call) -> Iterator[None]:
        """Hold a place for a call.

        Raises:
            OverloadedError: It is a submission, and there is no place for it.
        """
        if not _is_counted(call):
            yield
            return
        if self._queued >= self._most:
            raise OverloadedError(
                f"{self._queued} submissions are waiting, which is the limit; try again later"
            )
        self._queued += 1
        try:
            yield
        finally:
            self._queued -= 1

    @contextmanager
    def places(self, calls: Sequence[Call]) -> Iterator[None]:
        """Hold a place for each of some calls.

        Raises:
            OverloadedError: There is no place for all submissions among them.
        """
        number = sum(map(_is_counted, calls))
        if number and self._queued + number > self._most:
            raise OverloadedError(
                f"{self._queued} submissions are waiting, and {self._most} is the limit; try again"
                " later"
            )
        self._queued += number
        try:
            yield
        finally:
            self._queued -= number

    async def call_many(self, calls: Sequence[Call], take: Take, is_known: IsKnown) -> list[Reply]:
        """Handle the calls that find a place; refuse the others.

        A known submission needs no place: it was accepted before, and its caller lost the answer.
        """
        counted = [number for number, call in enumerate(calls) if _is_counted(call)]
        if not counted:
            return await take(calls)
        waits = dict.fromkeys(self._behind(calls, counted), _CALLS_WAIT)
        may_come = [number for number in counted if number not in waits] if waits else counted
        room = max(self._most - self._queued, 0)
        placed = may_come[:room]
        waits.update(dict.fromkeys(may_come[room:], _SUBMISSIONS_WAIT))
        self._queued += len(placed)
        try:
            if not waits:
                return await take(calls)
            asked = (
                _refusal(calls[number].execution_id, is_known, what)
                for number, what in waits.items()
            )
            told = zip(waits, await asyncio.gather(*asked), strict=True)
            refusals = {number: refusal for number, refusal in told if refusal is not None}
            taken = [call for number, call in enumerate(calls) if number not in refusals]
            answers = iter(await take(taken) if taken else ())
        finally:
            self._queued -= len(placed)
        return [refusals.get(number) or next(answers) for number in range(len(calls))]

    def _behind(self, calls: Sequence[Call], counted: Sequence[int]) -> list[int]:
        """Return the submissions of workspaces that have too many unanswered calls."""
        limits = [each for each in (self._unanswered, self._inputs) if not each.are_few]
        if not limits:
            return []
        return [
            number
            for number in counted
            if any(limit.refuse(calls[number].execution_id) for limit in limits)
        ]


async def _refusal(execution_id: ExecutionId, is_known: IsKnown, waits: str) -> Reply | None:
    """Return the refusal of a submission without a place, None if it is known already."""
    try:
        if await is_known(execution_id):
            return None
    except RillflowError as error:
        return reply_to_error(error)
    return reply_to_error(OverloadedError(f"too many {waits}; try again later"))


def _is_counted(call: Call) -> bool:
    return isinstance(call, Submission) and call.event.parent is None
