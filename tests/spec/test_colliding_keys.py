"""Integers that are chosen to collide in a map are paid for, and cannot be chosen for a set.

Python hashes integers without a secret: whoever knows the size of a map can give it keys that
one look-up meets one after the other. Each such look-up is charged by the size of the map.
"""

import os
import subprocess
import sys
from typing import Final

import pytest

from rillflow.errors import BudgetExceededError
from rillflow.jsontypes import JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import compile_expression

LOOKUPS: Final = 500
IN_A_MAP: Final = "let m = zipmap(source, source); for i in range(0, %d) { %s; } 1"
HASH_OF_A_MEMBER: Final = """
from rillflow.language.expressions import DEFAULT_BUDGET
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.values import identity_of
print(hash(identity_of(Meter({}, 0, DEFAULT_BUDGET), %s)))
"""


def colliding(bits: int) -> list[JsonValue]:
    """Return integers in the places that one look-up of a dict of so many bits visits in turn."""
    size = 1 << bits
    keys: list[JsonValue] = []
    place = 7
    for _ in range(size * 2 // 3 - 10):
        keys.append(place)
        place = (5 * place + 1) % size
    return keys


def steps_of(text: str, keys: list[JsonValue]) -> int:
    total = TotalBudget()
    compile_expression(text).evaluate({"source": keys}, total=total)
    return total.spent_steps


@pytest.mark.parametrize(
    "asked",
    ["seq.contains_key(m, 32775)", "seq.get(m, 32775)", "seq.remove(m, 32775)", "m[32775] = 1"],
)
def test_a_look_up_of_an_integer_is_charged_for_the_keys_that_it_may_meet(asked: str) -> None:
    keys = colliding(15)

    def per_look_up(of: list[JsonValue]) -> float:
        asking = steps_of(IN_A_MAP % (LOOKUPS, asked), of)
        return (asking - steps_of(IN_A_MAP % (0, asked), of)) / LOOKUPS

    assert per_look_up(keys) - per_look_up(keys[:1_000]) == pytest.approx(
        len(keys) // 2048, abs=0.5
    )


def test_a_look_up_of_a_string_is_not() -> None:
    keys = colliding(15)
    asked = IN_A_MAP % (LOOKUPS, "seq.get(m, 'a')")
    few = steps_of(asked, keys[:1_000]) - steps_of(IN_A_MAP % (0, "1"), keys[:1_000])
    assert steps_of(asked, keys) - steps_of(IN_A_MAP % (0, "1"), keys) == few


@pytest.mark.parametrize("made", ["zipmap(source, source)", "group_by(source, lambda(x) -> x end)"])
def test_the_largest_map_of_integers_is_too_much_work(made: str) -> None:
    compile_expression(made).evaluate({"source": list(range(20_000))})
    with pytest.raises(BudgetExceededError, match="steps"):
        compile_expression(made).evaluate({"source": colliding(17)})


@pytest.mark.parametrize("member", ["5", "0.5", "True"])
def test_where_a_member_of_a_set_stands_is_unknown_outside_of_the_process(member: str) -> None:
    hashes = {
        subprocess.check_output(  # noqa: S603 - this interpreter, and a text from above
            [sys.executable, "-c", HASH_OF_A_MEMBER % member],
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    }
    assert len(hashes) == 2
