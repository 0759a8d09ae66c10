"""Budgets: what one reading of a path, and all evaluations of one turn or request, may cost.

Steps stand for processor time, bytes for memory. Both are estimates that depend on the values and
texts alone, so a replay of an event stops at the same place on every machine. Everything is charged
before it is made.

Used by `core`, `language`, `runtime`, `serve`, `testing` and `triggers`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

from rillflow.errors import BudgetExceededError, WorkLimitError
from rillflow.jsontypes import MAX_DEPTH, JsonValue
from rillflow.language.versions import (
    CONTEXTS_BOUNDED,
    COSTS_CHARGED,
    CURRENT,
    EVENTS_CUT_BY_WORK,
    MEMORY_CHARGED,
    NESTING_BOUNDED,
)

MAX_STEPS: Final = 1_000_000
"""Limit of the values that one reading of a path may visit."""
MAX_BYTES: Final = 1 << 25
"""Limit of the memory for the results of one reading of a path."""
TURN_MAX_STEPS: Final = 2_000_000
"""Limit of the steps of all evaluations of one turn, or of one request, together."""
TURN_MAX_BYTES: Final = 1 << 28
"""Limit of the bytes that all evaluations of one turn, or of one request, make together."""
CHARACTERS_PER_STEP: Final = 64
"""Reading this many characters costs a step."""
LONGEST_NUMBER: Final = 1200
"""Limit of the characters of a text that is read as a number."""
REFERENCE_BYTES: Final = 8
"""Memory of an element of a list that only refers to a value."""
WIDE_CHARACTER_BYTES: Final = 4
"""Memory of a character of text that is not all ASCII."""
ENTRY_BYTES: Final = 48
"""Memory of an entry of a map, without its key and value."""

PORTION_STEPS: Final = 250
"""After so many steps ``on_portion`` is called; they take a few milliseconds at most."""

_OLDER_MAX_NESTING: Final = 480  # about where the interpreter's stack ended
_LONG_PART: Final = 64

_UNLIMITED: Final = 1 << 62
_SHARES: Final = 20
_BOTH: Final = (1, 1)  # shares of steps and of bytes that are reserved


def search_steps(length: int, part: int) -> int:
    """Return what the search for a part costs beyond reading the text.

    A part that almost occurs everywhere is compared again at each place.
    """
    return length * (min(part, _LONG_PART) >> 3) // CHARACTERS_PER_STEP


@cache
def _charges_of(language: int) -> tuple[bool, bool, bool, bool, int]:
    """Return what a version of the language charges; each turn asks for it."""
    return (
        language >= MEMORY_CHARGED,
        language >= COSTS_CHARGED,
        language >= EVENTS_CUT_BY_WORK,
        language >= CONTEXTS_BOUNDED,
        MAX_DEPTH if language >= NESTING_BOUNDED else _OLDER_MAX_NESTING,
    )


class TotalBudget:
    """The budget of all evaluations of one turn, or of one request, together.

    Exceeding it fails the task. A twentieth is reserved for what follows that failure in the same
    turn, such as a task that catches it; when the reserve is used up, every evaluation fails.

    Attributes:
        steps: Steps that are left.
        memory_bytes: Bytes that are left.
        charges_all: Whether paths are charged for memory and for all of their work; those
            of executions of older versions are charged as before.
        charges_costs: Whether what was free before the version ``COSTS_CHARGED`` is charged.
        charges_entries: Whether a walk over a map is charged for its entries.
        counts_bytes: Whether a text counts by its bytes of JSON, not by its characters.
        max_nesting: How many lists and maps may be nested in what is kept.
        on_portion: Called after each portion of steps, and by whoever does much that is not
            charged. It changes nothing here: it may let others compute meanwhile.
        portion_steps: How many steps a portion has.
        compiled: What was compiled on this budget, by its text; None is nothing yet. Each
            text is charged once, and its result is kept as long as the budget.
    """

    __slots__ = (
        "_bytes_limit", "_earlier_bytes", "_portion_end", "_reserved",
        "_steps_limit", "charges_all", "charges_costs", "charges_entries", "compiled",
        "counts_bytes", "max_nesting", "memory_bytes", "on_portion", "portion_steps", "steps",
    )  # fmt: skip

    def __init__(
        self,
        steps: int | None = TURN_MAX_STEPS,
        memory_bytes: int | None = TURN_MAX_BYTES,
        language: int = CURRENT,
        on_portion: "OnPortion | None" = None,
        portion_steps: int = PORTION_STEPS,
    ) -> None:
        """Begin with these limits; None sets none, as for executions of older releases."""
        (
            self.charges_all,
            self.charges_costs,
            self.charges_entries,
            self.counts_bytes,
            self.max_nesting,
        ) = _charges_of(language)
        self.compiled: dict[str, Any] | None = None
        self.steps = self._steps_limit = _UNLIMITED if steps is None else steps
        self.memory_bytes = self._bytes_limit = _UNLIMITED if memory_bytes is None else memory_bytes
        self._reserved = _BOTH
        self._earlier_bytes = 0
        self.on_portion = on_portion
        self.portion_steps = portion_steps
        self._portion_end = 0 if on_portion is None else max(self.steps - portion_steps, 0)

    @property
    def spent_steps(self) -> int:
        """The number of steps taken, without those that exceeded the limit."""
        return self._steps_limit - self.steps

    @property
    def made_bytes(self) -> int:
        """About how much was made; no less than what may be kept of it."""
        return self._bytes_limit - self.memory_bytes - self._earlier_bytes

    @property
    def is_empty(self) -> bool:
        """Whether no memory is left; older versions find that out only when they are charged."""
        return self.memory_bytes <= 0 and self.charges_entries

    @property
    def has_reserve(self) -> bool:
        """Whether the reserve of memory has not been released."""
        return bool(self._reserved[1])

    def go_on(self, memory_bytes: int, *, has_reserve: bool) -> None:
        """Continue with the memory that an earlier event left, less what was made since."""
        made = self.made_bytes
        self.memory_bytes = max(memory_bytes - made, 0)
        self._earlier_bytes = self._bytes_limit - self.memory_bytes - made
        self._reserved = (self._reserved[0], int(has_reserve))

    def spend(self, steps: int = 1) -> None:
        """Take steps.

        Raises:
            WorkLimitError: None are left.
        """
        self.steps -= steps
        if self.steps < self._portion_end:
            self._end_portion()

    def _begin_portion(self) -> None:
        is_divided = self.on_portion is not None
        self._portion_end = max(self.steps - self.portion_steps, 0) if is_divided else 0

    def _end_portion(self) -> None:
        if self.steps < 0:
            raise self.out_of_steps()
        self._begin_portion()
        if self.on_portion is not None:
            self.on_portion(self)

    def cost(self, steps: int) -> None:
        """Take steps for what was free before the version ``COSTS_CHARGED``.

        Raises:
            WorkLimitError: None are left.
        """
        if self.charges_costs:
            self.spend(steps)

    def make(self, memory_bytes: int) -> None:
        """Take memory for what is about to be made.

        Raises:
            WorkLimitError: None is left.
        """
        self.memory_bytes -= memory_bytes
        if self.memory_bytes < 0:
            raise self.out_of_memory()

    def copy(self, container: Mapping[str, JsonValue] | list[JsonValue]) -> None:
        """Charge the copy of a map or list, without its contents.

        Raises:
            WorkLimitError: Nothing is left.
        """
        size = len(container)
        self.spend(size >> 3)
        self.make(size * (REFERENCE_BYTES if isinstance(container, list) else ENTRY_BYTES))

    def out_of_steps(self) -> WorkLimitError:
        """Return the error of a step too many; the first time, release the reserve."""
        limit, kept, self._reserved = self._steps_limit, self._reserved[0], (0, self._reserved[1])
        self.steps = max(self.steps, 0) + limit * kept // _SHARES
        self._begin_portion()
        return WorkLimitError("steps", limit, "turn_max_steps")

    def out_of_memory(self) -> WorkLimitError:
        """Return the error of a byte too many; the first time, release the reserve."""
        limit, kept, self._reserved = self._bytes_limit, self._reserved[1], (self._reserved[0], 0)
        self.memory_bytes = max(self.memory_bytes, 0) + limit * kept // _SHARES
        return WorkLimitError("bytes", limit, "turn_max_bytes")


OnPortion: TypeAlias = Callable[[TotalBudget], None]
"""Called after a portion of the steps of a budget."""


class Budget:
    """The budget of one reading; shared by a path and everything in its filters.

    Attributes:
        left: Steps that are left of the present portion; all of it where the total is not divided.
        memory_left: Bytes that are left of it.
        charges_all: Whether memory and all work are charged (see ``TotalBudget``).
        charges_costs: Whether what was free before ``COSTS_CHARGED`` is charged, too.
    """

    __slots__ = (
        "_given", "_later", "_total", "charges_all", "charges_costs", "left", "memory_left",
    )  # fmt: skip

    def __init__(self, total: TotalBudget | None = None) -> None:
        """Begin; ``settle`` charges the total with what was spent."""
        self._total = total
        if total is None:
            self.left, self.memory_left = MAX_STEPS, MAX_BYTES
            self.charges_all = self.charges_costs = True
        else:
            self.left = min(MAX_STEPS, total.steps)
            self.memory_left = min(MAX_BYTES, total.memory_bytes)
            self.charges_all = total.charges_all
            self.charges_costs = total.charges_costs
        self._given = (self.left, self.memory_left)
        self._later = 0
        if total is not None and total.on_portion and total.portion_steps < self.left:
            self._later = self.left - total.portion_steps
            self.left = total.portion_steps

    def spend(self, steps: int = 1) -> None:
        """Take steps.

        Raises:
            BudgetExceededError: The path visits too many values.
            WorkLimitError: None are left of the total.
        """
        self.left -= steps
        if self.left < 0:
            self._begin_portion()

    def _begin_portion(self) -> None:
        total = self._total
        if self._later and total is not None and total.on_portion is not None:
            more = min(self._later, total.portion_steps - self.left)
            self._later -= more
            self.left += more
            total.on_portion(total)
            if self.left >= 0:
                return
        if total is not None and self._given[0] < MAX_STEPS:
            raise total.out_of_steps()
        raise BudgetExceededError(f"a path visits more than {MAX_STEPS} values")

    def work(self, steps: int) -> None:
        """Take steps for what was free before the version ``MEMORY_CHARGED``.

        Raises:
            BudgetExceededError: The path visits too many values.
            WorkLimitError: None are left of the total.
        """
        if self.charges_all:
            self.spend(steps)

    def cost(self, steps: int) -> None:
        """Take steps for what was free before the version ``COSTS_CHARGED``.

        Raises:
            BudgetExceededError: The path visits too many values.
            WorkLimitError: None are left of the total.
        """
        if self.charges_costs:
            self.spend(steps)

    def cost_memory(self, memory_bytes: int) -> None:
        """Take memory for what was not counted before the version ``COSTS_CHARGED``.

        Raises:
            BudgetExceededError: The path finds too much.
            WorkLimitError: None is left of the total.
        """
        if self.charges_costs:
            self.make(memory_bytes)

    def make(self, memory_bytes: int) -> None:
        """Take memory for what is about to be made; older versions did not count it.

        Raises:
            BudgetExceededError: The path finds too much.
            WorkLimitError: None is left of the total.
        """
        if not self.charges_all:
            return
        self.memory_left -= memory_bytes
        if self.memory_left < 0:
            if self._total is not None and self._given[1] < MAX_BYTES:
                raise self._total.out_of_memory()
            raise BudgetExceededError(f"a path makes more than {MAX_BYTES} bytes")

    def settle(self) -> None:
        """Charge the total with what was spent."""
        if self._total is not None:
            steps, memory_bytes = self._given
            left = max(self.left + self._later, 0)
            self._total.steps -= steps - left
            self._total.memory_bytes -= memory_bytes - max(self.memory_left, 0)
            self._given = (left, max(self.memory_left, 0))
