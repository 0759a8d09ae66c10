"""Reading the events of one trigger: each starts one execution, and is then acknowledged.

Events with one ordering key are dealt with in order, also when a submission is refused for the
load: the same event is tried again, and the source gives no more of its key. If that takes long,
the source takes the event back meanwhile, so that it holds no memory. A failure of the source
closes it, and opens it again after a pause. What was not acknowledged comes again, and is found by
its key.

Used by `runtime/triggers/sources/runner.py`.
"""

import asyncio
import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rillflow.backoff import Backoff
from rillflow.errors import DefectError, RillflowError
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.ports.clock import Clock
from rillflow.ports.storage.store import Store
from rillflow.ports.triggers import (
    EventSource,
    PostponedEventsSource,
    TriggerEvent,
    TriggerProgress,
    TriggerRow,
    TriggerType,
    UnreadEventsSource,
    WorkspaceTriggerType,
)
from rillflow.runtime.submission.intake import MOST_KEY_CHARACTERS
from rillflow.runtime.triggers.firing_rates import workspace_of_row
from rillflow.runtime.triggers.log_room import LogRoom
from rillflow.runtime.triggers.measuring import TriggerMeters
from rillflow.runtime.triggers.progress import (
    FAILED,
    LONGEST_REASON,
    MOST_REFUSALS,
    WAITING,
    Refusal,
    decode_progress,
    encode_progress,
)
from rillflow.runtime.triggers.submission_options import (
    Submitter,
    is_not_now,
    options_of,
    was_started_before,
)
from rillflow.runtime.triggers.tracing import span_of
from rillflow.triggers.spec import decode_spec

log = logging.getLogger("rillflow.triggers")

