"""Rules that choose have a limit each, which is no error, and one together, which is."""

import asyncio
import time
from typing import Final

import pytest

from rillflow.errors import RequestError
from rillflow.language.expressions import MAX_SOURCE_CHARACTERS
from rillflow.runtime.definitions.alias_rules import (
    MOST_RULES,
    RULES_MAX_STEPS,
    first_that_holds,
    refuse_beyond_limits,
)
from tests.machine_speed import processor_time

LOOP: Final = "while true { }"


async def test_a_rule_that_loops_does_not_hold_and_the_next_is_asked() -> None:
    rules = {"a": LOOP, "b": "uid == 7", "c": "true"}
    assert await first_that_holds(rules, uid=7, data={}) == "b"


async def test_many_rules_that_loop_are_refused_at_once() -> None:
    rules = {f"r{number:03}": LOOP for number in range(300)}
    refused = "there are 300 of them, or some loop"
    with processor_time(1, time.process_time), pytest.raises(RequestError, match=refused) as caught:
        await first_that_holds(rules, uid=1, data={})
    assert caught.value.wire_code == 30110
    assert f"{RULES_MAX_STEPS} steps" in caught.value.hint


async def test_many_useful_rules_are_asked_in_the_order_of_their_names() -> None:
    rules = {f"r{number:03}": f"uid % 400 == {number}" for number in range(400)}
    assert await first_that_holds(rules, uid=399, data={}) == "r399"
    assert await first_that_holds(rules, uid=-1, data={}) is None


async def test_a_rule_that_makes_much_does_not_hold() -> None:
    rules = {"a": "count(str(repeat(90000, input.text))) > 0"}
    assert await first_that_holds(rules, uid=1, data={"text": "x" * 10_000}) is None


@pytest.mark.parametrize(
    ("rules", "is_quick"),
    [
        ({f"r{number}": f"uid % 10 == {number}" for number in range(10)}, True),
        ({"a": "count(string.split(input.text, '')) < 0", "b": "true"}, False),
        ({"a": "string.replace_all(input.text, '(x)', '$1') == uid", "b": "true"}, False),
        ({"a": LOOP, "b": "true"}, False),
    ],
)
async def test_rules_that_take_more_than_a_moment_do_not_hold_the_loop(
    rules: dict[str, str], *, is_quick: bool
) -> None:
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    assert await first_that_holds(rules, uid=9, data={"text": "x" * 6_000}) is not None
    assert turned.is_set() is not is_quick


async def test_rules_of_great_length_together_are_refused() -> None:
    rules = {f"r{number}": f"'{'x' * 30_000}' == uid" for number in range(9)}
    with pytest.raises(RequestError):
        await first_that_holds(rules, uid=1, data={})


def test_a_rule_that_is_longer_than_an_expression_is_not_kept() -> None:
    refuse_beyond_limits({}, "a", "x" * MAX_SOURCE_CHARACTERS)
    with pytest.raises(RequestError, match="may have 32768 characters; this one has 32769"):
        refuse_beyond_limits({}, "a", "x" * (MAX_SOURCE_CHARACTERS + 1))


def test_so_many_rules_are_kept_and_each_of_them_can_be_replaced() -> None:
    kept = {f"r{number:03}": "true" for number in range(MOST_RULES)}
    refuse_beyond_limits(kept, "r000", "false")
    with pytest.raises(RequestError, match="may be 500 rules of one choice, and there are 500"):
        refuse_beyond_limits(kept, "another", "true")


def test_rules_that_would_take_too_many_steps_together_are_not_kept() -> None:
    kept = {f"r{number}": "x" * 32_000 for number in range(6)}
    with pytest.raises(RequestError, match="all rules of one choice may take 200000, each rule"):
        refuse_beyond_limits(kept, "r6", "x" * 32_000)
    refuse_beyond_limits(kept, "r6", "true")


def test_of_rules_that_an_earlier_release_kept_each_can_become_shorter() -> None:
    kept = {f"r{number}": "x" * 60_000 for number in range(9)}
    refuse_beyond_limits(kept, "r1", "x" * 30_000)
    with pytest.raises(RequestError):
        refuse_beyond_limits(kept, "new", "true")
