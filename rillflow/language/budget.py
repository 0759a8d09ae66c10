"""The steps that one evaluation of a path may take, in visited values."""

from typing import Final

from rillflow.errors import BudgetExceededError

MAX_STEPS: Final = 1_000_000


class Budget:
    """Counts down; shared by a path and everything in its filters."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps.

        Raises:
            BudgetExceededError: None are left.
        """
        self.left -= steps
        if self.left < 0:
            raise BudgetExceededError(f"a path visits more than {MAX_STEPS} values")
