"""Splitting a text takes the time that it is charged for, and gives what Java gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rillflow.language.expressions.budget import DEFAULT_BUDGET, Meter
from rillflow.language.expressions.patterns import split
from tests.fuzzing import examples
from tests.unit.test_linear_readers import lines_of

MOST_LINES_PER_STEP = 0.5


def fresh_meter() -> Meter:
    return Meter({}, 0, DEFAULT_BUDGET)


@pytest.mark.parametrize("text", ["a" * 90_000, "ab" * 45_000, "x" + "a" * 89_999, "b" * 90_000])
@pytest.mark.parametrize("separator", ["a", "ab"])
def test_empty_texts_at_the_end_take_no_more_than_the_text_is_charged_for(
    text: str, separator: str
) -> None:
    meter = fresh_meter()
    lines = lines_of(lambda: split(meter, text, separator, 0))
    assert lines <= MOST_LINES_PER_STEP * (DEFAULT_BUDGET.steps - meter.remaining)


@settings(max_examples=examples(200))
@given(st.text("ab,", max_size=30), st.sampled_from(["a", ",", "ab", "aa", "aba"]))
def test_empty_texts_at_the_end_are_dropped_and_no_others(text: str, separator: str) -> None:
    parts = text.split(separator)
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    expected = [] if text and parts == [""] else parts
    assert split(fresh_meter(), text, separator, 0) == expected
    assert split(fresh_meter(), text, separator, -1) == text.split(separator)
