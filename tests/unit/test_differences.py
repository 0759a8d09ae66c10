"""The difference of two texts shows what was removed and added, and no text makes it slow."""

import random

import pytest

from rillflow.runtime.definitions.differences import Difference, Line, difference
from tests.machine_speed import processor_time


def rebuilt(before: list[str], found: Difference) -> list[str]:
    """Apply a difference to a text."""
    after: list[str] = []
    at = 0
    for hunk in found.hunks:
        after += before[at : hunk.from_line - 1]
        at = hunk.from_line - 1
        assert len(after) == hunk.to_line - 1
        for line in hunk.lines:
            if line.op != "+":
                assert before[at] == line.text
                at += 1
            if line.op != "-":
                after.append(line.text)
    return after + before[at:]


def test_equal_texts_have_no_difference() -> None:
    assert difference(["a", "b"], ["a", "b"], 3) == Difference(0, 0, (), is_exact=True)


def test_a_changed_line_is_shown_between_its_neighbours() -> None:
    before = [str(number) for number in range(20)]
    after = [*before[:10], "ten", *before[11:]]
    found = difference(before, after, 1)
    assert (found.added, found.removed, found.is_exact) == (1, 1, True)
    [hunk] = found.hunks
    assert (hunk.from_line, hunk.to_line) == (10, 10)
    assert hunk.lines == (Line(" ", "9"), Line("-", "10"), Line("+", "ten"), Line(" ", "11"))


@pytest.mark.parametrize("seed", range(40))
def test_a_difference_leads_from_one_text_to_the_other(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    words = [str(number) for number in range(chance.choice([2, 20, 500]))]
    before = [chance.choice(words) for _ in range(chance.randrange(200))]
    after = [
        chance.choice(words) if chance.random() < 0.1 else line
        for line in before
        if chance.random() < 0.95
    ]
    for context in (0, 1, 3, 500):
        assert rebuilt(before, difference(before, after, context)) == after


def test_hostile_texts_are_compared_in_a_bounded_time() -> None:
    before = ["same"] * 20_000
    after = ["same", "other"] * 10_000
    with processor_time(5):
        found = difference(before, after, 3)
    assert not found.is_exact
    assert rebuilt(before, found) == after
