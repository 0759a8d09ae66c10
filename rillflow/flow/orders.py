"""Tasks that wait, and blocks of tasks that run at the same time or after each other.

Used by `flow`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from rillflow.definition.model import Timeline
from rillflow.flow.calls import timeline_of
from rillflow.flow.placeholders.operators import truth_of
from rillflow.flow.placeholders.values import Operation, Reference, Value, node_of
from rillflow.flow.places import refusal
from rillflow.flow.tracing import Given, TracedTask, current

T = TypeVar("T")


@contextmanager
def parallel() -> Iterator[None]:
    """Run the tasks of a ``with`` block at the same time.

    A task in it waits for what comes before the block, and for the tasks of the block whose values
    it reads. What comes behind the block waits for all of it.
    """
    with current("parallel()").block(ordered=False):
        yield


@contextmanager
def sequence() -> Iterator[None]:
    """Run the tasks of a ``with`` block after each other, inside of a ``parallel`` block."""
    with current("sequence()").block(ordered=True):
        yield


def sleep(seconds: Any, *, name: str | None = None) -> None:
    """Wait for some seconds, a whole number or a placeholder, before the next line goes on."""
    trace = current("sleep(...)")
    task = trace.begin("pass", "sleep", name)
    if isinstance(seconds, Value):
        trace.give(task, [Given(("seconds",), node_of(seconds))])
        task.fields["timeline"] = Timeline(suspense_interval_s="$.input.seconds")
        return
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0:
        raise refusal(f"sleep takes a whole number of seconds, not {seconds!r:.40}")
    task.fields["timeline"] = Timeline(suspense_interval_s=str(seconds))


@overload
def wait_for(
    name: str,
    *,
    returns: type[T],
    until: Callable[[T], Any] | None = None,
    unless: Callable[[T], Any] | None = None,
    timeout_s: int | None = None,
    skip_on_timeout: bool = False,
) -> T: ...


@overload
def wait_for(
    name: str,
    *,
    until: Callable[[Any], Any] | None = None,
    unless: Callable[[Any], Any] | None = None,
    timeout_s: int | None = None,
    skip_on_timeout: bool = False,
) -> Any: ...


def wait_for(  # noqa: PLR0913 - the options of a suspense
    name: str,
    *,
    returns: type[Any] | None = None,
    until: Callable[[Any], Any] | None = None,
    unless: Callable[[Any], Any] | None = None,
    timeout_s: int | None = None,
    skip_on_timeout: bool = False,
) -> Any:
    """Wait for data from outside: those of a wake-up of the task with this name.

    Args:
        name: Name of the task, by which it is woken.
        returns: The type of the data, for type checkers.
        until: What must hold of the data; by default that there are any.
        unless: What fails the task.
        timeout_s: Seconds after which the task fails.
        skip_on_timeout: After that time the task is SKIPPED instead, and its value is missing.

    Returns:
        The placeholder of the data.
    """
    del returns
    trace = current("wait_for(...)")
    task = trace.begin("suspense", name, name)
    task.keeps_all = True
    data = Value(Reference(task))
    timeline = timeline_of(timeout_s)
    if skip_on_timeout and timeline is not None:
        timeline = timeline.model_copy(update={"skip_on_timeout": "true"})
    task.fields = {"timeline": timeline, "tolerance": skip_on_timeout}
    task.fields["conditions"] = (_condition(task, data, "until", until),)
    if unless is not None:
        task.fields["interruptions"] = (_condition(task, data, "unless", unless),)
    return data


def _condition(task: TracedTask, data: Value, key: str, wanted: Callable[[Any], Any] | None) -> str:
    """Have the task compute a condition each time that data come, and return how it is tested."""
    trace = current("wait_for(...)")
    node = node_of(data if wanted is None else truth_of(wanted(data)))
    # Before the first wake-up there are no data, so that rules without effect are right.
    trace.give(task, [Given((key,), node, tolerance=True)])
    return f"$.input[?(@.{key} == true)]" if isinstance(node, Operation) else f"$.input.{key}"
