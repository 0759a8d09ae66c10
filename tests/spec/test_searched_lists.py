"""A filter that searches a list finds what ``==`` finds for its elements, for the same steps."""

from hypothesis import example, given
from hypothesis import strategies as st

from rillflow.jsontypes import JsonValue
from rillflow.language.budget import MAX_STEPS, Budget
from rillflow.language.jsonpath.comparisons import OPERATORS

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([1.0, -2.0, 0.5, 2**70, 1e300])
    | st.sampled_from(["", "1", "1.0", "true", "a", "a" * 64, "a" * 65, "a" * 130])
)


@given(SCALARS, st.lists(SCALARS, max_size=6))
@example(1, [True])
@example(value=True, elements=[1, 1.0])
@example("1", [1])
@example(1, ["1"])
@example("a" * 130, ["a" * 130])
def test_a_list_is_searched_as_its_elements_are_compared(
    value: JsonValue, elements: list[JsonValue]
) -> None:
    each = any(OPERATORS["=="](value, element, new_budget()) for element in elements)
    assert OPERATORS["IN"](value, elements, new_budget()) == each
    assert OPERATORS["CONTAINS"](elements, value, new_budget()) == each


@given(st.integers(0, 40), st.lists(st.integers(0, 40), max_size=30))
def test_what_a_search_costs_does_not_depend_on_what_it_finds(
    value: int, elements: list[int]
) -> None:
    spent = {steps_of(value, elements), steps_of(-1, elements), steps_of(0.5, elements)}
    assert spent == {len(elements) + (len(elements) >> 3)}


def steps_of(value: JsonValue, elements: list[int]) -> int:
    budget = new_budget()
    OPERATORS["IN"](value, [*elements], budget)
    return MAX_STEPS - budget.left


def new_budget() -> Budget:
    return Budget()
