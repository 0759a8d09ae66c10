"""What the function of a flow, a foreach or a branch returns, and which task writes it.

Used by `flow/flows.py` and `flow/groups.py`.
"""

from collections.abc import Iterator
from typing import Final

from rillflow.flow.placeholders.literals import Part, parts_of
from rillflow.flow.placeholders.values import Reference, Value, shown
from rillflow.flow.places import refusal
from rillflow.flow.tracing import Given, Level, Trace, TracedTask

RESULT: Final = "result"


def end_body(trace: Trace, level: Level, returned: object) -> None:
    """End a body: its value is that of the foreach, the branch or the handler.

    Raises:
        FlowError: It returns what it does not see, or does nothing.
    """
    assert level.owner is not None  # noqa: S101 - the flow itself ends by end_flow
    _end(trace, level, list(parts_of(returned)), f"{level.owner.name}Result")
    if not level.tasks:
        raise refusal("the function of the body calls nothing and returns nothing")


def end_flow(trace: Trace, returned: object) -> None:
    """End a flow: each key of what it returns is an entry of the context at the end.

    Raises:
        FlowError: It returns something else than a dict, or what it does not see.
    """
    if returned is None:
        return
    if isinstance(returned, Value) or not isinstance(returned, dict):
        value = shown(returned) if isinstance(returned, Value) else f"{returned!r:.40}"
        raise refusal(
            f"a flow returns a dict, whose keys are entries of the context at the end: write"
            f' return {{"result": {value}}}'
        )
    for key in returned:
        if not isinstance(key, str) or not key or key.startswith("__"):
            raise refusal(f"{key!r:.40} is no name of an entry of the context")
    parts = [part for key, value in returned.items() for part in parts_of(value, (key,))]
    _end(trace, trace.top, [part for part in parts if not _is_there(part)], RESULT)


def _is_there(part: Part) -> bool:
    """Tell whether an entry of the context has the value anyway; a task then keeps all of it."""
    node = part.node
    if not isinstance(node, Reference) or node.steps or part.steps != (node.origin.key,):
        return False
    if isinstance(node.origin, TracedTask):
        node.origin.keeps_all = True
    return True


def _end(trace: Trace, level: Level, parts: list[Part], name: str) -> None:
    computed = []
    for part in parts:
        trace.see(part.node)
        if _is_direct(trace, level, part):
            level.result.append(part)
        else:
            computed.append(part)
    if computed:
        level.result_task = task = trace.begin("pass", name)
        nested = [Given((key,), part.node) for key, part in _keyed(computed)]
        trace.give(task, nested)
        level.result += [
            Part(part.steps, Reference(task, given.steps, _is_optional(part)))
            for part, given in zip(computed, nested, strict=True)
        ]


def _is_optional(part: Part) -> bool:
    return isinstance(part.node, Reference) and part.node.is_optional


def _keyed(parts: list[Part]) -> Iterator[tuple[str, Part]]:
    """Go through parts with keys that differ: the last of its own keys where that is free."""
    taken: set[str] = set()
    for place, part in enumerate(parts):
        key = str(part.steps[-1]) if part.steps else "value"
        if key in taken:
            key = f"part{place}"
        taken.add(key)
        yield key, part


def _is_direct(trace: Trace, level: Level, part: Part) -> bool:
    """Tell whether the task that makes a value can write it to its place itself."""
    node = part.node
    if not isinstance(node, Reference) or not isinstance(node.origin, TracedTask):
        return False
    task = node.origin
    if task.level is not level or task.handler is not None or task.is_list:
        return False
    return level.owner is not None or not trace.is_entry(str(part.steps[0]))
