"""The trace of a flow: its tasks, in levels, and what each of them waits for.

Tasks of a level follow each other in the order of the lines. In a ``parallel`` block a task waits
only for the tasks whose values it reads, and for what comes before the block.

Used by `flow`.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from rillflow.definition.model import MappingRule
from rillflow.flow.placeholders.literals import Part
from rillflow.flow.placeholders.values import Node, Reference, Steps, Value, references_in, shown
from rillflow.flow.places import refusal
from rillflow.ids import LONGEST_NAME, is_name, why_no_name

Kind: TypeAlias = Literal["function", "foreach", "choice", "pass", "suspense"]

MOST_TASKS: Final = 2_000
"""Tasks of one flow; a definition of more is longer than a server reads."""
_RESERVED: Final = ("context", "input", "output", "endTask")
_DIGITS: Final = 8
_WORD: Final = re.compile(r"[A-Za-z0-9]+")


@dataclass(eq=False, slots=True)
class Given:
    """A value that a task is given, and where in its input it goes."""

    steps: Steps
    node: Node
    tolerance: bool | None = None


@dataclass(eq=False, slots=True)
class TracedTask:
    """A task of the trace; as an origin it is its output, which the context keeps by its name.

    Attributes:
        fields: Fields of the model that are known when it is traced.
        after: What it waits for.
        caught: The task whose failure it handles, instead of waiting for anything.
        handler: The task that handles its failure.
        bodies: The levels of its groups: one of a foreach, one for each branch of a choice.
        wanted: What of its output is read by others, and whether it may be missing.
        captured: What its groups read of the values outside, and whether it may be missing.
        first_rules: Rules of its input before all others.
        outputs: Rules that write its output to other places.
        root: Where in its output its value is.
        keeps_all: Whether the context keeps the whole value, whoever reads it.
    """

    name: str
    kind: Kind
    level: "Level"
    fields: dict[str, Any] = field(default_factory=dict)
    given: list[Given] = field(default_factory=list)
    after: dict["TracedTask", None] = field(default_factory=dict)
    caught: "TracedTask | None" = None
    handler: "TracedTask | None" = None
    bodies: list["Level"] = field(default_factory=list)
    wanted: dict[Steps, bool] = field(default_factory=dict)
    captured: dict[Steps, bool] = field(default_factory=dict)
    first_rules: tuple[MappingRule, ...] = ()
    outputs: list[MappingRule] = field(default_factory=list)
    root: Steps = ()
    keeps_all: bool = False

    @property
    def key(self) -> str:
        """Return the entry of the context that keeps the output."""
        return self.name

    @property
    def is_list(self) -> bool:
        """Tell whether the output is a list for certain."""
        return self.kind == "foreach"

    @property
    def has_groups(self) -> bool:
        """Tell whether its value is that of groups, of which the context keeps the whole."""
        return self.kind in ("foreach", "choice")

    def follow(self, other: "TracedTask") -> None:
        """Wait for a task, or for the one that handles its failure."""
        self.after[other] = None
        if other.handler is not None:
            self.after[other.handler] = None


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An entry of a context that no task writes: a parameter, an element, or an error."""

    key: str
    level: "Level"
    is_list: bool = False


@dataclass(eq=False, slots=True)
class Block:
    """Tasks that follow each other, or that run at the same time.

    Attributes:
        entry: What comes before the block.
        latest: What the next task follows; in a parallel block it is the entry.
        tasks: The tasks of the block and of the blocks in it.
    """

    ordered: bool
    entry: tuple[TracedTask, ...]
    latest: tuple[TracedTask, ...]
    tasks: list[TracedTask] = field(default_factory=list)

    def leaves(self) -> tuple[TracedTask, ...]:
        """Return the tasks that no other one of the block waits for."""
        followed = {earlier for task in self.tasks for earlier in task.after}
        return tuple(task for task in self.tasks if task not in followed) or self.entry


@dataclass(eq=False, slots=True)
class Level:
    """Tasks with one context: those of the flow, of a foreach, or of a branch.

    Attributes:
        owner: The foreach or choice that has the level; None is the flow itself.
        result: What the function of the level has returned: where it goes below the value of
            the owner, and what it is.
        result_task: The task that computes what is not written by the task it comes from.
    """

    owner: TracedTask | None
    parent: "Level | None"
    tasks: list[TracedTask] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=lambda: [Block(True, (), ())])  # noqa: FBT003
    result: list[Part] = field(default_factory=list)
    result_task: TracedTask | None = None

    def enclosing(self) -> Iterator["Level"]:
        """Go through this level and those around it."""
        level: Level | None = self
        while level is not None:
            yield level
            level = level.parent


