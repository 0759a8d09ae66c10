"""The steps of a path: what each token does to a document (spec 2.8, Jayway JsonPath 2.8.0).

A path is a chain of steps; each passes the values that it finds to the next one, and the last one
adds them to the run. The place of a value in the document is tracked only for writing: a place is
``()`` for the document, and ``(place of the parent, key)`` below it; the key is a name, an index,
or the names of a ``['a','b']`` at the end.

Used by `language/jsonpath` and `language/mapping`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from typing_extensions import TypeAliasType

from rillflow.errors import PathEvaluationError, PathFunctionError, PathNotFoundError
from rillflow.jsontypes import JsonValue
from rillflow.language.budget import ENTRY_BYTES, Budget
from rillflow.language.jsonpath.comparisons import Operand
from rillflow.language.text.lexing import shorten

Key: TypeAlias = str | int | tuple[str, ...]

_PLACE_BYTES: Final = 200  # with the list of its keys
_NAMES_PER_STEP: Final = 4
_COMPARISONS_PER_STEP: Final = 4
_Container: TypeAlias = dict[str, JsonValue] | list[JsonValue]
Place = TypeAliasType("Place", "tuple[()] | tuple[Place, Key]")


class Mode(NamedTuple):
    """How a run handles missing values; Jayway's options.

    Attributes:
        leaf_to_null: A missing last name of an object reads as null.
        suppress: Missing values are ignored.
        require: Missing values end the run even below a wildcard.
    """

    leaf_to_null: bool = False
    suppress: bool = False
    require: bool = False


READ: Final = Mode()
MAPPING: Final = Mode(leaf_to_null=True)
CONDITION: Final = Mode(suppress=True)
EXISTENCE: Final = Mode(require=True)


class Run:
    """One evaluation of one path.

    Attributes:
        root: The document that ``$`` means.
        mode: How missing values are treated.
        budget: The steps left, shared with all paths inside this one.
        found: The values found so far.
        places: Their places, when they are wanted.
        root_operands: Values of the paths from ``$`` in filters, by the path's identity.
        upstream_index: The index of the list's element that a scan last stopped at.
    """

    __slots__ = ("budget", "found", "mode", "places", "root", "root_operands", "upstream_index")

    def __init__(self, root: JsonValue, mode: Mode, budget: Budget) -> None:
        self.root = root
        self.mode = mode
        self.budget = budget
        self.found: list[JsonValue] = []
        self.places: list[Place] = []
        self.root_operands: dict[int, Operand] = {}
        self.upstream_index = -1

    def add(self, value: JsonValue, place: Place | None) -> None:
        """Add a result of the whole path."""
        self.budget.spend()
        self.found.append(value)
        if place is not None:
            self.budget.make(_PLACE_BYTES)
            self.places.append(place)


Predicate: TypeAlias = Callable[[JsonValue, Run], bool]
PathFunction: TypeAlias = Callable[[JsonValue, Run], JsonValue]


class _Missing:
    pass


_MISSING: Final = _Missing()


class Step(ABC):
    """One link of the chain; ``link`` joins them.

    Attributes:
        next: The following step, None for the last one.
        definite: Whether this step leads to one value at most.
        after_definite: Whether every step before this one leads to one value at most.
        element_only: For the last step after ``..[x]``: the index that Jayway compares
            with the place of the list's element, as text.
    """

    __slots__ = ("after_definite", "definite", "element_only", "next")

    def __init__(self, *, definite: bool = False) -> None:
        self.next: Step | None = None
        self.definite = definite
        self.after_definite = True
        self.element_only: str | None = None

    @abstractmethod
    def apply(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Pass on what this step finds in the value."""

    def may_start_at(self, value: JsonValue, run: Run) -> bool:
        """Tell whether a scan (``..``) stops at this object or list."""
        del value, run
        return False

    def _pass(self, value: JsonValue, run: Run, place: Place | None) -> None:
        if self.next is None:
            run.add(value, place)
        else:
            self.next.apply(value, run, place)

    def _pass_member(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Pass on a member of an object, with Jayway's index check after a scan."""
        if self.next is not None:
            self.next.apply(value, run, place)
        elif run.upstream_index < 0 or self.element_only in (None, f"[{run.upstream_index}]"):
            run.add(value, place)

    def _misses(self, run: Run, problem: str) -> None:
        """Raise, unless the run ignores missing values.

        Raises:
            PathNotFoundError: There is no value at a place that the path names.
        """
        if self.after_definite and not run.mode.suppress:
            raise PathNotFoundError(problem)


class NamesStep(Step):
    """``.name``, or several names: the last step merges them into one object."""

    __slots__ = ("_shown", "names")

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(definite=True)
        self.names = names
        self._shown = shorten(str(names))  # there may be thousands

    def apply(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Pass on the named members of an object."""
        if not isinstance(value, dict):
            self._misses(run, f"expected an object with {self._shown}")
        elif len(self.names) > 1 and self.next is None:
            self._merge(value, run, place)
        else:
            if len(self.names) > _NAMES_PER_STEP:
                run.budget.work(len(self.names) // _NAMES_PER_STEP)
            for name in self.names:
                self._apply_name(value, name, run, place)

    def may_start_at(self, value: JsonValue, run: Run) -> bool:
        """Stop at objects that have all the names, or get null for the missing ones."""
        if not isinstance(value, dict):
            return False
        if not self.definite or (self.next is None and run.mode.leaf_to_null):
            return True
        run.budget.work(len(self.names) // _NAMES_PER_STEP)
        return all(name in value for name in self.names)

    def _apply_name(
        self, value: dict[str, JsonValue], name: str, run: Run, place: Place | None
    ) -> None:
        member = value.get(name, _MISSING)
        here = None if place is None else (place, name)
        if not isinstance(member, _Missing):
            self._pass_member(member, run, here)
        elif self.next is None and run.mode.leaf_to_null:
            self._pass_member(None, run, here)
        else:
            self._check_missing(name, run)

    def _check_missing(self, name: str, run: Run) -> None:
        mode = run.mode
        if mode.suppress:
            return
        if mode.require or (self.next is not None and self.after_definite and self.definite):
            raise PathNotFoundError(f"missing property {shorten(name)}")

    def _merge(self, value: dict[str, JsonValue], run: Run, place: Place | None) -> None:
        merged: dict[str, JsonValue] = {}
        run.budget.work(len(self.names) // _NAMES_PER_STEP)
        run.budget.make(len(self.names) * ENTRY_BYTES)
        for name in self.names:
            if name in value:
                merged[name] = value[name]
            elif run.mode.leaf_to_null:
                merged[name] = None
            elif run.mode.require:
                raise PathNotFoundError(f"missing property {shorten(name)}")
        run.add(merged, None if place is None else (place, self.names))


class FurtherNamesStep(NamesStep):
    """The same behind others of its kind, where nothing else costs a step."""

    __slots__ = ()

    def apply(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Charge a step, and pass on the named members of an object."""
        run.budget.cost(1)
        super().apply(value, run, place)


class _ListStep(Step):
    """A step that only lists can take; indexes count from the end when negative."""

    __slots__ = ()

    def may_start_at(self, value: JsonValue, run: Run) -> bool:
        """Stop at lists."""
        del run
        return isinstance(value, list)

    def apply(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Pass on elements of a list; an index out of range finds nothing."""
        if not isinstance(value, list):
            self._misses(run, "expected a list")
            return
        size = len(value)
        for index in self._indexes(size):
            run.budget.spend()
            if -size <= index < size:
                self._pass(value[index], run, None if place is None else (place, index))

    @abstractmethod
    def _indexes(self, size: int) -> range | tuple[int, ...]:
        """Return the indexes to try in a list of this size."""


class IndexesStep(_ListStep):
    """``[0]`` or ``[0,2]``."""

    __slots__ = ("indexes",)

    def __init__(self, indexes: tuple[int, ...]) -> None:
        super().__init__(definite=len(indexes) == 1)
        self.indexes = indexes

    def _indexes(self, size: int) -> range | tuple[int, ...]:
        del size
        return self.indexes


class SliceStep(_ListStep):
    """``[a:b]``; with both ends given a negative start counts through zero, as in Jayway."""

    __slots__ = ("start", "stop")

    def __init__(self, start: int | None, stop: int | None) -> None:
        super().__init__()
        self.start = start
        self.stop = stop

    def _indexes(self, size: int) -> range:
        if self.stop is None:
            start = self.start or 0
            return range(max(0, start + size if start < 0 else start), size)
        if self.start is None:
            return range(min(size, self.stop + size if self.stop < 0 else self.stop))
        return range(max(self.start, -size), min(self.stop, size))


class WildcardStep(Step):
    """``.*`` or ``[*]``: all members or all elements."""

    __slots__ = ()

    def may_start_at(self, value: JsonValue, run: Run) -> bool:
        """Stop everywhere."""
        del value, run
        return True

    def apply(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Pass on the contents of an object or list, and nothing for other values."""
        if isinstance(value, dict):
            run.budget.spend(len(value))
            for name, member in value.items():
                self._pass_member(member, run, None if place is None else (place, name))
        elif isinstance(value, list):
            run.budget.spend(len(value))
            for index, element in enumerate(value):
                self._pass(element, run, None if place is None else (place, index))


class FilterStep(Step):
    """``[?(...)]``: an object itself, or the elements of a list, that pass the filter."""

    __slots__ = ("_costs_more", "_more", "_operand_steps", "_predicate", "_text")

    def __init__(self, text: str, predicate: Predicate, parts: int, operand_steps: int) -> None:
        """Take the text, the predicate, the number of comparisons, and the cost of its paths."""
        super().__init__()
        self._text = text
        self._predicate = predicate
        self._more = parts // _COMPARISONS_PER_STEP
        self._operand_steps = operand_steps
        self._costs_more = self._more + operand_steps > 0

    def may_start_at(self, value: JsonValue, run: Run) -> bool:
        """Stop where the object or list itself passes the filter."""
        return self._accepts(value, run)

    def apply(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Pass on what the filter accepts.

        Raises:
            PathEvaluationError: The value is null or a scalar, and the path before the
                filter is definite; this is so even for conditions.
        """
        if isinstance(value, dict):
            if self._accepts(value, run):
                self._pass(value, run, place)
        elif isinstance(value, list):
            for index, element in enumerate(value):
                if self._accepts(element, run):
                    self._pass(element, run, None if place is None else (place, index))
        elif self.after_definite:
            raise PathEvaluationError(f"filter [?{shorten(self._text)}] needs an object or a list")

    def _accepts(self, value: JsonValue, run: Run) -> bool:
        budget = run.budget
        budget.left -= 1  # without a call, since there may be many elements
        if budget.left < 0:
            budget.spend(0)
        if self._costs_more:
            budget.work(self._more)
            budget.cost(self._operand_steps)
        try:
            return self._predicate(value, run)
        except PathFunctionError:
            raise
        except PathEvaluationError:
            return False


class ScanStep(Step):
    """``..``: the next step, at every object and list from here down, outermost first."""

    __slots__ = ()

    def apply(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Walk the value without recursion, so that depth costs no stack."""
        target = self.next
        if target is None:
            raise PathEvaluationError("nothing follows '..'")
        if not isinstance(value, dict | list):
            return
        if place is None:
            _scan(target, value, run)
            return
        waiting = [(value, place)]
        while waiting:
            value, place = waiting.pop()
            run.budget.spend(1 + len(value))
            if target.may_start_at(value, run):
                _start(target, value, run, place)
            inside = _containers(value, place)
            run.budget.make(len(inside) * _PLACE_BYTES)
            waiting.extend(reversed(inside))


def _start(target: Step, value: _Container, run: Run, place: Place | None) -> None:
    """Start the target at a place of the scan.

    Below a list Jayway skips a target that is not the last step: what follows gets all
    elements, and a last name checks the element's index itself (``element_only``).
    """
    if target.next is None or not isinstance(value, list):
        target.apply(value, run, place)
        return
    for index, element in enumerate(value):
        if target.next.element_only is not None:
            run.upstream_index = index
        target.next.apply(element, run, None if place is None else (place, index))


def _scan(target: Step, value: _Container, run: Run) -> None:
    """Scan without places."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        run.budget.spend(1 + len(value))
        if target.may_start_at(value, run):
            _start(target, value, run, None)
        inside = value.values() if isinstance(value, dict) else value
        waiting.extend(reversed([child for child in inside if isinstance(child, dict | list)]))


def _containers(value: _Container, place: Place) -> list[tuple[_Container, Place]]:
    keyed = value.items() if isinstance(value, dict) else enumerate(value)
    return [(child, (place, key)) for key, child in keyed if isinstance(child, dict | list)]


class FunctionStep(Step):
    """``.name(...)``: the value that a function makes of a value."""

    __slots__ = ("function",)

    def __init__(self, function: PathFunction) -> None:
        super().__init__(definite=True)
        self.function = function

    def apply(self, value: JsonValue, run: Run, place: Place | None) -> None:
        """Add the function's value, and hand it on as well: the last one counts."""
        del place
        result = self.function(value, run)
        run.add(result, None)
        if self.next is not None:
            self.next.apply(result, run, None)


def link(steps: list[Step]) -> bool:
    """Link steps to a chain, and return whether the whole chain is definite."""
    definite = True
    for step, follower in zip(steps, [*steps[1:], None], strict=False):
        step.next = follower
        step.after_definite = definite
        if isinstance(step, NamesStep):
            step.definite = follower is None or len(step.names) == 1
        definite = definite and step.definite
    if len(steps) > 2 and isinstance(steps[-3], ScanStep):
        steps[-1].element_only = _fragment(steps[-2])
    return definite


def _fragment(step: Step) -> str:
    is_index = isinstance(step, IndexesStep) and step.definite
    return f"[{step.indexes[0]}]" if is_index and isinstance(step, IndexesStep) else "[several]"
