"""Runs a definition on the real core, with functions of Python; and a flow as plain Python."""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeAlias

import msgspec

from rillflow.core.commands import DispatchTask, NotifyParent
from rillflow.core.events import ParentLink, RouteStep
from rillflow.definition import parse_definition
from rillflow.jsontypes import JsonObject, decode_json
from rillflow.testing import Scenario

Json: TypeAlias = Any
Function: TypeAlias = Callable[[str, JsonObject], Json]
"""Takes what is called, and the input."""


class FailedError(Exception):
    """A function has failed."""


class Run:
    """One execution; calls under way are answered in an order that ``seed`` decides.

    Args:
        text: The definition.
        function: Answers the calls; what it raises fails the attempt.
        seed: Decides in which order calls are answered.
        wakes: The data that wake suspense tasks, by their names.
        library: Definitions of sub-flows, by ``workspace:name``.
        parent: The run whose task started this one, and that task's command.
    """

    def __init__(
        self,
        text: str,
        function: Function,
        *,
        seed: int = 0,
        wakes: Mapping[str, Sequence[JsonObject]] | None = None,
        library: Mapping[str, str] | None = None,
        parent: "tuple[Run, DispatchTask] | None" = None,
    ) -> None:
        definition = parse_definition(text)
        self.id = f"{definition.workspace}:{definition.dag_name}_c_1"
        link, route = _link(parent)
        self.scenario = Scenario(
            text, execution_id=self.id, parent=link, route=route, check=parent is None
        )
        self.calls: list[tuple[str, Json]] = []
        self._function = function
        self._random = random.Random(seed)  # noqa: S311 - an order, and no secret
        self._wakes = {task: deque(data) for task, data in (wakes or {}).items()}
        self._library = library or {}
        self._parent = parent
        self._taken = 0
        self._waiting: list[DispatchTask] = []

    def play(self, data: JsonObject | None = None) -> "Run":
        """Submit, and go on until nothing happens any more."""
        self.scenario.submit(data)
        while self._collect() or self._wake() or self._wait():
            self._waiting, waiting = [], self._waiting
            self._random.shuffle(waiting)
            for command in waiting:
                self._answer(command)
        return self

    @property
    def status(self) -> str:
        """Status of the execution."""
        return self.scenario.status

    @property
    def context(self) -> JsonObject:
        """The context, without the execution's own id."""
        return self.scenario.context

    @property
    def warnings(self) -> dict[str, list[str]]:
        """The mapping warnings of each task."""
        tasks = self.scenario.state.tasks
        return {name: [it.reason for it in task.warnings] for name, task in tasks.items()}

    def _collect(self) -> bool:
        fresh = self.scenario.commands[self._taken :]
        self._taken = len(self.scenario.commands)
        self._waiting += [it for it in fresh if isinstance(it, DispatchTask) and it.task]
        for command in fresh:
            if isinstance(command, NotifyParent) and self._parent is not None:
                told = self._parent[0].scenario
                told.take(msgspec.structs.replace(command.callback, at_ms=told.now_ms))
        return bool(fresh)

    def _wake(self) -> bool:
        for task, data in self._wakes.items():
            state = self.scenario.state.tasks[task]
            if data and state.status.name == "RUNNING":
                self.scenario.wake(task, data.popleft())
                return True
        return False

    def _wait(self) -> bool:
        due = self.scenario.timers
        if due:
            self.scenario.advance((due[0].due_ms - self.scenario.now_ms) / 1000)
        return bool(due)

    def _answer(self, command: DispatchTask) -> None:
        given = decode_json(command.input)
        assert isinstance(given, dict)
        if command.pattern.startswith("flow_"):
            self._start_child(command, given)
            return
        name = command.resource_name.rstrip("/").replace(":", "/").rpartition("/")[2]
        self.calls.append((name, given))
        try:
            answer = self._function(name, given)
        except FailedError as error:
            self.scenario.answer(command.task, error=str(error))
            return
        if command.pattern == "task_sync":
            self.scenario.answer(command.task, answer)
        else:
            self.scenario.finish(command.task, answer)

    def _start_child(self, command: DispatchTask, given: JsonObject) -> None:
        text = self._library[command.resource_name.partition("://")[2]]
        child = Run(text, self._function, library=self._library, parent=(self, command))
        self.scenario.answer(command.task, {"execution_id": child.id})
        child.play(given)
        self.calls += child.calls


def _link(
    parent: tuple[Run, DispatchTask] | None,
) -> tuple[ParentLink | None, tuple[RouteStep, ...]]:
    if parent is None:
        return None, ()
    command = parent[1]
    facts = {"execution_id": command.execution_id, "task": command.task, "pattern": command.pattern}
    return ParentLink(attempt=command.attempt, **facts), (RouteStep(**facts),)


# -- the same flow as plain Python ------------------------------------------------------------


class Fields(dict[str, Any]):
    """An object whose fields are attributes, as those of a placeholder."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Elements(list[Any]):
    """A list of which ``[:]`` has the fields of every element."""

    def __getitem__(self, place: Any) -> Any:
        return _EachOf(self) if place == slice(None) else super().__getitem__(place)


class _EachOf:
    def __init__(self, elements: Elements) -> None:
        self._elements = elements

    def __getattr__(self, name: str) -> Any:
        return [getattr(element, name) for element in self._elements]


def opened(value: Json) -> Any:
    """Return a JSON value as plain Python has it in a flow."""
    if isinstance(value, dict):
        return Fields({key: opened(member) for key, member in value.items()})
    return Elements(map(opened, value)) if isinstance(value, list) else value


class PlainFlow:
    """The words of ``rillflow.flow``, each done at once."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def call(self, address: str, **given: Any) -> Any:
        return opened(self._function(address.rpartition("/")[2], dict(given)))

    def foreach(self, items: Sequence[Any], body: Callable[..., Any]) -> Any:
        return Elements(opened(body(*pair)) for pair in zip(items, range(len(items)), strict=True))

    def when(self, condition: Any, body: Callable[[], Any]) -> "_Decided":
        return _Decided(opened(body())) if condition else _Decided(_OPEN)

    def catch(self, body: Callable[[], Any], handler: Callable[[Any], Any]) -> Any:
        try:
            return opened(body())
        except FailedError as error:
            return opened(handler(Fields(msg=str(error))))

    def parallel(self) -> AbstractContextManager[None]:
        return nullcontext()

    sequence = parallel

    def all_of(self, *conditions: bool) -> bool:
        return all(conditions)

    def any_of(self, *conditions: bool) -> bool:
        return any(conditions)

    def not_(self, condition: bool) -> bool:  # noqa: FBT001 - a value
        return not condition

    def length(self, value: Sequence[Any]) -> int:
        return len(value)

    def contains(self, values: Any, value: Any) -> bool:
        return value in values


_OPEN: Final = object()


class _Decided:
    def __init__(self, value: Any) -> None:
        self._value = value

    def otherwise(self, body: Callable[[], Any]) -> Any:
        return opened(body()) if self._value is _OPEN else self._value