class Trace:
    """The trace of one flow, while its function runs.

    Args:
        taken: Names that no task may have: the workspace, the flow, its parameters.
    """

    def __init__(self, taken: Collection[str]) -> None:
        self.top = Level(None, None)
        self.level = self.top
        self._taken = frozenset(taken)
        self._names = {*_RESERVED, *taken}
        self._tasks = 0

    def free_name(self, wanted: str) -> str:
        """Take a name, or the first one behind it that is free, such as ``film2``."""
        base = name_from(wanted, "task")
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}{number}"
        self._names.add(name)
        return name

    def free_key(self, wanted: str) -> str:
        """Take the name of an entry of a context, which no task and no other entry has."""
        key, number = wanted, 1
        while key in self._names:
            number += 1
            key = f"{wanted}{number}"
        self._names.add(key)
        return key

    def is_entry(self, key: str) -> bool:
        """Tell whether the context of the flow has an entry: a parameter, or kept output."""
        return key in self._taken or any(task.key == key for task in self.top.tasks)

    def begin(self, kind: Kind, default_name: str, name: str | None = None) -> TracedTask:
        """Add a task to the level; the next one follows it.

        Raises:
            FlowError: The name is taken or malformed, or there are too many tasks.
        """
        self._tasks += 1
        if self._tasks > MOST_TASKS:
            raise refusal(
                f"the flow has more than {MOST_TASKS} tasks; repeat tasks by foreach, which traces"
                " them once"
            )
        task = TracedTask(self._named(default_name, name), kind, self.level)
        block = self.level.blocks[-1]
        for earlier in block.latest if block.ordered else block.entry:
            task.follow(earlier)
        self.level.tasks.append(task)
        for one in self.level.blocks:
            one.tasks.append(task)
        if block.ordered:
            block.latest = (task,)
        return task

    def begin_handler(self, failed: TracedTask) -> TracedTask:
        """Add the task that handles the failure of the one before it."""
        task = self.begin("choice", f"{failed.name}Caught")
        task.after.clear()
        task.caught, failed.handler = failed, task
        block = self.level.blocks[-1]
        if block.ordered:
            block.latest = (failed, task)
        return task

    def give(self, task: TracedTask, parts: Iterable[Given]) -> None:
        """Give a task values; it waits for the tasks that they come from.

        Raises:
            FlowError: A value is not visible where the task is.
        """
        for part in parts:
            self.see(part.node, task)
            task.given.append(part)

    def see(self, node: Node, reader: TracedTask | None = None) -> None:
        """Have a task of the level, and those around it, wait for what a node reads.

        Raises:
            FlowError: A value is not visible here.
        """
        for reference in references_in(node):
            self._see(reference, reader)

    def _see(self, reference: Reference, reader: TracedTask | None) -> None:
        origin: Any = reference.origin
        for level in self.level.enclosing():
            if level is origin.level:
                if isinstance(origin, TracedTask) and reader is not None and reader is not origin:
                    (reader.caught or reader).follow(origin)
                return
            reader = level.owner
        owner = origin.level.owner
        where = "of another flow" if owner is None else f"of the groups of `{owner.name}`"
        raise refusal(
            f"`{shown(Value(reference))}` is a value {where}, and is not visible here; return it"
            " from the function of the body, and use what foreach, when or catch return"
        )

    @contextmanager
    def body_of(self, owner: TracedTask) -> Iterator[Level]:
        """Trace the body of a foreach or of a branch: what is called inside belongs to it."""
        outside = self.level
        self.level = Level(owner, outside)
        owner.bodies.append(self.level)
        try:
            yield self.level
        finally:
            self.level = outside

    @contextmanager
    def block(self, *, ordered: bool) -> Iterator[None]:
        """Trace tasks that follow each other, or that run at the same time."""
        level, around = self.level, self.level.blocks[-1]
        entry = around.latest if around.ordered else around.entry
        inner = Block(ordered, entry, entry)
        level.blocks.append(inner)
        try:
            yield
        finally:
            level.blocks.remove(inner)
            if around.ordered:
                around.latest = inner.leaves()

    def _named(self, default: str, name: str | None) -> str:
        if name is None:
            return self.free_name(default)
        if not isinstance(name, str):
            raise refusal(f"the name of a task is a text, not {name!r:.40}")
        if not is_name(name) or len(name) > LONGEST_NAME:
            raise refusal(f"{name!r:.60} is no name of a task: {why_no_name(name, LONGEST_NAME)}")
        if name in self._names:
            raise refusal(
                f"the name {name} is taken, by a task, a parameter, the flow or its workspace"
            )
        self._names.add(name)
        return name


def name_from(text: str, default: str) -> str:
    """Return a name of the letters and digits of a text, such as ``makeFilm`` of ``make_film``."""
    words: list[str] = _WORD.findall(text if isinstance(text, str) else "") or [default]
    joined = words[0] + "".join(word[0].upper() + word[1:] for word in words[1:])
    return joined[: LONGEST_NAME - _DIGITS]


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current(what: str) -> Trace:
    """Return the trace under way.

    Raises:
        FlowError: No flow is being traced.
    """
    trace = _current.get()
    if trace is None:
        raise refusal(f"{what} describes a task of a flow: use it inside of a function with @flow")
    return trace


@contextmanager
def tracing(trace: Trace) -> Iterator[None]:
    """Make a trace the current one."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)
