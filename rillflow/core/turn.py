"""One turn: the handling of one event with all its immediate consequences.

`machine.py` makes a ``Turn`` for each event; all modules of the core change the state through it.
Statuses change through ``set_status`` only, which keeps the counters of the scope and of the
successors right. Readiness and the status of a scope are read from these counters, so their cost
does not depend on the number of tasks.
"""

import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from rillflow.core.agenda import EVENT_WORK, FOLLOW, MAKE, OPEN, RUN, Step
from rillflow.core.commands import Announce, Command, SetTimer
from rillflow.core.encoding.stored_context import FREE_BYTES, Cleaner, bounded_size, stored_context
from rillflow.core.mapping_warnings import MOST_SUGGESTIONS, Application, strict_error
from rillflow.core.plan import LevelPlan, Plan, TaskPlan
from rillflow.core.state import ExecutionState, GroupState, TaskState
from rillflow.core.status import (
    DAG_COMPLETED,
    FAILED,
    NOT_STARTED,
    READY,
    SATISFIED,
    SKIPPED,
    SUCCEED,
    TaskStatus,
)
from rillflow.errors import ExecutionError
from rillflow.ids import TaskName
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.budget import CHARACTERS_PER_STEP, PORTION_STEPS, OnPortion, TotalBudget
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.ineffective_rules import IneffectiveRule, Kind
from rillflow.language.mapping.mappings import MappingList
from rillflow.language.text.literals import parse_literal

SKIP_MESSAGE = "skip due to dependent tasks return or degrade"
TASK_ERRORS = (Exception,)
"""Errors of running a task that become the task's failure.

Internal errors are included on purpose: a replay raises them again, so an execution that passed
them on could never be read from its journal.
"""
CRASHES = (RecursionError, MemoryError)
"""Errors of running a task that end the turn instead.

They depend on the process, so a replay may not raise them again. The owner then reads the execution
anew from its journal.
"""
LATEST_MS = 253_402_300_799_000
"""The end of the year 9999; no timer is due later."""
_ANNOUNCED: Final = {
    SUCCEED: "TASK_FINISH",
    FAILED: "TASK_FAILED",
    SKIPPED: "TASK_SKIPPED",
}
_CONTAINERS: Final = (dict, list)
_LONG_TEXT: Final = 1024
_UNLIMITED: Final = 1 << 62


