"""Executions that are prepared before their time, where many triggers are due at one moment.

What their submissions need is read, and the owner in this process handles them, before the time
comes; then they are only written. Until then nobody knows of them: a process that ends leaves
nothing behind, and whoever comes next fires the time as usual.

Used by `runtime/triggers/runner.py` and `runtime/triggers/start.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, NamedTuple, TypeAlias

from rillflow.errors import RillflowError, UnavailableError
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Reply, Submission, Until
from rillflow.ports.triggers import Triggers
from rillflow.runtime.submission.groups import GroupSubmissions, Kinds
from rillflow.runtime.submission.intake import Suits
from rillflow.runtime.triggers.firing import ActiveTrigger, Firing, TriggerTime, request_of
from rillflow.triggers.overlap import Overlap

log = logging.getLogger("rillflow.triggers")

AHEAD_MS: Final = 700
"""So long before their time executions are prepared: 1,000 need some 100 ms of a processor."""
LEAST_AHEAD: Final = 32
"""Triggers of one time for which that is worth while."""
MOST_AHEAD: Final = 2_000
"""Triggers that are prepared at once: their executions are in memory until they are written."""
PREPARED_TOGETHER: Final = 32
"""Triggers whose executions are handled, and written, in one group."""
MOST_KINDS: Final = 32
"""Definitions that are looked up again when the time has come; with more, nothing is prepared."""
MOST_CHANGES: Final = 100
"""Changes of triggers that are looked through then; with more, all are read again."""

SubmitAhead: TypeAlias = Callable[[Sequence[Submission], Until], Awaitable[list[Reply]]]
"""Hands submissions over, which are written ``until``; returns their replies."""


class Ahead(NamedTuple):
    """The way to an owner in this process, for what is prepared.

    Attributes:
        submissions: Makes the submissions.
        suits: Whether an execution would be its own.
        submit: Hands submissions over to it.
        least: From so many triggers of one time on executions are prepared.
    """

    submissions: GroupSubmissions
    suits: Suits
    submit: SubmitAhead
    least: int = LEAST_AHEAD


class StartTime:
    """The moment for which executions are prepared, and whether they may start then.

    They may not if one of their triggers has changed since, or what one starts.
    """

    def __init__(  # noqa: PLR0913 - what it compares
        self,
        at_ms: int,
        ids: Collection[str],
        kinds: Kinds,
        *,
        revision: int,
        store: Triggers,
        submissions: GroupSubmissions,
        clock: Clock,
    ) -> None:
        """Wait for ``at_ms``; the triggers ``ids`` were read at a revision, or later."""
        self.at_ms = at_ms
        self.kinds = kinds
        self.is_called_off = False
        """Whether something has changed."""
        self._ids = frozenset(ids)
        self._revision = revision
        self._store = store
        self._submissions = submissions
        self._clock = clock
        self._check: asyncio.Task[RillflowError | None] | None = None

    async def come(self) -> RillflowError | None:
        """Wait until the time has come; return why what was prepared must not start, if so.

        All that wait are checked together; who comes later is checked anew.
        """
        await until_ms(self._clock, self.at_ms)
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._checked())
        return await asyncio.shield(self._check)

    async def _checked(self) -> RillflowError | None:
        try:
            is_same, are_still = await asyncio.gather(
                self._is_same(), self._submissions.are_still(self.kinds)
            )
        except RillflowError as error:
            log.warning("triggers_not_read", extra={"reason": str(error)})
        else:
            if is_same and are_still and self._clock.now_ms() >= self.at_ms:
                return None
        self.is_called_off = True
        return UnavailableError("a trigger has changed, what it starts, or the clock")

    async def _is_same(self) -> bool:
        """Tell whether none of the triggers has changed."""
        if await self._store.newest_trigger_revision() == self._revision:
            return True
        rows = await self._store.changed_triggers(self._revision, limit=MOST_CHANGES)
        return len(rows) < MOST_CHANGES and self._ids.isdisjoint(row.id for row in rows)


class FiringAhead:
    """Prepares the executions of triggers, and starts them when their time has come."""

    def __init__(self, ahead: Ahead, firing: Firing, *, store: Triggers, clock: Clock) -> None:
        """Prepare by ``ahead``; what has become of it is noted by ``firing``."""
        self.least = ahead.least
        self._ahead = ahead
        self._firing = firing
        self._store = store
        self._clock = clock

    @staticmethod
    def may_prepare(trigger: ActiveTrigger, at_ms: int) -> bool:
        """Tell whether a trigger has just this time to fire, and waits for nothing else."""
        if trigger.spec.overlap is not Overlap.ALLOW or trigger.schedule.jitter_s:
            return False
        return trigger.schedule.next_after(trigger.position_ms) == at_ms

    async def start_time(self, at_ms: int, triggers: Sequence[ActiveTrigger]) -> StartTime | None:
        """Return the moment for which executions may be prepared now; None if they may not.

        Raises:
            RillflowError: The store cannot be read.
        """
        named = {trigger.row.descriptor_id for trigger in triggers}
        if len(named) > MOST_KINDS:
            return None
        submissions = self._ahead.submissions
        return StartTime(
            at_ms,
            [trigger.id for trigger in triggers],
            await submissions.kinds(named),
            revision=await self._store.newest_trigger_revision(),
            store=self._store,
            submissions=submissions,
            clock=self._clock,
        )

    async def start(
        self, due: Sequence[TriggerTime], moment: StartTime
    ) -> list[RillflowError | bool]:
        """Start executions at their time; return what ``Firing.start_together`` does."""
        submissions = self._ahead.submissions
        asked = [request_of(*each) for each in due]
        made = submissions.make_plain(
            asked, moment.kinds, at_ms=moment.at_ms, suits=self._ahead.suits
        )
        replies = await self._ahead.submit(list(made.made.values()), moment.come)
        if moment.is_called_off:
            return [False] * len(due)
        return self._firing.taken(due, await submissions.outcomes_of(asked, made, replies))


async def until_ms(clock: Clock, at_ms: int) -> None:
    """Wait until a time has come that is near; not if the clock is set back meanwhile."""
    while 0 < (left_ms := at_ms - clock.now_ms()) <= 2 * AHEAD_MS:  # noqa: ASYNC110 - a clock
        await asyncio.sleep(left_ms / 1000)
