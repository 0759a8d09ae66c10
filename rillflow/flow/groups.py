"""Tasks with groups: ``foreach``, ``when`` and ``catch``. Their bodies are functions.

A body is traced once. It has a context of its own, so it returns what is to be seen outside.

Used by `flow`.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, SupportsIndex, TypeVar, overload

from rillflow.definition.model import IterationMapping, MappingRule, Synchronization
from rillflow.flow.calls import timeline_of
from rillflow.flow.placeholders.literals import parts_of
from rillflow.flow.placeholders.operators import truth_of
from rillflow.flow.placeholders.values import Constant, Reference, Value, node_of, operation
from rillflow.flow.places import refusal
from rillflow.flow.results import end_body
from rillflow.flow.tracing import Entry, Given, Level, Trace, TracedTask, current

T = TypeVar("T")
R = TypeVar("R")
U = TypeVar("U")

MOST_BRANCHES: Final = 50


class Values(list[R]):
    """The list of the values of a body, as type checkers see it; ``[:]`` is each of them.

    What a foreach gives is a placeholder, and never of this class.
    """

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, place: SupportsIndex, /) -> R: ...

        @overload
        def __getitem__(self, place: slice, /) -> Any: ...

        def __getitem__(self, place: Any, /) -> Any:
            """Return the value of one element, or of each."""


@overload
def foreach(
    items: Iterable[T],
    body: Callable[[T], R],
    *,
    at_once: int | None = None,
    name: str | None = None,
    timeout_s: int | None = None,
    tolerance: bool = False,
) -> Values[R]: ...


@overload
def foreach(
    items: Iterable[T],
    body: Callable[[T, int], R],
    *,
    at_once: int | None = None,
    name: str | None = None,
    timeout_s: int | None = None,
    tolerance: bool = False,
) -> Values[R]: ...


def foreach(  # noqa: PLR0913 - the options of a foreach
    items: Iterable[Any],
    body: Callable[..., Any],
    *,
    at_once: int | None = None,
    name: str | None = None,
    timeout_s: int | None = None,
    tolerance: bool = False,
) -> Any:
    """Run a body for every element of a list, in parallel, and return the list of its values.

    Args:
        items: The list, usually a placeholder.
        body: What is done with an element, and with its position from 0 if it takes two.
        at_once: Most iterations that run at the same time; may be a placeholder.
        name: Name of the task; by default ``each`` and the name of the body's parameter.
        timeout_s: Seconds after which the foreach fails.
        tolerance: A failure makes the task SKIPPED, with the values that there are.

    Raises:
        FlowError: The body takes no or more than two parameters, or it does nothing.
    """
    trace = current("foreach(...)")
    parameters = _parameters_of(body, most=2)
    if not parameters:
        raise refusal("the body of a foreach takes the element, and may take its position")
    task = trace.begin("foreach", f"each {parameters[0]}", name)
    task.fields = {"timeline": timeline_of(timeout_s), "tolerance": tolerance}
    items_key, keys = trace.free_key("items"), [trace.free_key(it) for it in parameters]
    trace.give(task, [Given((items_key,), _list_node(items))])
    task.fields["iteration_mapping"] = IterationMapping(
        collection=f"$.input.{items_key}",
        item=keys[0],
        index=keys[1] if len(keys) > 1 else None,
    )
    if at_once is not None:
        task.fields["synchronization"] = _at_most(trace, task, at_once, items_key)
    with trace.body_of(task) as level:
        given = [Value(Reference(Entry(key, level))) for key in keys]
        end_body(trace, level, body(*given))
    return Value(Reference(task))


def _list_node(items: object) -> Any:
    parts = list(parts_of(list(items) if isinstance(items, tuple | range) else items))
    if len(parts) != 1 or parts[0].steps:
        raise refusal("foreach goes through a list; of a dict, give a list of its entries")
    node = parts[0].node
    if isinstance(node, Constant) and not isinstance(node.value, list):
        raise refusal(f"foreach goes through a list, and {node.value!r:.40} is none")
    return node


def _at_most(trace: Trace, task: TracedTask, at_once: object, items_key: str) -> Synchronization:
    most = str(at_once) if isinstance(at_once, int) else ""
    if isinstance(at_once, Value):
        key = trace.free_key("atOnce")
        trace.give(task, [Given((key,), node_of(at_once))])
        most = f"$.input.{key}"
    elif isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
        raise refusal(f"at_once is a whole number, 1 or more, not {at_once!r:.40}")
    return Synchronization(conditions=(f"$.input.{items_key}",), max_concurrency=most)


class When(Generic[T]):
    """A decision that may get more branches: ``elsewhen`` and ``otherwise``."""

    def __init__(self, trace: Trace, task: TracedTask, key: str) -> None:
        self._trace = trace
        self._task = task
        self._key = key
        self._conditions: list[Value] = []

    def elsewhen(self, condition: Any, body: Callable[[], U]) -> "When[T | U]":
        """Run another body if no condition before holds, and this one does."""
        self._extend(body, condition)
        return self  # type: ignore[return-value] # the same object, of a wider type

    def otherwise(self, body: Callable[[], U]) -> T | U:
        """Run another body if no condition holds, and return the value of the one that runs."""
        self._extend(body)
        value: Any = Value(Reference(self._task))
        return value  # type: ignore[no-any-return] # a placeholder of that type

    def _extend(self, body: Callable[[], Any], condition: object = None) -> None:
        level = self._trace.level
        if level is not self._task.level or level.tasks[-1] is not self._task:
            raise refusal("write .elsewhen(...) and .otherwise(...) directly behind when(...)")
        if len(self._task.bodies) >= MOST_BRANCHES:
            raise refusal(f"a decision has at most {MOST_BRANCHES} branches")
        if condition is not None:
            self._conditions.append(truth_of(condition))
        self._decide()
        before = len(self._task.bodies)
        with self._trace.body_of(self._task) as inner:
            returned = body()
            if returned is None and not inner.tasks:
                self._task.bodies.pop()  # nothing is done in that case
            else:
                end_body(self._trace, inner, returned)
        if len(self._task.bodies) > before:
            number = len(self._conditions) - (condition is not None)
            chosen = f"$.input[?(@.{self._key} == {number})]"
            self._task.fields["choices"] = (*self._task.fields["choices"], chosen)

    def _decide(self) -> None:
        """Have the task compute the number of the branch whose condition is the first to hold."""
        chosen: Any = len(self._conditions)
        for number in range(len(self._conditions) - 1, -1, -1):
            chosen = operation("if", self._conditions[number], number, chosen)
        self._task.given.clear()
        self._trace.give(self._task, [Given((self._key,), node_of(chosen))])


def when(condition: Any, body: Callable[[], T], *, name: str | None = None) -> When[T]:
    """Run a body if a condition holds while the workflow runs.

    ``when(score > 0.5, publish).otherwise(reject)`` gives the value of the body that runs.

    Args:
        condition: A placeholder, such as ``story.score > 0.5``.
        body: A function without parameters, traced once.
        name: Name of the task.

    Raises:
        FlowError: The condition is no placeholder, or the body does nothing.
    """
    trace = current("when(...)")
    first = truth_of(condition)
    task = trace.begin("choice", "when", name)
    task.fields["choices"] = ()
    decision: When[T] = When(trace, task, trace.free_key("branch"))
    decision.elsewhen(first, body)
    if not task.bodies:
        raise refusal("the function of the body calls nothing and returns nothing")
    return decision


def catch(body: Callable[[], T], handler: Callable[[Any], U], *, name: str | None = None) -> T | U:
    """Run a body, and if one of its tasks fails, after its retries, a handler instead.

    Args:
        body: A function without parameters.
        handler: Takes the error: ``error.task``, ``error.code`` and ``error.msg``.
        name: Name of the task that has the body.

    Returns:
        The placeholder of the value of the body, or of the handler.
    """
    trace = current("catch(...)")
    if len(_parameters_of(handler, most=1)) != 1:
        raise refusal("the handler of catch takes the error: lambda error: ...")
    task = trace.begin("choice", "attempt", name)
    key = trace.free_key("always")
    trace.give(task, [Given((key,), Constant(True))])  # noqa: FBT003 - a value of JSON
    task.fields["choices"] = (f"$.input.{key}",)
    with trace.body_of(task) as level:
        end_body(trace, level, body())
    caught = trace.begin_handler(task)
    error_key = trace.free_key("error")
    caught.first_rules = (MappingRule(source="$.input.error", target=f"$.input.{error_key}"),)
    caught.fields["choices"] = (f"$.input.{error_key}",)
    with trace.body_of(caught) as level:
        _handle(trace, level, handler, error_key)
    value: Any = Value(Reference(task))
    return value  # type: ignore[no-any-return] # a placeholder of that type


def _handle(trace: Trace, level: Level, handler: Callable[[Any], Any], key: str) -> None:
    returned = handler(Value(Reference(Entry(key, level))))
    if returned is None and not level.tasks:
        trace.begin("pass", "ignore")
    end_body(trace, level, returned)


def _parameters_of(body: Callable[..., Any], *, most: int) -> list[str]:
    """Return the names of the parameters of a body that have no default."""
    if isinstance(body, Value) or not callable(body):
        raise refusal(f"a body is a function, such as lambda item: ..., not {body!r:.40}")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(body).parameters.values()
    names = [it.name for it in found if it.kind in kinds and it.default is it.empty]
    if len(names) > most or any(it.kind not in kinds and it.default is it.empty for it in found):
        raise refusal(f"the body takes {inspect.signature(body)}, and at most {most} may be given")
    return names
