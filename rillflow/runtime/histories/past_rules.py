"""The rules of a task instance, with the data that they had when the task started and ended.

A mapping is evaluated again with the context of the event that applied it. Within that event others
may have written the context, before or after; so the result is compared with what was recorded.

Used by `runtime/histories/cache.py`.
"""

import time
from collections.abc import Mapping
from typing import Final

from rillflow.core.inspection.cutting import Sizes
from rillflow.core.inspection.rules import (
    Applied,
    Data,
    apply_again,
    conditions_of,
    data_of,
)
from rillflow.core.inspection.stored_data import (
    StoredInput,
    is_stored_input,
    output_of_groups,
    stored_input,
)
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.status import COMPLETED
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.mapping.mappings import MappingList
from rillflow.runtime.aio.thread_pool import FOR_HISTORIES
from rillflow.runtime.histories.history import History

MOST_TRIES: Final = 4
"""How many events that changed a task are looked at for the one that applied its mappings."""
LONGEST_S: Final = 2.0
"""How long they are looked at: then the nearest one so far is shown, if there is one."""
EXACT: Final = "exact"
NEAR: Final = "near"
PREVIEW: Final = "preview"


class AnswerBudget:
    """What the rules of one answer may take together, to be applied and to be shown."""

    def __init__(self) -> None:
        self.sizes = Sizes()
        self._deadline_s = time.monotonic() + LONGEST_S

    def is_over(self) -> bool:
        """Tell whether the time is over."""
        return time.monotonic() > self._deadline_s


async def past_rules(history: History, last_seq: int, seq: int, name: str) -> JsonObject | None:
    """Return the rules of an instance as of an event; None if there is no such instance.

    Raises:
        RillflowError: As ``History.at``.
    """
    front = await history.whole(last_seq)
    then = await history.at(seq)
    task = then.state.tasks.get(name)
    if task is None:
        return None
    budget = AnswerBudget()
    # The state may be gone when what it has stored is used.
    is_ended = COMPLETED[task.status]
    stored = await FOR_HISTORIES.run(lambda: stored_input(then.plan, then.state, task))
    shown = await FOR_HISTORIES.run(lambda: _present(then.plan, then.state, name, budget))
    marks = [mark for mark in front.marks.get(name, ()) if mark <= seq]
    if stored is not None and marks:
        shown["inputs"] = await _inputs(history, marks, name, stored, budget)
    if is_ended and marks:
        shown["outputs"] = await _outputs(history, marks[-1], name, budget)
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


async def _inputs(
    history: History, marks: list[int], name: str, stored: StoredInput, budget: AnswerBudget
) -> JsonObject:
    """Apply the input mappings with the contexts that may have been theirs, the latest first."""
    nearest: JsonObject | None = None
    for mark in reversed(marks[-MOST_TRIES:]):
        for at in (mark, mark - 1):
            if not at or (nearest is not None and budget.is_over()):
                continue
            found = await _applied_at(history, at, name, stored, budget)
            if found is None:
                continue
            if found["basis"] == EXACT:
                return found
            nearest = nearest or found
    return nearest or _list(NEAR, marks[0], Applied([], {}, {}))


async def _applied_at(
    history: History, seq: int, name: str, stored: StoredInput, budget: AnswerBudget
) -> JsonObject | None:
    """Apply the input mappings with the context after an event."""
    recorder = await history.at(seq)
    plan, state = recorder.plan, recorder.state
    if name not in state.tasks:
        return None

    def applied() -> JsonObject:
        task_plan = plan.by_name[state.tasks[name].base]
        data = data_of(state, name)._replace(input={}, output={})
        found = _applied(plan, state, name, task_plan.inputs, data, budget)
        is_exact = is_stored_input(task_plan, state, found.input, stored)
        return _list(EXACT if is_exact else NEAR, seq, found)

    return await FOR_HISTORIES.run(applied)


async def _outputs(
    history: History, mark: int, name: str, budget: AnswerBudget
) -> JsonObject | None:
    """Apply the output mappings with the context before the event that ended the task."""
    after = await history.at(mark)
    task = after.state.tasks.get(name)
    if task is None:
        return None
    output, base = task.invoke.output, task.base
    if output is None:
        output = output_of_groups(after.plan, after.state, task)
    if output is None:
        return None
    kept = data_of(after.state, name).context
    before = await history.at(mark - 1) if mark > 1 else after

    def applied() -> JsonObject:
        context = data_of(before.state, name).context if name in before.state.tasks else {}
        data = Data(context, {}, output)
        mappings = before.plan.by_name[base].outputs
        found = _applied(before.plan, before.state, name, mappings, data, budget)
        return _list(_basis(found.context, kept), mark, found)

    return await FOR_HISTORIES.run(applied)


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
