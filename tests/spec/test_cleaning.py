"""What is kept has no nulls in maps and no more than its budget, wherever its values stand."""

import time
from typing import Final

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rillflow.core.encoding.stored_context import Cleaner
from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.budget import TotalBudget
from tests.fuzzing import examples
from tests.machine_speed import least

values: Final[st.SearchStrategy[JsonValue]] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=25,
)


def cleaned(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: cleaned(item) for key, item in value.items() if item is not None}
    return [cleaned(item) for item in value] if isinstance(value, list) else value


def size_of(value: JsonValue) -> int:
    """Count eight for each value, and the bytes of texts as JSON; nulls in maps are none.

    Quotation marks and backslashes are one byte here.
    Integers of more than 64 bits count for their digits, and for what it takes to write them.
    """
    if isinstance(value, dict):
        return 8 + sum(size_of(item) for item in value.values() if item is not None)
    if isinstance(value, list):
        return 8 + sum(map(size_of, value))
    if isinstance(value, int) and value.bit_length() > 64:
        return 8 + value.bit_length() // 3 + value.bit_length() ** 2 // 5_000
    if isinstance(value, str):
        return 6 + len(msgspec.json.encode(value)) - value.count('"') - value.count("\\")
    return 8


@settings(max_examples=examples(300))
@given(values)
@example([None, {"a": None, "b": [{"c": None}, "x"]}, [[], {}]])
def test_a_value_is_kept_without_nulls_in_maps_and_counted_to_the_byte(value: JsonValue) -> None:
    size = size_of(value)
    kept = Cleaner(size).clean(value)
    assert kept == cleaned(value)
    assert kept is value or kept != value
    with pytest.raises(ExecutionError, match="exceed the limit"):
        Cleaner(size - 1).clean(value)


@settings(max_examples=examples(100))
@given(values, values)
def test_all_values_share_one_budget(first: JsonValue, second: JsonValue) -> None:
    cleaner = Cleaner(size_of(first) + size_of(second))
    assert [cleaner.clean(first), cleaner.clean(second)] == [cleaned(first), cleaned(second)]
    with pytest.raises(ExecutionError, match="exceed the limit"):
        cleaner.clean(0)


@pytest.mark.parametrize(
    "scalars",
    [
        ["ab", "", "long" * 9],
        [1, -(2**63), 2**64 - 1, True],
        [2**64, -(2**200), 0],
        ["ab", 1, 1.5, None, False, 2**90],
        [None],
        [1.5, 2.5],
    ],
)
def test_a_wide_list_without_containers_counts_what_its_values_do(scalars: list[JsonValue]) -> None:
    wide = scalars * 20
    assert Cleaner(size_of(wide)).clean(wide) is wide
    with pytest.raises(ExecutionError, match="exceed the limit"):
        Cleaner(size_of(wide) - 1).clean(wide)


@pytest.mark.parametrize("value", ["ab", 7, 1.5, None], ids=str)
def test_a_list_as_wide_as_an_answer_may_be_is_not_walked_value_by_value(value: JsonValue) -> None:
    wide = [value] * 290_000

    def spent_s() -> float:
        begun_s = time.thread_time()
        Cleaner(1 << 24).clean(wide)
        return time.thread_time() - begun_s

    assert least(spent_s, 0.03) < 0.03


FLAT_MAPS: Final = st.dictionaries(
    st.text(max_size=5),
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers(-(2**66), 2**66)
    | st.sampled_from([2**64 - 1, 2**64, -(2**64), 1 - 2**64])
    | st.text(max_size=5),
    max_size=40,
)


@settings(max_examples=examples(300))
@given(FLAT_MAPS, st.integers(0, 300), st.integers(0, 300))
@example({"id": 1, "name": "n"}, 25, 6)
@example({"id": 1, "name": "n"}, 25, 7)
@example({"id": 1, "name": "n"}, 24, 7)
def test_a_small_map_takes_at_once_what_a_walk_takes(
    value: JsonObject, left: int, memory_bytes: int
) -> None:
    assert _kept(Cleaner, value, left, memory_bytes) == _kept(Walker, value, left, memory_bytes)


class Walker(Cleaner):
    """Walks over every map."""

    def _takes_flat(self, container: object) -> bool:
        del container
        return False


def _kept(kind: type[Cleaner], value: JsonObject, left: int, memory_bytes: int) -> list[object]:
    """Return what becomes of a map: what is kept or why it is not, and what is left."""
    total = TotalBudget(None, memory_bytes)
    cleaner = kind(left, total, around=1)
    kept: JsonObject = {}
    try:
        cleaner.keep({"x": value}, kept)
        cleaner.charge()
    except ExecutionError as error:
        return [repr(error), cleaner.left, total.memory_bytes]
    return [kept, cleaner.left, total.memory_bytes, total.made_bytes]
