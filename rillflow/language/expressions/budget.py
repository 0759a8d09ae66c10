"""The budget of one evaluation, and the meter that counts it.

Every loop, call and built-in function charges the meter before it does its work, so every
evaluation ends within the time and memory of its budget. The count does not depend on the machine,
and a replay of the same expression on the same values stops at the same place. Memory is counted in
bytes when it is made, and never returned: a script pays for temporary values too.

Used by `language/expressions` and `language/expressions/functions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rillflow.errors import BudgetExceededError, RillflowError
from rillflow.language.budget import CHARACTERS_PER_STEP, WIDE_CHARACTER_BYTES, TotalBudget
from rillflow.language.expressions.random_numbers import RandomNumbers
from rillflow.language.versions import COSTS_CHARGED, CURRENT, MEMORY_CHARGED

#: Copying this many references of a collection costs a step.
ELEMENTS_PER_STEP: Final = 8
#: This many bits of integers beyond 64, or of their text, cost a step.
INTEGER_BITS_PER_STEP: Final = 64
_LONG_BITS: Final = 64
#: Memory of one element of a list, set or map: its reference, and a number.
ELEMENT_BYTES: Final = 64
#: What an element counted for before the version ``MEMORY_CHARGED``.
_ELEMENT_BYTES_BEFORE: Final = 16


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one evaluation.

    Attributes:
        steps: Nodes of the syntax tree evaluated, plus units of work of the built-in
            functions; the default is a few tenths of a second on a slow machine.
        string_length: Characters of any one string.
        collection_size: Elements of any one list, set or map made by the script.
        memory_bytes: Memory for all that is made, estimated: of texts by their length, of
            collections ``ELEMENT_BYTES`` for every element. The result counts with all the
            text that its JSON has, however often the same text stands in it.
        frames: Depth of calls; a script function of simple shape takes about six.
        integer_bits: Size of any one integer.
        nesting: Depth of a value that is copied, compared or turned into text.
    """

    steps: int = 400_000
    string_length: int = 1 << 20
    collection_size: int = 100_000
    memory_bytes: int = 1 << 25
    frames: int = 480
    integer_bits: int = 4096
    nesting: int = 64


DEFAULT_BUDGET: Final = Budget()


