"""A generated test is broken by a change, and not by the examples that a run happens to draw."""

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzzing import TIMES


def test_two_runs_draw_the_same_examples_unless_new_ones_are_asked_for() -> None:
    first, second = _drawn(), _drawn()
    assert len(first) >= 100
    assert (first == second) == (TIMES == 1)


def _drawn() -> list[int]:
    drawn: list[int] = []

    @given(st.integers())
    def draw(number: int) -> None:
        drawn.append(number)

    draw()
    return drawn
