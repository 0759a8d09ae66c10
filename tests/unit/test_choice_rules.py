"""Rules that choose have a limit each, which is no error, and one together, which is."""

import time
from typing import Final

import pytest

from rillflow.errors import RequestError
from rillflow.runtime.definitions.choice_rules import RULES_MAX_STEPS, first_that_holds

LOOP: Final = "while true { }"


async def test_a_rule_that_loops_does_not_hold_and_the_next_is_asked() -> None:
    rules = {"a": LOOP, "b": "uid == 7", "c": "true"}
    assert await first_that_holds(rules, uid=7, data={}) == "b"


async def test_many_rules_that_loop_are_refused_at_once() -> None:
    rules = {f"r{number:03}": LOOP for number in range(300)}
    began = time.process_time()
    with pytest.raises(RequestError, match="there are 300 of them, or some loop") as caught:
        await first_that_holds(rules, uid=1, data={})
    assert time.process_time() - began < 1.0
    assert caught.value.wire_code == 30110
    assert f"{RULES_MAX_STEPS} steps" in caught.value.hint


async def test_many_useful_rules_are_asked_in_the_order_of_their_names() -> None:
    rules = {f"r{number:03}": f"uid % 400 == {number}" for number in range(400)}
    assert await first_that_holds(rules, uid=399, data={}) == "r399"
    assert await first_that_holds(rules, uid=-1, data={}) is None


async def test_a_rule_that_makes_much_does_not_hold() -> None:
    rules = {"a": "count(str(repeat(90000, input.text))) > 0"}
    assert await first_that_holds(rules, uid=1, data={"text": "x" * 10_000}) is None


async def test_rules_of_great_length_together_are_refused() -> None:
    rules = {f"r{number}": f"'{'x' * 30_000}' == uid" for number in range(9)}
    with pytest.raises(RequestError):
        await first_that_holds(rules, uid=1, data={})
