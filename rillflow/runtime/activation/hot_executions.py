"""The executions in memory: the most recently used ready to go on, the others folded up."""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from itertools import chain, islice
from typing import Final, NamedTuple

from rillflow.core.plan import Plan
from rillflow.ids import ExecutionId
from rillflow.runtime.activation.active_execution import ActiveExecution

MOST_AWAKE: Final = 1_000
"""Executions beyond these are folded up, which costs each 15 us there and back."""
LARGEST_FOLDED: Final = 4_096
"""Events that are longer together are not folded up: that would hold up the others."""
MOST_TASKS_FOLDED: Final = 64
"""Nor are executions with more tasks, however short their events are."""
LEAST_BYTES: Final = 1_000
"""What an execution takes in memory besides its values."""
BYTES_PER_ENCODED: Final = 12
"""What a byte of an event takes in memory when it is many small values, which is the worst."""


class _Folded(NamedTuple):
    """An execution at rest, in a quarter of the memory."""

    plan: Plan
    state: bytes
    written: int
    encoded_bytes: int
    replay_steps: int
    snapshot_bytes: int
    counted_bytes: int
    noted_as_resting: bool | None


class HotExecutions:
    """Executions in memory, the least recently used first.

    ``most`` bounds their number, and ``most_bytes`` what they take: an estimate by the
    length of their events, which grows with every event and is too high rather than too low.
    Those that were not used of late are folded up, while nobody uses them: half of ``most``,
    and all beyond ``MOST_AWAKE``. One that is looked up again is another object with the same
    state, so whoever counts on an object borrows it, or has an append under way.
    """

    def __init__(
        self,
        most: int,
        most_bytes: int,
        left: Callable[[ActiveExecution], None] = lambda _: None,
    ) -> None:
        """Tell ``left`` of each that had to make room."""
        self._most = most
        self._most_bytes = most_bytes
        self._most_awake = max(min(most // 2, MOST_AWAKE), 1)
        self._left = left
        self._bytes = 0
        self._awake: OrderedDict[ExecutionId, ActiveExecution] = OrderedDict()
        self._asleep: OrderedDict[ExecutionId, ActiveExecution | _Folded] = OrderedDict()

    def __len__(self) -> int:
        return len(self._awake) + len(self._asleep)

    def __contains__(self, execution_id: ExecutionId) -> bool:
        return execution_id in self._awake or execution_id in self._asleep

    def get(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Return an execution that is in memory, and note its use."""
        hosted = self._awake.get(execution_id)
        if hosted is not None:
            self._awake.move_to_end(execution_id)
            return hosted
        asleep = self._asleep.pop(execution_id, None)
        if asleep is None:
            return None
        hosted = self._awake[execution_id] = _unfold(asleep)
        self._put_to_sleep()
        return hosted

    def put(self, execution_id: ExecutionId, hosted: ActiveExecution) -> None:
        """Take an execution into memory; the least used ones that are at rest leave it."""
        self.drop(execution_id)
        self._awake[execution_id] = hosted
        self._put_to_sleep()
        self.weigh(hosted)

    def weigh(self, hosted: ActiveExecution) -> None:
        """Note how large an execution in memory has become, and make room for it."""
        size = LEAST_BYTES + BYTES_PER_ENCODED * hosted.encoded_bytes
        self._bytes += size - hosted.counted_bytes
        hosted.counted_bytes = size
        if len(self) > self._most or self._bytes > self._most_bytes:
            hosted.borrowers += 1
            self._shed()
            hosted.borrowers -= 1

    def drop(self, execution_id: ExecutionId) -> None:
        """Forget what memory holds of an execution; the store knows better."""
        each = self._awake.pop(execution_id, None) or self._asleep.pop(execution_id, None)
        if each is not None:
            self._bytes -= each.counted_bytes
        if isinstance(each, ActiveExecution):
            each.counted_bytes = 0

    def _put_to_sleep(self) -> None:
        # Two for each that comes, so that those in use do not keep the others awake.
        for _ in range(min(len(self._awake) - self._most_awake, 2)):
            execution_id, hosted = self._awake.popitem(last=False)
            if hosted.in_use:
                self._awake[execution_id] = hosted
            else:
                self._asleep[execution_id] = _fold(hosted)

    def _shed(self) -> None:
        excess = len(self) - self._most
        excess_bytes = self._bytes - self._most_bytes
        victims: list[ExecutionId] = []
        oldest_first = chain(self._asleep.items(), self._awake.items())
        for execution_id, each in islice(oldest_first, 4 * max(excess, 0) + 16):
            if excess <= 0 and excess_bytes <= 0:
                break
            if isinstance(each, _Folded) or not each.in_use:
                victims.append(execution_id)
                excess -= 1
                excess_bytes -= each.counted_bytes
        for execution_id in victims:
            each = self._asleep.get(execution_id) or self._awake[execution_id]
            self.drop(execution_id)
            self._left(_unfold(each))


def _fold(hosted: ActiveExecution) -> ActiveExecution | _Folded:
    state = hosted.state
    if hosted.encoded_bytes > LARGEST_FOLDED or len(state.tasks) > MOST_TASKS_FOLDED:
        return hosted
    return _Folded(
        hosted.plan,
        pickle.dumps(state, pickle.HIGHEST_PROTOCOL),
        hosted.written,
        hosted.encoded_bytes,
        hosted.replay_steps,
        hosted.snapshot_bytes,
        hosted.counted_bytes,
        hosted.noted_as_resting,
    )


def _unfold(asleep: ActiveExecution | _Folded) -> ActiveExecution:
    if isinstance(asleep, ActiveExecution):
        return asleep
    state = pickle.loads(asleep.state)  # noqa: S301 - written by this process
    hosted = ActiveExecution(asleep.plan, state, asleep.written, asleep.encoded_bytes)
    hosted.replay_steps = asleep.replay_steps
    hosted.snapshot_bytes = asleep.snapshot_bytes
    hosted.counted_bytes = asleep.counted_bytes
    hosted.noted_as_resting = asleep.noted_as_resting
    return hosted
