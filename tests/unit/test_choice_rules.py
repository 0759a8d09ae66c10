"""Rules that choose have a limit each, which is no error, and one together, which is."""

import asyncio
import threading
import time
from functools import partial
from typing import Final

import pytest

from rillflow.errors import RequestError
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import MAX_SOURCE_CHARACTERS, kept_expression
from rillflow.runtime.definitions.alias_rules import (
    FOR_RULES,
    MOST_RULES,
    RULES_MAX_STEPS,
    RuleTurns,
    _first,
    first_that_holds,
    refuse_beyond_limits,
)
from tests.machine_speed import processor_time
from tests.unit.test_linear_readers import lines_of

LOOP: Final = "while true { }"
SHOP: Final = "shop"


async def test_a_rule_that_loops_does_not_hold_and_the_next_is_asked() -> None:
    rules = {"a": LOOP, "b": "uid == 7", "c": "true"}
    assert await first_that_holds(rules, uid=7, data={}, workspace=SHOP) == "b"


async def test_many_rules_that_loop_are_refused_at_once() -> None:
    rules = {f"r{number:03}": LOOP for number in range(300)}
    refused = "there are 300 of them, or some loop"
    with processor_time(1, time.process_time), pytest.raises(RequestError, match=refused) as caught:
        await first_that_holds(rules, uid=1, data={}, workspace=SHOP)
    assert caught.value.wire_code == 30110
    assert f"{RULES_MAX_STEPS} steps" in caught.value.hint


async def test_many_useful_rules_are_asked_in_the_order_of_their_names() -> None:
    rules = {f"r{number:03}": f"uid % 400 == {number}" for number in range(400)}
    assert await first_that_holds(rules, uid=399, data={}, workspace=SHOP) == "r399"
    assert await first_that_holds(rules, uid=-1, data={}, workspace=SHOP) is None


async def test_a_rule_that_makes_much_does_not_hold() -> None:
    rules = {"a": "count(str(repeat(90000, input.text))) > 0"}
    assert await first_that_holds(rules, uid=1, data={"text": "x" * 10_000}, workspace=SHOP) is None


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
    choose = partial(first_that_holds, rules, uid=9, data={"text": "x" * 6_000}, workspace=SHOP)
    assert await choose() is not None  # all are compiled now
    goes_on = threading.Event()
    busy = asyncio.create_task(FOR_RULES.run("other", goes_on.wait))
    chosen = asyncio.create_task(choose())
    for _ in range(20):
        await asyncio.sleep(0)
    assert chosen.done() is is_quick
    goes_on.set()
    assert await chosen is not None
    await busy


async def test_choices_of_a_workspace_come_one_in_each_turn_of_the_loop() -> None:
    rules = {"a": "uid == 1", "b": "true"}
    turns, chosen = 0, 0

    async def choose() -> None:
        nonlocal chosen
        await first_that_holds(rules, uid=2, data={}, workspace=SHOP)
        chosen += 1

    await choose()
    many = asyncio.gather(*(choose() for _ in range(50)))
    while not many.done():
        before = chosen
        await asyncio.sleep(0)
        turns += 1
        assert chosen - before <= 1
    assert turns >= 50


async def test_the_choices_of_one_owner_do_not_wait_for_those_of_another() -> None:
    rules = {"a": "uid == 4"}
    goes_on = threading.Event()
    one, other = RuleTurns(), RuleTurns()
    choose = partial(first_that_holds, rules, uid=4, data={}, workspace=SHOP)
    assert await choose(turns=one) == "a"  # it is compiled now
    busy = asyncio.create_task(FOR_RULES.run("other", goes_on.wait))
    loops = {"a": "while uid == 4 { }", "b": "true"}
    held = asyncio.create_task(first_that_holds(loops, uid=4, data={}, workspace=SHOP, turns=one))
    waits = asyncio.create_task(choose(turns=one))
    for _ in range(20):
        await asyncio.sleep(0)
    assert await choose(turns=other) == "a"
    assert not held.done()
    assert not waits.done()
    goes_on.set()
    assert await held == "b"
    assert await waits == "a"
    await busy


async def test_a_rule_that_cannot_be_compiled_is_false_and_is_not_compiled_again() -> None:
    patterns = " || ".join(f"input.a =~ /p{number}[a-z]{{2,300}}/" for number in range(19))
    rules = {f"r{number}": f"{patterns} || {number} ) (" for number in range(5)}
    choose = partial(first_that_holds, rules, uid=1, data={"a": "x"}, workspace=SHOP)
    assert await choose() is None
    assert lines_of(lambda: _first(rules, 1, {"a": "x"}, TotalBudget(1_000_000, 1 << 20))) < 200


async def test_compiling_many_patterns_is_charged_before_it_is_done() -> None:
    patterns = " || ".join(f"input.a =~ /q{number}/" for number in range(150))
    with pytest.raises(RequestError, match="the rules take too much"):
        await first_that_holds({"a": patterns}, uid=1, data={}, workspace=SHOP)
    assert kept_expression(patterns) is None


async def test_rules_of_great_length_together_are_refused() -> None:
    rules = {f"r{number}": f"'{'x' * 30_000}' == uid" for number in range(9)}
    with pytest.raises(RequestError):
        await first_that_holds(rules, uid=1, data={}, workspace=SHOP)


def test_a_rule_that_is_longer_than_an_expression_is_not_kept() -> None:
    refuse_beyond_limits({}, "a", "x" * MAX_SOURCE_CHARACTERS)
    with pytest.raises(RequestError, match="may have up to 32768 characters; this one has 32769"):
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
