"""What is compiled of texts costs and takes what its size says, wherever the text comes from.

Regular expressions are the dearest of it: each may take milliseconds to compile and a hundred
kilobytes to keep. So a text has few of them, each has a bounded program, a schema compiles its
own once, and what is kept of texts is bounded by estimated bytes and not by a number.
"""

from typing import Any, Final

import pytest

from rillflow.errors import BudgetExceededError, RequestError
from rillflow.jsontypes import encode_json
from rillflow.language.bounded_cache import PATTERN_BYTES, BoundedCache
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import compile_expression
from rillflow.language.expressions.patterns import compiled
from rillflow.language.jsonpath.paths import MAX_PATTERNS, compile_path, compiled_bytes
from rillflow.runtime.definitions.catalogue import ready_bytes
from rillflow.runtime.definitions.input_schema import InputSchema
from rillflow.runtime.definitions.json_schema import MOST_PATTERNS

SLOW: Final = "abc{1,900}"


def path_of(patterns: int) -> str:
    return "$[?(" + " && ".join(f"@.a =~ /b{number}/" for number in range(patterns)) + ")]"


def test_a_path_has_few_regular_expressions() -> None:
    assert compile_path(path_of(MAX_PATTERNS)).find([]) == []
    with pytest.raises(BudgetExceededError, match="more than 20 regular expressions"):
        compile_path(path_of(MAX_PATTERNS + 1))


@pytest.mark.parametrize("flags", ["", "i", "ms"])
def test_a_regular_expression_of_a_path_has_a_bounded_program(flags: str) -> None:
    compile_path(f"$[?(@.a =~ /.{{1,300}}/{flags})]")
    with pytest.raises(BudgetExceededError, match="too complex"):
        compile_path(rf"$[?(@.a =~ /\PL{{9}}/{flags})]")


def test_compiling_a_path_in_a_turn_is_charged_for_its_regular_expressions() -> None:
    plain, patterns = TotalBudget(), TotalBudget()
    compile_path("$.a.b", plain)
    compile_path(path_of(10), patterns)
    assert patterns.spent_steps - plain.spent_steps > 10 * 1_000


def test_a_schema_compiles_its_regular_expressions_once() -> None:
    sources = [f"{SLOW}{number}" for number in range(MOST_PATTERNS)]
    schema: dict[str, Any] = {
        "properties": {
            "a": {
                "items": {
                    "patternProperties": dict.fromkeys(sources, True),
                    "additionalProperties": False,
                    "unevaluatedProperties": False,
                }
            }
        }
    }
    checked = InputSchema(encode_json(schema).decode())
    assert checked.patterns == MOST_PATTERNS
    others = [f"other{number}" for number in range(200)]  # which leave no room for those above
    for other in others:
        compiled(other)
    before = compiled.cache_info().misses
    assert checked.errors({"a": [{f"abc{number}": 1} for number in range(5)]}) == []
    assert checked.errors({"a": [{"b": 1}]}) != []
    assert compiled.cache_info().misses == before


def test_a_schema_has_not_many_regular_expressions() -> None:
    sources = [f"b{number}" for number in range(MOST_PATTERNS + 1)]
    with pytest.raises(RequestError, match="more than 100 regular expressions"):
        InputSchema(encode_json({"patternProperties": dict.fromkeys(sources, True)}).decode())
    repeated = {"allOf": [{"properties": {name: {"pattern": "b"}}} for name in sources]}
    assert InputSchema(encode_json(repeated).decode()).patterns == 1


def test_what_is_kept_is_bounded_by_bytes_and_the_latest_always_stays() -> None:
    cache = BoundedCache[int](100)
    for number in range(10):
        cache.put(str(number), number, 30)
    assert (len(cache), cache.kept_bytes) == (3, 90)
    assert [cache.get(str(number)) for number in (6, 7, 9)] == [None, 7, 9]
    cache.put("7", 8, 40)  # takes the place of what it was
    assert (cache.get("7"), cache.kept_bytes) == (8, 100)
    cache.put("huge", 0, 1_000)
    assert (len(cache), cache.get("huge"), cache.kept_bytes) == (1, 0, 1_000)
    cache.put("small", 1, 1)
    assert (len(cache), cache.kept_bytes) == (1, 1)


def test_without_room_the_oldest_leaves_of_who_keeps_most() -> None:
    cache = BoundedCache[int](100)
    for number in range(4):
        cache.put(f"mine{number}", number, 10, "mine")
    for number in range(50):
        cache.put(f"theirs{number}", number, 15, "theirs")
    assert [cache.get(f"mine{number}") for number in range(4)] == [0, 1, 2, 3]
    assert [cache.get(f"theirs{number}") for number in (45, 46, 47, 48, 49)] == [
        None,
        46,
        47,
        48,
        49,
    ]
    cache.put("first", 1, 90, "new")  # is kept, and leaves next
    assert (cache.get("first"), cache.kept_bytes) == (1, 100)
    assert [cache.get(f"mine{number}") for number in (2, 3)] == [None, 3]
    cache.put("second", 2, 5, "other")
    assert (cache.get("first"), cache.get("mine3"), cache.kept_bytes) == (None, 3, 15)


def test_who_has_little_keeps_it_however_many_others_there_are() -> None:
    cache = BoundedCache[int](10_000)
    for number in range(1_000):
        cache.put(f"small{number}", number, 1, f"workspace{number}")
    for number in range(1_000):
        cache.put(f"large{number}", number, 100, "busy")
    assert all(cache.get(f"small{number}") == number for number in range(1_000))
    assert (len(cache), cache.kept_bytes) == (1_090, 10_000)
    cache.put("small1", 5, 2, "busy")  # as the text of another holder
    assert (cache.get("small1"), cache.kept_bytes) == (5, 9_901)


def test_what_a_text_takes_grows_with_its_length_and_its_regular_expressions() -> None:
    assert compiled_bytes(path_of(3)) > 3 * PATTERN_BYTES
    assert compiled_bytes("$.a") < 1_000
    assert ready_bytes("tasks: 1\n" * 1_000) < ready_bytes("tasks: 1\n" * 1_000 + path_of(3))
    assert ready_bytes("x" * 600_000) > 31_000_000


def test_a_compiled_text_is_kept() -> None:
    assert compile_path("$.kept.here") is compile_path("$.kept.here")
    assert compile_expression("1 + 41") is compile_expression("1 + 41")