class Turn:
    """The working set of one turn.

    ``agenda`` holds the steps still to be taken, in order. ``unsettled`` are scopes that may have
    ended; they are checked when the agenda is empty and not before, because a sibling about to
    start keeps its scope open. ``failing`` are groups that fail while something in them is under
    way; they are checked last, the latest first, because what is under way may end in this turn.
    ``mapped`` are applications of mapping lists with something to report. ``refusal`` is the error
    for the sender of an event that is refused but recorded. ``budget`` limits all evaluations of
    the turn together. ``steps_left`` is how many tasks and groups the turn may still make, start or
    end before the rest is left to a later event; the rest is also left once the budget has fewer
    steps than ``enough``. ``moved`` are the tasks of a scope whose status has changed since its
    stream instances were looked at, and ``unmet`` is the place of a dependency that kept an
    instance from starting in key mode: so a dense graph is not looked at anew for each task that
    ends.
    """

    __slots__ = (
        "_seed",
        "agenda",
        "at_ms",
        "budget",
        "commands",
        "enough",
        "failing",
        "mapped",
        "moved",
        "plan",
        "refusal",
        "state",
        "steps_left",
        "unmet",
        "unsettled",
    )

    def __init__(
        self,
        plan: Plan,
        state: ExecutionState,
        at_ms: int,
        on_portion: OnPortion | None = None,
        portion_steps: int = PORTION_STEPS,
    ) -> None:
        """Begin the turn of an event at a time; ``on_portion`` as in ``TotalBudget``."""
        self.plan = plan
        self.state = state
        self.at_ms = at_ms
        self.budget = TotalBudget(
            state.turn_max_steps, state.turn_max_bytes, state.language, on_portion, portion_steps
        )
        is_cut = self.budget.charges_entries  # since the version that cuts events by their work
        self.enough = self.budget.steps - EVENT_WORK if is_cut else -_UNLIMITED
        most = state.turn_max_task_steps
        self.steps_left = _UNLIMITED if most is None else most
        self.commands: list[Command] = []
        self.agenda: deque[tuple[Step, str]] = deque()
        self.unsettled: dict[str, None] = {}
        self.failing: list[str] = []
        self.moved: dict[str, set[str]] = {}
        self.unmet: dict[str, int] = {}
        self.mapped: list[Application] = []
        self.refusal: ExecutionError | None = None
        self._seed = zlib.crc32(state.execution_id.encode()) << 32 | state.seq << 12

    # -- reading ---------------------------------------------------------------------

    def task(self, name: str) -> TaskState:
        """Return an instance that exists."""
        return self.state.tasks[name]

    def plan_of(self, task: TaskState) -> TaskPlan:
        """Return the plan of an instance's task."""
        return self.plan.by_name[task.base]

    def level_of(self, route: str) -> LevelPlan:
        """Return the level that the instances of a scope belong to."""
        if not route:
            return self.plan.level
        # Written out, since each step of a group asks for it.
        state = self.state
        group = state.groups[route]
        return self.plan.by_name[state.tasks[group.parent].base].branches[group.branch]

    def siblings(self, route: str, bases: Sequence[str]) -> Iterator[TaskState]:
        """Yield the instances of a scope with these base names."""
        names = (f"{route}-{base}" for base in bases) if route and bases else bases
        return map(self.state.tasks.__getitem__, names)

    def successors(self, task: TaskState) -> Iterator[TaskState]:
        """Yield the instances that depend on this one."""
        return self.siblings(task.route, self.plan.by_name[task.base].successors)

    def dependencies(self, task: TaskState) -> Iterator[TaskState]:
        """Yield the instances that this one depends on."""
        return self.siblings(task.route, self.plan.by_name[task.base].dependencies)

    def counts(self, route: str) -> list[int]:
        """Return the number of a scope's instances in each status."""
        return self.state.groups[route].counts if route else self.state.counts

    @property
    def over(self) -> bool:
        """Tell whether the execution has ended, so that nothing more may start."""
        return DAG_COMPLETED[self.state.status]

    @property
    def is_full(self) -> bool:
        """Tell whether this turn has done so much that the rest is left to a later event."""
        return self.steps_left <= 0 or self.budget.steps < self.enough

    @property
    def is_strict(self) -> bool:
        """Tell whether a mapping rule without effect is a failure."""
        return self.plan.strict or self.state.strict_mappings

    def next_seed(self) -> int:
        """Return a number for ``rand()`` that is the same in every replay."""
        self._seed += 1
        return self._seed

    def next_chance(self) -> float:
        """Return a number in [0, 1) that is the same in every replay."""
        return (self.next_seed() * 0x9E3779B97F4A7C15 % (1 << 64)) / (1 << 64)

    # -- statuses -------------------------------------------------------------------

    def set_status(self, task: TaskState, status: TaskStatus) -> None:
        """Set the status of an instance, and update all counters."""
        before = task.status
        if before is status:
            return
        route = task.route
        counts = self.state.groups[route].counts if route else self.state.counts
        counts[before] -= 1
        counts[status] += 1
        task.status = status
        if self.moved and route in self.moved:
            self.moved[route].add(task.base)
        if SATISFIED[before] is not SATISFIED[status]:
            successors = self.plan.by_name[task.base].successors
            if successors:
                change = -1 if SATISFIED[status] else 1
                for successor in self.siblings(route, successors):
                    successor.waiting += change

    def instantiate(self, route: str, level: LevelPlan) -> list[str]:
        """Create the instances of a scope, all NOT_STARTED."""
        self.moved.pop(route, None)
        prefix = f"{route}-" if route else ""
        tasks, attempt = self.state.tasks, self.state.attempts_dropped
        names = []
        for base, plan in level.tasks.items():
            name = prefix + base
            waiting = len(plan.dependencies)
            tasks[name] = TaskState(name, base, route, NOT_STARTED, waiting, attempt)
            names.append(name)
        self.counts(route)[NOT_STARTED] += len(names)
        self.steps_left -= len(names)
        return names

    def finish_task(self, task: TaskState, status: TaskStatus) -> None:
        """End an instance for now: status, open time info, timers, announcement."""
        infos = task.invoke.time_infos
        if infos and infos[-1].end_ms is None:
            infos[-1].end_ms = self.at_ms
        task.in_flight = False
        task.held = None
        task.delay_due_ms = task.timeout_due_ms = task.poll_due_ms = None
        task.poll_url = None
        catch = self.plan.by_name[task.base].catch
        if catch:
            self._steer_around_catch(task, catch)
        self.set_status(task, status)
        self.commands.append(Announce(kind=_ANNOUNCED[status], task=task.name))
        self.agenda.append((FOLLOW, task.name))

    def _steer_around_catch(self, task: TaskState, catch: str) -> None:
        """Skip the tasks that catch failures or, after a caught one, all other successors."""
        plan = self.plan.by_name[task.base]
        others = (name for name in plan.successors if (name == catch) != task.caught)
        task.skip_successors(int.from_bytes(task.skipped, "little") | plan.bits_of(others))

    def make_ready(self, task: TaskState) -> None:
        """Run an instance in this turn."""
        self.set_status(task, READY)
        self.agenda.append((RUN, task.name))

    def move_on(self, task: TaskState) -> None:
        """Handle the consequences of an instance's status in this turn."""
        self.agenda.append((FOLLOW, task.name))

    def open_scope(self, route: str) -> None:
        """Start a group, or the top level, in this turn."""
        self.agenda.append((OPEN, route))

    def make_groups(self, task: TaskState) -> None:
        """Make further groups of a foreach, before anything else is done in this turn.

        So no two foreaches make theirs at a time, and each is charged for what there is.
        """
        self.agenda.appendleft((MAKE, task.name))

    def close_time(self, task: TaskState) -> None:
        """Close the open time info, if there is one."""
        infos = task.invoke.time_infos
        if infos and infos[-1].end_ms is None:
            infos[-1].end_ms = self.at_ms

    # -- contexts -------------------------------------------------------------------

    def context_of(self, task: TaskState) -> JsonObject:
        """Return the context that an instance reads and writes."""
        return self.state.groups[task.route].context if task.route else self.state.context

    def save_context(self, task: TaskState, context: JsonObject) -> None:
        """Store a context after mappings (spec 3.14); nulls in maps are dropped.

        Raises:
            ExecutionError: A reserved key holds something that is no map (30505).
        """
        scope = self.state.groups[task.route] if task.route else self.state
        if context is not scope.context:
            self.save(context, scope)

    def save(self, context: JsonObject, scope: ExecutionState | GroupState) -> None:
        """Store the context of the execution, or of a group (spec 3.14).

        Raises:
            ExecutionError: A reserved key holds something that is no map (30505), or more
                changed than may be saved at once, or the context would be too large (30507).
        """
        budget, most_bytes = self.budget, self.state.context_max_bytes
        left_bytes = budget.memory_bytes
        saved = stored_context(context, scope.context, most_bytes, budget)
        grown = scope.context_bytes + max(left_bytes - budget.memory_bytes, FREE_BYTES)
        if grown > most_bytes:
            grown = bounded_size(saved, grown, most_bytes, budget)
        scope.context_bytes = grown
        scope.context = saved

    def apply(
        self,
        task: TaskState,
        mappings: MappingList,
        output: JsonObject,
        given: JsonObject | None = None,
        excused: Sequence[int] = (),
    ) -> tuple[JsonObject, JsonObject]:
        """Apply mappings to an instance's context; return the new context and the input.

        Args:
            task: The instance.
            mappings: What to apply.
            output: What ``$.output`` means.
            given: What is in the input before the first rule.
            excused: Numbers of rules that need have no effect.

        Raises:
            LanguageError: A rule with ``tolerance: false`` failed, or one of a strict execution
                had no effect.
            ExecutionError: The input is larger than an input may be (30507).
        """
        state, route = self.state, task.route
        self._seed += 1
        mapped = mappings.apply(
            strict=self.plan.strict or state.strict_mappings,
            excused=excused,
            context=state.groups[route].context if route else state.context,
            input=given or {},
            output=output,
            trigger_url=partial(trigger_address, self, route),
            seed=self._seed,
            language=state.language,
            budget=self.budget,
        )
        if mapped.passed_over or task.warning_counts or self.mapped:
            self._note(task, mappings.name, mapped.passed_over, stopped=mapped.stopped)
        made, kept = mapped.input, mapped.context
        document = made if isinstance(made, dict) else {}
        if document:
            self._measure_large(document)
        return kept if isinstance(kept, dict) else {}, document

    def apply_untold(
        self, task: TaskState, mappings: MappingList, output: JsonObject
    ) -> tuple[JsonObject, tuple[IneffectiveRule, ...]]:
        """Apply mappings, and return the context and the rules without effect.

        These rules are not reported, and are no failures of a strict execution.

        Raises:
            LanguageError: A rule with ``tolerance: false`` failed.
            ExecutionError: What is left in the input is larger than an input may be (30507).
        """
        mapped = mappings.apply(
            context=self.context_of(task),
            input={},
            output=output,
            trigger_url=partial(trigger_address, self, task.route),
            seed=self.next_seed(),
            language=self.state.language,
            budget=self.budget,
        )
        self._measure_large(as_object(mapped.input))
        return as_object(mapped.context), mapped.passed_over

    def _measure_large(self, document: JsonObject) -> None:
        for value in document.values():
            kind = type(value)
            if kind in _CONTAINERS:
                self._measure(document)
                break
            if kind is str and len(value) > _LONG_TEXT:  # type: ignore[arg-type]
                self.measure(document)
                break

    def measure(self, value: JsonValue) -> None:
        """Charge the JSON size of a value that is about to be stored or sent.

        Raises:
            ExecutionError: It is larger than an input may be (30507).
            WorkLimitError: The turn has exceeded its budget.
        """
        if self.state.turn_max_bytes is not None:  # older releases had no such limit
            self._measure(value)

    def _measure(self, value: JsonValue) -> None:
        cleaner = Cleaner(self.state.context_max_bytes, self.budget)
        try:
            cleaner.clean(value)
        finally:
            cleaner.charge()

    def note_unapplied(self, task: TaskState, mappings: MappingList) -> None:
        """Report that output mappings are not applied, because there is no output.

        Raises:
            MappingError: The execution is strict, and not all rules are tolerant.
        """
        reason = "the output is empty, so no rule is applied"
        told = IneffectiveRule(0, "$.output", Kind.NO_OUTPUT, reason)
        stopped = self.is_strict and not mappings.is_optional
        self._note(task, mappings.name, (told,), stopped=stopped)

    def _note(
        self, task: TaskState, field: str, rules: tuple[IneffectiveRule, ...], *, stopped: bool
    ) -> None:
        """Note the rules without effect of a list, also if there are none any more."""
        if field == "outputMappings" and task.base == self.plan.definition.end_task_name:
            # The rule of ``output`` that makes the input is reported already.
            rules = tuple(rule for rule in rules if stopped or rule.kind is not Kind.MISSING)
        self.mapped.append(Application(task.name, task.base, field, rules))
        if stopped:
            # Similar keys are searched only a few times in a turn.
            suggesting = len(self.mapped) <= MOST_SUGGESTIONS
            raise strict_error(field, rules[-1], suggesting=suggesting)

    # -- timers ---------------------------------------------------------------------

    def set_timer(self, kind: str, task: TaskState, due_ms: int) -> None:
        """Set the delay, time-out or next poll of an instance in place of an earlier one."""
        due_ms = min(due_ms, LATEST_MS)
        if kind == "poll":
            task.poll_due_ms, task.poll_armed_ms = due_ms, self.at_ms
        elif kind == "delay":
            task.delay_due_ms, task.armed_ms = due_ms, self.at_ms
        else:
            task.timeout_due_ms, task.armed_ms = due_ms, self.at_ms
        self.commands.append(SetTimer(kind=kind, task=task.name, due_ms=due_ms))

    def set_execution_timer(self, due_ms: int) -> None:
        """Set the time-out of the whole execution in place of an earlier one."""
        self.commands.append(SetTimer(kind="dag", task="", due_ms=due_ms))


