"""A generated test is broken by a change, and not by the examples that a run happens to draw."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzzing import DRAWS_NEW, examples


def test_two_runs_draw_the_same_examples_unless_new_ones_are_asked_for() -> None:
    first, second = _drawn(), _drawn()
    assert len(first) >= examples(100) >= 25
    assert (first != second) == DRAWS_NEW


def test_every_file_with_generated_tests_is_run_for_longer_too() -> None:
    tests = Path(__file__).parents[1]
    known = (tests.parent / "Makefile").read_text(encoding="utf-8")
    generated = [file for file in tests.rglob("test_*.py") if "@given(" in file.read_text("utf-8")]
    left_out = {str(file.relative_to(tests.parent)) for file in generated if file != Path(__file__)}
    missing = [name for name in sorted(left_out) if name not in known]
    assert not missing, "name them in GENERATED of the Makefile"


def test_how_many_examples_a_test_draws_depends_on_the_run() -> None:
    """A number that is fixed is too many for every run, and too few for ``make fuzz``."""
    tests = Path(__file__).parents[1]
    fixed = re.compile(r"max_examples=\d")
    files = [file for file in tests.rglob("test_*.py") if fixed.search(file.read_text("utf-8"))]
    assert not files, "ask for examples() of tests/fuzzing.py"


def _drawn() -> list[int]:
    drawn: list[int] = []

    @given(st.integers())
    def draw(number: int) -> None:
        drawn.append(number)

    draw()
    return drawn
