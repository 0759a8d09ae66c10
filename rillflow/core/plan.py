"""A definition prepared for running: names resolved and mappings compiled, once per definition.

All executions of a definition share its plan; the core reads it and never changes it.

Used by `core`, `runtime`, `serve` and `testing`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from rillflow.core.redaction import redacted_part
from rillflow.core.secret_places import secret_places
from rillflow.definition import normalise
from rillflow.definition.checks.search_keys import search_keys_of
from rillflow.definition.checks.validation import split_names
from rillflow.definition.model import (
    CallbackConfig,
    ChoiceTask,
    ForeachTask,
    FunctionTask,
    MappingRule,
    SwitchEntry,
    SwitchTask,
    Task,
    WorkflowDefinition,
)
from rillflow.definition.references import MOST_EXPANDED_BYTES, expanded_bytes
from rillflow.definition.tasks import all_tasks
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import Expression, compile_expression
from rillflow.language.mapping.mappings import MappingList, compile_mappings

TaskT = TypeVar("TaskT", bound=Task)
DEFAULT_ENTRY: Final = "default"
"""The condition of the entries of a switch that run when no other does."""
NO_MAPPINGS: Final = compile_mappings(())


class SwitchEntryPlan(NamedTuple):
    """An entry of a switch that has a condition: the set of the successors that it runs."""

    condition: str
    successors: int
    is_last: bool


class SwitchPlan(NamedTuple):
    """A switch prepared for running.

    ``entries`` are those with a condition, in order; one without never runs anything.
    ``default`` is what the default entries run together, as far as the first that breaks.
    ``named`` are all successors that any entry names.
    """

    entries: tuple[SwitchEntryPlan, ...]
    default: int
    named: int


class CallPlan(NamedTuple):
    """What a function task calls, the same in each attempt; ``resource`` is a JSON object."""

    pattern: str = "task_sync"
    resource_name: str = ""
    resource_protocol: str | None = None
    request_type: str | None = None
    resource: bytes | None = None


NO_CALL: Final = CallPlan()


class TaskPlan:
    """One task of the definition, with its compiled mappings and its neighbours.

    ``branches`` are the levels below: one for a foreach, one per branch for a choice, in the order
    of their indexes (branches sorted by condition text, ignoring case; spec 3.3).
    """

    __slots__ = (
        "_calculation",
        "_shown",
        "_shown_spec",
        "base",
        "branches",
        "call",
        "catch",
        "catches",
        "category",
        "conditions",
        "degrade_current",
        "degrade_followings",
        "dependencies",
        "inputs",
        "order",
        "outputs",
        "places",
        "ray_options",
        "secrets",
        "spec",
        "stream_input",
        "stream_output",
        "successors",
        "switch",
    )

    def __init__(self, spec: Task, order: int) -> None:
        self.spec = self._shown_spec = spec
        self._shown: JsonObject | None = None
        self._calculation: Expression | None = None
        self.base: str = spec.name or ""
        self.category: str = spec.category
        self.order = order
        self.inputs = _compile(spec.input_mappings, "inputMappings")
        self.outputs = _compile(spec.output_mappings, "outputMappings")
        self.secrets = secret_places(spec) if isinstance(spec, FunctionTask) else ()
        self.call = _call_plan(spec) if isinstance(spec, FunctionTask) else NO_CALL
        self.ray_options = _ray_options(spec)
        self.stream_input = (spec.input_type or "").lower() == "stream"
        self.stream_output = (spec.output_type or "").lower() == "stream"
        self.degrade_current = bool(spec.degrade and spec.degrade.current)
        self.degrade_followings = bool(spec.degrade and spec.degrade.followings)
        self.catch = (spec.catch or "").strip()
        self.catches: tuple[str, ...] = ()
        self.dependencies: tuple[str, ...] = ()
        self.successors: tuple[str, ...] = ()
        self.places: dict[str, int] = {}
        self.switch = SwitchPlan((), 0, 0)
        self.conditions: tuple[str | None, ...] = ()
        self.branches: tuple[LevelPlan, ...] = ()
        self._plan_branches(spec)

    def follow(self, successors: Sequence[str]) -> None:
        """Set the tasks that depend on this one, in their order.

        Sets of them are bits of an integer, by their place. So an instance keeps a few bytes,
        however often its definition repeats a name.
        """
        self.successors = tuple(successors)
        self.places = {name: place for place, name in enumerate(self.successors)}
        if isinstance(self.spec, SwitchTask):
            self.switch = self._planned_switch(self.spec.switches or ())

    def _planned_switch(self, entries: Sequence[SwitchEntry]) -> SwitchPlan:
        """Read each entry once, however often the switch runs and however many run nothing."""
        planned: list[SwitchEntryPlan] = []
        default = named = 0
        is_closed = False
        for entry in entries:
            successors = self.bits_of(split_names(entry.next or ""))
            named |= successors
            if entry.condition == DEFAULT_ENTRY:
                default |= 0 if is_closed else successors
                is_closed = is_closed or entry.break_
            elif entry.condition is not None:
                planned.append(SwitchEntryPlan(entry.condition, successors, entry.break_))
        return SwitchPlan(tuple(planned), default, named)

    def bits_of(self, names: Iterable[str]) -> int:
        """Return a set of successors; other names are passed over."""
        bits = bytearray(len(self.places) // 8 + 1)
        for name in names:
            place = self.places.get(name)
            if place is not None:
                bits[place >> 3] |= 1 << (place & 7)
        return int.from_bytes(bits, "little")

    @property
    def shown(self) -> JsonObject:
        """The definition of the task with Rill Flow's keys; values named like secrets are masked.

        It is computed on first use.
        """
        if self._shown is None:
            dumped = self._shown_spec.model_dump(mode="json", by_alias=True, exclude_none=True)
            self._shown = redacted_part(dumped)
        return self._shown

    def show_as_written(self, spec: Task) -> None:
        """Show the task with its references, which would be too long written out."""
        self._shown_spec = spec

    def calculation(self, budget: TotalBudget) -> Expression | None:
        """Return the expression of the task's progress, compiled on first use.

        Raises:
            LanguageError: It is no expression.
            WorkLimitError: Nothing is left of the budget.
        """
        text = self.spec.progress.calculation if self.spec.progress else None
        if text and self._calculation is None:
            budget.spend(len(text))
            self._calculation = compile_expression(text)
        return self._calculation

    def spec_as(self, kind: type[TaskT]) -> TaskT:
        """Return the task of the definition where its category is known.

        Raises:
            TypeError: It is of another category.
        """
        if not isinstance(self.spec, kind):
            raise TypeError(f"task {self.base} is no {kind.__name__}")
        return self.spec

    def _plan_branches(self, spec: Task) -> None:
        if isinstance(spec, ForeachTask):
            self.branches = (LevelPlan(spec.tasks or ()),)
        elif isinstance(spec, ChoiceTask):
            ordered = sorted(
                spec.choices or (), key=lambda branch: (branch.condition or "").lower()
            )
            self.conditions = tuple(branch.condition for branch in ordered)
            self.branches = tuple(LevelPlan(branch.tasks or ()) for branch in ordered)


def _call_plan(spec: FunctionTask) -> CallPlan:
    resource = spec.resource.model_dump(by_alias=True, exclude_none=True) if spec.resource else None
    return CallPlan(
        pattern=spec.pattern or NO_CALL.pattern,
        resource_name=spec.resource_name or "",
        resource_protocol=spec.resource_protocol or None,
        request_type=spec.request_type,
        resource=None if resource is None else encode_json(resource),
    )


def _ray_options(spec: Task) -> bytes | None:
    """Return the options of a call of Ray as a JSON object, None without any."""
    if not isinstance(spec, FunctionTask) or spec.ray_options is None:
        return None
    return encode_json(spec.ray_options.model_dump(exclude_none=True))


class LevelPlan:
    """Siblings: the tasks of the top level, of an iteration, or of a branch."""

    __slots__ = ("roots", "streams", "tasks")

    def __init__(self, specs: Sequence[Task]) -> None:
        plans = (TaskPlan(spec, order) for order, spec in enumerate(specs))
        self.tasks: dict[str, TaskPlan] = {plan.base: plan for plan in plans}
        self._link()
        self.roots = tuple(plan.base for plan in self.tasks.values() if not plan.dependencies)
        fed = (plan.base for plan in self.tasks.values() if plan.stream_input and plan.dependencies)
        self.streams = {base: place for place, base in enumerate(fed)}

    def _link(self) -> None:
        dependencies: dict[str, list[str]] = {base: [] for base in self.tasks}
        for base, plan in self.tasks.items():
            known = {name for name in plan.spec.follower_names if name in self.tasks}
            plan.follow(sorted(known, key=lambda name: self.tasks[name].order))
            for name in known:
                dependencies[name].append(base)
        for base, plan in self.tasks.items():
            plan.dependencies = tuple(dependencies[base])
            plan.catches = tuple(b for b in plan.dependencies if self.tasks[b].catch == base)

    def walk(self) -> Iterator[TaskPlan]:
        """Yield every task of the level and of the levels below, outer ones first."""
        for plan in self.tasks.values():
            yield plan
            for branch in plan.branches:
                yield from branch.walk()


class Plan:
    """A whole definition prepared for running; shared by all its executions and never changed.

    Attributes:
        has_streams: Whether a task of any level starts with the first of its dependencies.
        shown: The definition as views show it: with references written out, unless that would be
            longer than definitions may be now. One that an earlier release stored may be.
        shown_bytes: How long that is about.

    Raises:
        DefinitionError: A reference or resource of the definition is unknown
            (spec 1.8).
    """

    __slots__ = (
        "by_name",
        "callback_inputs",
        "definition",
        "definition_id",
        "has_streams",
        "level",
        "original",
        "search_keys",
        "shown",
        "shown_bytes",
        "size_bytes",
        "strict",
    )

    def __init__(
        self,
        definition: WorkflowDefinition,
        definition_id: str,
        *,
        size_bytes: int = 0,
        text_bytes: int = 0,
    ) -> None:
        self.size_bytes = size_bytes
        self.original = definition
        self.definition = normalise(definition)
        self.definition_id = definition_id
        self.strict = bool(definition.strict)
        self.search_keys = search_keys_of(definition.search_keys)
        self.level = LevelPlan(self.definition.tasks or ())
        self.by_name: dict[str, TaskPlan] = {plan.base: plan for plan in self.level.walk()}
        self.has_streams = any(
            plan.stream_input and plan.dependencies for plan in self.by_name.values()
        )
        self.callback_inputs = self.compile_callback_inputs(self.definition.callback)
        self.shown, self.shown_bytes = self.definition, text_bytes
        self._limit_what_is_shown(definition)

    def _limit_what_is_shown(self, definition: WorkflowDefinition) -> None:
        more_bytes = expanded_bytes(definition)
        if more_bytes <= MOST_EXPANDED_BYTES:
            self.shown_bytes += more_bytes
            return
        self.shown = definition
        for task, _ in all_tasks(definition):
            self.by_name[task.name or ""].show_as_written(task)

    def compile_callback_inputs(self, config: CallbackConfig | None) -> MappingList:
        """Compile the input mappings of a completion callback; references are expanded."""
        rules = config.input_mappings if config else None
        shared = self.original.common_mapping or {}
        expanded: list[MappingRule] = []
        for rule in rules or ():
            named = shared.get(rule.reference) if rule.reference else None
            expanded.extend(named or [rule])
        return _compile(expanded, "callback.inputMappings")


def _compile(rules: Sequence[MappingRule] | None, field: str) -> MappingList:
    return compile_mappings(rules, field) if rules else NO_MAPPINGS