def trigger_address(turn: Turn, route: TaskName, name: str) -> str:
    """Return the address under which a task's callback is expected (spec 2.3).

    A name that is a sibling in the group of ``route`` is qualified with that route.
    """
    state = turn.state
    qualified = f"{route}-{name}" if route else name
    known = qualified if qualified in state.tasks else name
    return f"{state.host}/flow/trigger.json?execution_id={state.execution_id}&task_name={known}"


def as_object(value: JsonValue) -> JsonObject:
    """Return a value that is an object; anything else counts as an empty one."""
    return value if isinstance(value, dict) else {}


def value_of(
    text: str | None, document: JsonObject, budget: TotalBudget | None = None
) -> JsonValue:
    """Evaluate a setting that is a literal or a path on a document.

    Raises:
        LanguageError: The path is malformed or cannot be evaluated.
        WorkLimitError: Nothing is left of the budget.
    """
    if text is None or not text.strip():
        return None
    if text.startswith("$"):
        found = compile_path(text, budget).find(document, budget)
        if budget is not None and isinstance(found, str):
            budget.cost(len(found) // CHARACTERS_PER_STEP)  # the text may be parsed as a number
        return found
    if budget is not None and len(text) > _LONG_TEXT:
        budget.spend(len(text))
    return parse_literal(text)


def timers_of(task: TaskState) -> Iterator[SetTimer]:
    """Yield the timers an instance waits for."""
    if task.delay_due_ms is not None:
        yield SetTimer(kind="delay", task=task.name, due_ms=task.delay_due_ms)
    if task.timeout_due_ms is not None:
        yield SetTimer(kind="timeout", task=task.name, due_ms=task.timeout_due_ms)
    if task.poll_due_ms is not None:
        yield SetTimer(kind="poll", task=task.name, due_ms=task.poll_due_ms)
