"""What one evaluation may spend, and the meter that counts it.

Every loop, call and built-in function charges the meter before it does its work, so
an evaluation ends in time and memory that its budget allows, whatever its text says
and wherever it runs: the count does not depend on the machine, and a replay of the
same expression on the same values stops at the same place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rillflow.errors import BudgetExceededError
from rillflow.language.expressions.random_numbers import RandomNumbers
from rillflow.language.versions import CURRENT

#: Steps for comparing, searching or hashing text go by this many characters.
CHARACTERS_PER_STEP: Final = 64
#: Copying the references in a collection goes by this many elements.
ELEMENTS_PER_STEP: Final = 8
#: Arithmetic with integers of more than 64 bits, and their text, go by this many bits.
INTEGER_BITS_PER_STEP: Final = 64
_LONG_BITS: Final = 64
#: Units of space that one element of a list, set or map counts for.
ELEMENT_SPACE: Final = 16


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one evaluation.

    Attributes:
        steps: Nodes of the syntax tree evaluated, plus units of work of the built-in
            functions; the default is a few tenths of a second on a slow machine.
        string_length: Characters of any one string.
        collection_size: Elements of any one list, set or map made by the script.
        space: Characters made, plus ``ELEMENT_SPACE`` for every element made.
        frames: Depth of calls; a script function of simple shape takes about six.
        integer_bits: Size of any one integer.
        nesting: Depth of a value that is copied, compared or turned into text.
    """

    steps: int = 400_000
    string_length: int = 1 << 20
    collection_size: int = 100_000
    space: int = 1 << 25
    frames: int = 480
    integer_bits: int = 4096
    nesting: int = 64


DEFAULT_BUDGET: Final = Budget()


class Meter:
    """State of one evaluation: what is left of the budget, and what else it needs.

    Attributes:
        budget: The limits.
        environment: The variables given from outside; never changed.
        language: The version of the language whose rules hold.
        copies: Private copies of variables, made where the script may change them.
        patterns: Regular expressions this evaluation has paid for.
        root: The names of the outermost scope.
        frames: Frames of the interpreter that may still be entered.
    """

    __slots__ = (
        "_space", "_steps", "budget", "copies", "environment", "frames", "language", "patterns",
        "random", "root", "seed",
    )  # fmt: skip

    def __init__(
        self,
        environment: Mapping[str, Any],
        seed: int,
        budget: Budget,
        language: int = CURRENT,
    ) -> None:
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
        self._space = budget.space

    @property
    def remaining(self) -> int:
        """Steps that are left."""
        return self._steps

    def work(self, steps: int) -> None:
        """Charge steps.

        Raises:
            BudgetExceededError: None are left.
        """
        self._steps -= steps
        if self._steps < 0:
            raise BudgetExceededError(f"the expression took more than {self.budget.steps} steps")

    def read_text(self, length: int) -> None:
        """Charge the reading of ``length`` characters."""
        if length > CHARACTERS_PER_STEP:
            self.work(length // CHARACTERS_PER_STEP)

    def make_text(self, length: int) -> None:
        """Charge a string of ``length`` characters that is about to be made.

        Raises:
            BudgetExceededError: It is too long, or too much was made already.
        """
        if length > self.budget.string_length:
            limit = self.budget.string_length
            raise BudgetExceededError(f"a string would be longer than {limit} characters")
        self._take_space(length)

    def make_elements(self, number: int) -> None:
        """Charge elements of a collection, a step for each, and two for the whole.

        Raises:
            BudgetExceededError: Too many, or too much was made already.
        """
        self.work(number + 2)
        self._take_space(number * ELEMENT_SPACE)

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
        """Check how deep a value is walked; a list that holds itself ends here.

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

    def _take_space(self, units: int) -> None:
        self._space -= units
        if self._space < 0:
            raise BudgetExceededError(f"the expression made more than {self.budget.space} units")