class Meter:
    """The state of one evaluation: what is left of the budget, and its variables.

    Attributes:
        budget: The limits.
        environment: The variables given from outside; never changed.
        language: The language version.
        copies: Private copies of variables, made where the script may change them.
        patterns: Regular expressions for which this evaluation was charged.
        root: The names of the outermost scope.
        frames: Frames of the interpreter that may still be entered.
    """

    __slots__ = (
        "_later", "_memory", "_steps", "_total", "budget", "copies", "environment", "frames",
        "language", "patterns", "random", "root", "seed",
    )  # fmt: skip

    def __init__(
        self,
        environment: Mapping[str, Any],
        seed: int,
        budget: Budget,
        language: int = CURRENT,
        total: TotalBudget | None = None,
    ) -> None:
        """Begin; ``settle`` charges the total with what was spent."""
        self.environment = environment
        self.language = language
        self.seed = seed
        self.budget = budget
        self.frames = budget.frames
        self.copies: dict[str, Any] = {}
        self.patterns: dict[str, Any] = {}
        self.root: dict[str, Any] = {}
        self.random: RandomNumbers | None = None
        self._steps = budget.steps
        self._memory = budget.memory_bytes
        self._total = total
        self._later = 0
        if total is not None:
            self._steps = min(self._steps, total.steps)
            self._memory = min(self._memory, total.memory_bytes)
            if total.on_portion is not None and total.portion_steps < self._steps:
                self._later = self._steps - total.portion_steps
                self._steps = total.portion_steps

    def settle(self) -> None:
        """Charge the total with what was spent, once."""
        total, self._total = self._total, None
        if total is not None:
            given = min(self.budget.steps, total.steps)
            total.steps -= given - max(self._steps + self._later, 0)
            given = min(self.budget.memory_bytes, total.memory_bytes)
            total.memory_bytes -= given - max(self._memory, 0)

    @property
    def remaining(self) -> int:
        """Steps that are left."""
        return self._steps + self._later

    def work(self, steps: int) -> None:
        """Charge steps.

        Raises:
            BudgetExceededError: None are left.
            WorkLimitError: None are left of the total.
        """
        self._steps -= steps
        if self._steps < 0:
            self._begin_portion()

    def _begin_portion(self) -> None:
        """Go on with the steps that are left; ``_steps`` are those of a portion."""
        total = self._total
        if self._later and total is not None and total.on_portion is not None:
            more = min(self._later, total.portion_steps - self._steps)
            self._later -= more
            self._steps += more
            total.on_portion(total)
            if self._steps >= 0:
                return
        raise self._out_of_steps()

    def cost(self, steps: int) -> None:
        """Charge steps for what was free before the version ``COSTS_CHARGED``.

        Raises:
            BudgetExceededError: None are left.
            WorkLimitError: None are left of the total.
        """
        if self.language >= COSTS_CHARGED:
            self.work(steps)

    def read_text(self, length: int) -> None:
        """Charge the reading of ``length`` characters."""
        if length > CHARACTERS_PER_STEP:
            self.work(length // CHARACTERS_PER_STEP)

    def make_text(self, length: int, *, wide: bool = False) -> None:
        """Charge a string of ``length`` characters that is about to be made.

        A ``wide`` one may have other characters than those of ASCII.

        Raises:
            BudgetExceededError: It is too long, or too much was made already.
            WorkLimitError: None is left of the total.
        """
        if length > self.budget.string_length:
            limit = self.budget.string_length
            raise BudgetExceededError(f"a string would be longer than {limit} characters")
        self.take_memory(length * WIDE_CHARACTER_BYTES if wide else length, before=length)

    def make_elements(self, number: int) -> None:
        """Charge elements of a collection, a step for each, and two for the whole.

        Raises:
            BudgetExceededError: Too many, or too much was made already.
        """
        self.work(number + 2)
        self.take_memory(number * ELEMENT_BYTES, before=number * _ELEMENT_BYTES_BEFORE)

    def check_size(self, size: int) -> None:
        """Check the size that a collection is about to have.

        Raises:
            BudgetExceededError: It is too large.
        """
        if size > self.budget.collection_size:
            limit = self.budget.collection_size
            raise BudgetExceededError(f"a collection would have more than {limit} elements")

    def make_collection(self, size: int) -> None:
        """Charge a collection of ``size`` elements that is about to be made."""
        self.check_size(size)
        self.make_elements(size)

    def check_integer(self, value: int) -> int:
        """Return the integer; a long one is charged.

        Raises:
            BudgetExceededError: It has too many bits.
        """
        bits = value.bit_length()
        if bits > self.budget.integer_bits:
            raise BudgetExceededError(
                f"an integer would have more than {self.budget.integer_bits} bits"
            )
        if bits > _LONG_BITS:
            self.work(bits // INTEGER_BITS_PER_STEP)
        return value

    def check_nesting(self, depth: int) -> None:
        """Check the depth of a value that is walked; a list that contains itself ends here.

        Raises:
            BudgetExceededError: It is nested too deeply.
        """
        if depth > self.budget.nesting:
            limit = self.budget.nesting
            raise BudgetExceededError(f"a value is nested deeper than {limit} levels")

    def enter(self, frames: int) -> None:
        """Take frames for a call; ``leave`` gives them back.

        Raises:
            BudgetExceededError: The calls are nested too deeply.
        """
        self.frames -= frames
        if self.frames < 0:
            raise BudgetExceededError("function calls are nested too deeply")

    def leave(self, frames: int) -> None:
        """Give frames back."""
        self.frames += frames

    def take_memory(self, memory_bytes: int, *, before: int = 0) -> None:
        """Charge memory for what is about to be made.

        Args:
            memory_bytes: What it takes.
            before: What it counted for before the version ``MEMORY_CHARGED``.

        Raises:
            BudgetExceededError: Too much was made already.
            WorkLimitError: None is left of the total.
        """
        self._memory -= memory_bytes if self.language >= MEMORY_CHARGED else before
        if self._memory < 0:
            raise self._out_of_memory()

    def _out_of_steps(self) -> RillflowError:
        total, limit = self._total, self.budget.steps
        if total is None or total.steps >= limit:
            return BudgetExceededError(f"the expression took more than {limit} steps")
        self.settle()
        return total.out_of_steps()

    def _out_of_memory(self) -> RillflowError:
        total, limit = self._total, self.budget.memory_bytes
        if total is None or total.memory_bytes >= limit:
            return BudgetExceededError(f"the expression made more than {limit} bytes")
        self.settle()
        return total.out_of_memory()