MOST_ORDERING_KEYS: Final = 64
"""How many ordering keys are dealt with at the same time."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
PUT_BACK_S: Final = 2.0
"""Events that are tried again after a pause of so long, or a longer one, are put back meanwhile."""
IDLE_S: Final = 0.05
"""The shortest wait for a source that has nothing, so that none holds the processor."""
CLOSE_S: Final = 5.0
"""How long closing a source may take."""


class _ChangedError(Exception):
    """The trigger was changed, paused or removed; the next look shows how."""


class SourceReader:
    """Reads the events of one trigger, until stopped."""

    def __init__(  # noqa: PLR0913 - the parts that it joins
        self,
        row: TriggerRow,
        kind: TriggerType,
        *,
        store: Store,
        submissions: Submitter,
        clock: Clock,
        places: asyncio.Semaphore,
        on_progress: Callable[["SourceReader"], None],
        meters: TriggerMeters,
        log_room: LogRoom,
    ) -> None:
        """Read a trigger from its row; a submission takes one of the places of its workspace.

        Raises:
            msgspec.MsgspecError: The row cannot be read.
        """
        self.row = row
        self.progress = decode_progress(row.progress)
        self._kind = kind
        self._spec = decode_spec(row.spec)
        self._store = store
        self._submissions = submissions
        self._clock = clock
        self._places = places
        self._on_progress = on_progress
        self._meters = meters
        self._log_room = log_room
        self._unstored = set[str]()
        """Ordering keys of events in the list of refusals that the store does not have yet."""
        self._source: EventSource | None = None
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._delays: dict[str, Backoff] = {}
        """The pauses of ordering keys whose next event was put back."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._run(), name=f"trigger {self.row.id}")

    async def stop(self) -> None:
        """Read nothing more; what was not acknowledged comes again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def give_way(self, reason: str) -> None:
        """Tell that this source is closed for now, so that others are read."""
        self._is(WAITING, reason)

    @property
    def behind(self) -> int | None:
        """How many events wait, as far as the source knows."""
        return None if self._source is None else self._source.behind

    def row_of_progress(self) -> TriggerProgress:
        """Return what the store is to know."""
        return TriggerProgress(
            id=self.row.id,
            position_ms=self.row.position_ms,
            progress=encode_progress(self.progress),
        )

    async def _run(self) -> None:
        while True:
            self._is("connecting")
            try:
                await self._read_once()
            except _ChangedError:
                return
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                self._is(FAILED, "what the source waited for was cancelled")
            except RillflowError as error:
                self._is(FAILED, str(error))
            except Exception as error:
                log.exception("trigger_failed", extra={"trigger": self.row.id})
                self._is(FAILED, f"{type(error).__name__}: {error}")
            await asyncio.sleep(self._backoff.next_s())

    async def _read_once(self) -> None:
        """Open the source, and read it until it fails."""
        settings = dict(self._spec.config or {})
        if isinstance(self._kind, WorkspaceTriggerType):
            source = self._kind.open_for(workspace_of_row(self.row), self.row.id, settings)
        else:
            source = self._kind.open(self.row.id, settings)
        self._source = source
        try:
            await self._read(source)
        finally:
            self._source = None
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)
            self._under_way.clear()
            self._delays.clear()
            self._unstored.clear()
            await self._close(source)

    async def _close(self, source: EventSource) -> None:
        """Close a source; whatever it raises, or how long it takes, it is gone."""
        closing = asyncio.create_task(source.close(), name=f"close {self.row.id}")
        await asyncio.wait([closing], timeout=CLOSE_S)
        if not closing.done():
            closing.cancel()
            reason = f"it takes longer than {CLOSE_S:g} s"
        elif closing.cancelled():
            reason = "it was cancelled"
        else:
            reason = str(closing.exception() or "")
        if reason:
            log.warning("trigger_not_closed", extra={"trigger": self.row.id, "reason": reason})

    async def _read(self, source: EventSource) -> None:
        while True:
            events = await source.take(frozenset(self._under_way))
            unread = source.unread if isinstance(source, UnreadEventsSource) else ""
            self._is("connected", unread)
            self._backoff.reset()
            if not events:
                await asyncio.sleep(IDLE_S)
            self._begin(source, events)
            await self._collect()

    def _begin(self, source: EventSource, events: Sequence[TriggerEvent]) -> None:
        """Begin to deal with the events of each ordering key."""
        by_key: dict[str, list[TriggerEvent]] = defaultdict(list)
        for event in events:
            by_key[event.ordering_key].append(event)
        for ordering_key, of_key in by_key.items():
            if ordering_key in self._under_way:
                raise DefectError(f"the source gave events of key {ordering_key}, which is busy")
            work = self._work_on(source, ordering_key, of_key)
            self._under_way[ordering_key] = asyncio.create_task(
                work, name=f"trigger {self.row.id} {ordering_key}"
            )

    async def _collect(self) -> None:
        """Let go of ordering keys that are done; wait for one if there are too many."""
        if len(self._under_way) >= MOST_ORDERING_KEYS:
            await asyncio.wait(self._under_way.values(), return_when=asyncio.FIRST_COMPLETED)
        for ordering_key, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[ordering_key]
                task.result()

    async def _work_on(
        self, source: EventSource, ordering_key: str, events: list[TriggerEvent]
    ) -> None:
        """Deal with events of one key; if they were put back, keep it busy until the next try."""
        backoff = self._delays.pop(ordering_key, None) or Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        pause_s = await self._deal_with(source, events, backoff)
        events.clear()
        if pause_s:
            self._delays[ordering_key] = backoff
            await asyncio.sleep(pause_s)

    async def _deal_with(
        self, source: EventSource, events: Sequence[TriggerEvent], backoff: Backoff
    ) -> float:
        """Start the executions of events with one ordering key, in order, and acknowledge them.

        Returns:
            After how long the key is to be read again; 0 if all events were dealt with.
        """
        base = await self._context_now()
        done: TriggerEvent | None = None
        for event in events:
            if event.context is None and not event.problem:
                self._note(skipped=self.progress.skipped + 1)
                self._meters.count(self.row.type, "skipped")
            elif pause_s := await self._start(source, event, base, backoff):
                if done is not None:
                    await self._acknowledge(source, done)
                return pause_s
            done = event
        await self._acknowledge(source, events[-1])
        return 0

    async def _acknowledge(self, source: EventSource, event: TriggerEvent) -> None:
        """Acknowledge events up to one of a key, after what was refused of them is on disk."""
        if event.ordering_key in self._unstored:
            await self._store.note_trigger_progress([self.row_of_progress()])
            self._unstored.discard(event.ordering_key)
        await source.acknowledge(event)

    async def _context_now(self) -> JsonObject:
        """Return the context of the trigger, which is as it was.

        Raises:
            _ChangedError: It is not: it was changed, paused or removed.
        """
        stored = await self._store.trigger(self.row.id)
        if stored is None or stored[0].revision != self.row.revision or stored[0].is_paused:
            raise _ChangedError
        context = decode_json(stored[1].encode()) if stored[1] else {}
        return context if isinstance(context, dict) else {}

    async def _start(
        self, source: EventSource, event: TriggerEvent, base: JsonObject, backoff: Backoff
    ) -> float:
        """Start the execution of an event, whatever the load; put it aside if it is refused.

        Returns:
            After how long it is to be tried again, if its source has taken it back; else 0.
        """
        if event.problem:
            await self._refuse(source, event, event.problem)
            return 0
        data = encode_json({**base, **(event.context or {})})
        begun_ms, sender = self._clock.now_ms(), event.traceparent
        key = key_of_event(self.row.id, event.key)
        options = options_of(self._spec, key)._replace(traceparent=sender, link=span_of(key))
        while True:
            try:
                async with self._places:
                    started = await self._submissions.submit(self.row.descriptor_id, data, options)
            except RillflowError as error:
                if was_started_before(error):
                    self._note(error=str(error)[:LONGEST_REASON])
                    return 0
                if not is_not_now(error):
                    await self._refuse(source, event, str(error))
                    return 0
                self._warn("trigger_delayed", reason=str(error))
                self._meters.count(self.row.type, "delayed")
            else:
                now_ms = self._clock.now_ms()
                self._note(
                    fired=self.progress.fired + 1,
                    last_ms=now_ms,
                    last_execution=started,
                    error="",
                )
                self._meters.started(self.row, key, started, begun_ms, now_ms, sender)
                backoff.reset()
                return 0
            pause_s = backoff.next_s()
            if pause_s >= PUT_BACK_S and isinstance(source, PostponedEventsSource):
                await source.put_back(event)
                return pause_s
            await asyncio.sleep(pause_s)
            await self._context_now()

    async def _refuse(self, source: EventSource, event: TriggerEvent, reason: str) -> None:
        """Put an event aside: where its source keeps such events, or in the list of the trigger."""
        reason = reason[:LONGEST_REASON]
        self._warn("trigger_refused", event=event.key, reason=reason)
        is_kept = await source.refuse(event, reason)
        self._meters.count(self.row.type, "refused")
        refusal = Refusal(key=event.key[:LONGEST_REASON], reason=reason, at_ms=self._clock.now_ms())
        others = [each for each in self.progress.refusals if each.key != refusal.key]
        refusals = self.progress.refusals if is_kept else (*others, refusal)[-MOST_REFUSALS:]
        self._note(refused=self.progress.refused + 1, refusals=tuple(refusals), error=reason)
        if not is_kept:
            self._unstored.add(event.ordering_key)

    def _warn(self, message: str, **facts: object) -> None:
        self._log_room.warn(workspace_of_row(self.row), message, trigger=self.row.id, **facts)

    def _note(self, **changes: object) -> None:
        self.progress = msgspec.structs.replace(self.progress, **changes)
        self._on_progress(self)

    def _is(self, state: str, reason: str = "") -> None:
        """Note how the source is, and since when."""
        reason = reason[:LONGEST_REASON]
        if state == "connecting" and self.progress.state == FAILED:
            return  # it is told why it failed until it is connected
        if (self.progress.state, self.progress.state_reason) != (state, reason):
            is_new = self.progress.state != state
            state_ms = self._clock.now_ms() if is_new else self.progress.state_ms
            self._note(state=state, state_ms=state_ms, state_reason=reason)
            fields = {"trigger": self.row.id, "state": state, "reason": reason}
            log.info("trigger_source", extra=fields)


def _is_cancelled() -> bool:
    """Tell whether the current task is to end, or a library has cancelled something of its own."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def key_of_event(trigger_id: str, key: str) -> str:
    """Return the idempotency key of an event: the same for whoever reads it, and how often."""
    whole = f"trigger/{trigger_id}/{key}"
    if len(whole) <= MOST_KEY_CHARACTERS:
        return whole
    digest = hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
    return f"trigger/event/{digest}"
