"""The rules of a task instance, with the data that they had when the task started and ended.

A mapping is evaluated again with the context of the event that applied it. Within that event others
may have written the context, before or after; so the result is compared with what was recorded.

A replay goes forward only. So what is read before and after an event is taken in this order; the
states share their values, which no event changes.

Used by `runtime/histories/cache.py`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeVar

from rillflow.core.inspection.cutting import Sizes
from rillflow.core.inspection.rules import (
    Applied,
    Data,
    apply_again,
    conditions_of,
    data_of,
)
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.status import COMPLETED
from rillflow.errors import OverloadedError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.mapping.mappings import MappingList
from rillflow.runtime.aio.thread_pool import FOR_HISTORIES
from rillflow.runtime.histories.history import History

T = TypeVar("T")

MOST_TRIES: Final = 4
"""How many events that changed a task are looked at for the one that applied its mappings."""
LONGEST_S: Final = 2.0
"""How long rules are applied for one answer, and how long after its begin earlier events are looked
at; then the nearest one so far is shown."""
EXACT: Final = "exact"
NEAR: Final = "near"
PREVIEW: Final = "preview"


class Recorded(NamedTuple):
    """What an instance has recorded, in a state that may be gone when it is used."""

    base: str
    input: JsonObject | None
    is_ended: bool


class Change(NamedTuple):
    """What an instance had before and after an event that changed it; None where it was not there.

    ``plan`` and ``state`` are good until the next state is asked for.
    """

    seq: int
    plan: Plan
    state: ExecutionState
    before: Data | None
    after: Data | None


class AnswerBudget:
    """What the rules of one answer may take together, to be applied and to be shown.

    Replays are no part of it: they have a limit of their own.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Begin now, by a clock that only goes forward."""
        self.sizes = Sizes()
        self._clock_s = clock_s
        self._late_s = clock_s() + LONGEST_S
        self._left_s = LONGEST_S
        self._deadline_s = 0.0

    def is_over(self) -> bool:
        """Tell, while rules are applied, whether the time for that is over."""
        return self._clock_s() > self._deadline_s

    def is_late(self) -> bool:
        """Tell whether the answer has taken so long that what is found is enough."""
        return self._clock_s() > self._late_s

    async def apply(self, work: Callable[[], T]) -> T:
        """Apply rules in a thread, in what is left of the time."""

        def applied() -> T:
            with self._taken():
                return work()

        return await FOR_HISTORIES.run(applied)

    @contextmanager
    def _taken(self) -> Iterator[None]:
        begun_s = self._clock_s()
        self._deadline_s = begun_s + self._left_s
        try:
            yield
        finally:
            self._left_s -= self._clock_s() - begun_s


async def past_rules(history: History, last_seq: int, seq: int, name: str) -> JsonObject | None:
    """Return the rules of an instance as of an event; None if there is no such instance.

    Raises:
        RillflowError: As ``History.at``.
    """
    front = await history.whole(last_seq)
    marks = [mark for mark in front.marks.get(name, ()) if mark <= seq]
    then = await history.at(seq)
    task = then.state.tasks.get(name)
    if task is None:
        return None
    budget = AnswerBudget()
    recorded = Recorded(task.base, task.invoke.input, COMPLETED[task.status])
    shown = await budget.apply(lambda: _present(then.plan, then.state, name, budget))
    if marks and (recorded.input is not None or recorded.is_ended):
        last = await _change(history, marks[-1], name)
        if recorded.is_ended:
            shown["outputs"] = await _outputs(last, name, recorded.base, budget)
        if recorded.input is not None:
            shown["inputs"] = await _inputs(history, marks, last, name, recorded, budget)
    return {"task": name, "seq": seq, **shown}


def _present(plan: Plan, state: ExecutionState, name: str, budget: AnswerBudget) -> JsonObject:
    """Return the rules with the data of a state: what they would do now."""
    task_plan = plan.by_name[state.tasks[name].base]
    data = data_of(state, name)
    empty = data._replace(input={}, output={})
    inputs = _applied(plan, state, name, task_plan.inputs, empty, budget)
    if not data.input:
        data = data._replace(input=inputs.input)
    return {
        "inputs": _list(PREVIEW, state.seq, inputs),
        "outputs": None,
        "conditions": conditions_of(task_plan, state, data, budget.sizes),
    }


async def _change(history: History, mark: int, name: str) -> Change:
    before = None
    if mark > 1:
        before = _data_in((await history.at(mark - 1)).state, name)
    recorder = await history.at(mark)
    return Change(mark, recorder.plan, recorder.state, before, _data_in(recorder.state, name))


def _data_in(state: ExecutionState, name: str) -> Data | None:
    return data_of(state, name) if name in state.tasks else None


async def _inputs(  # noqa: PLR0913, PLR0917 - what is looked for, and where
    history: History,
    marks: list[int],
    last: Change,
    name: str,
    recorded: Recorded,
    budget: AnswerBudget,
) -> JsonObject:
    """Apply the input mappings with the contexts that may have been theirs, the latest first."""
    nearest = await _inputs_at(last, name, recorded, budget)
    for mark in reversed(marks[-MOST_TRIES:-1]):
        if nearest is not None and (nearest["basis"] == EXACT or budget.is_late()):
            break
        try:
            change = await _change(history, mark, name)
        except OverloadedError:
            if nearest is None:
                raise
            break
        found = await _inputs_at(change, name, recorded, budget)
        if found is not None and (nearest is None or found["basis"] == EXACT):
            nearest = found
    return nearest or _list(NEAR, marks[0], Applied([], {}, {}))


async def _inputs_at(
    change: Change, name: str, recorded: Recorded, budget: AnswerBudget
) -> JsonObject | None:
    """Apply the input mappings with the contexts after and before an event."""
    nearest: JsonObject | None = None
    for seq, data in ((change.seq, change.after), (change.seq - 1, change.before)):
        if data is None:
            continue

        def applied(seq: int = seq, data: Data = data) -> JsonObject:
            mappings = change.plan.by_name[recorded.base].inputs
            empty = data._replace(input={}, output={})
            found = _applied(change.plan, change.state, name, mappings, empty, budget)
            return _list(_basis(found.input, recorded.input or {}), seq, found)

        found = await budget.apply(applied)
        if found["basis"] == EXACT:
            return found
        nearest = nearest or found
    return nearest


async def _outputs(change: Change, name: str, base: str, budget: AnswerBudget) -> JsonObject | None:
    """Apply the output mappings with the context before the event that ended the task."""
    after = change.after
    if after is None or change.state.tasks[name].invoke.output is None:
        return None
    before = change.before
    if before is None:
        before = after if change.seq == 1 else Data({}, {}, {})

    def applied() -> JsonObject:
        data = Data(before.context, {}, after.output)
        mappings = change.plan.by_name[base].outputs
        found = _applied(change.plan, change.state, name, mappings, data, budget)
        return _list(_basis(found.context, after.context), change.seq, found)

    return await budget.apply(applied)


def _applied(  # noqa: PLR0913, PLR0917 - what an application consists of
    plan: Plan,
    state: ExecutionState,
    name: str,
    mappings: MappingList,
    data: Data,
    budget: AnswerBudget,
) -> Applied:
    return apply_again(
        plan, state, name, mappings, data, sizes=budget.sizes, is_over=budget.is_over
    )


def _basis(given: JsonObject, recorded: Mapping[str, JsonValue]) -> str:
    is_exact = all(recorded.get(key) == value for key, value in given.items())
    return EXACT if is_exact else NEAR


def _list(basis: str, seq: int, applied: Applied) -> JsonObject:
    rules: list[JsonValue] = applied.rules
    return {"basis": basis, "seq": seq, "rules": rules}
