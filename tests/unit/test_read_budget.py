"""Readers activate few executions at a time, and lease no more of them than a budget allows.

A lease keeps an execution in memory whatever the limit of executions in memory says.
"""

import asyncio
from typing import Final

import pytest

from rillflow.errors import NotReadyError, UnreadAnswersError
from rillflow.runtime.activation.read_budget import MOST_AT_ONCE, MOST_WAITING, ReadBudget

BUDGET: Final = 100


async def _let_others_run() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_reader_waits_until_another_one_has_activated_its_execution() -> None:
    budget, begun = ReadBudget(BUDGET), list[int]()

    async def read(number: int) -> None:
        await budget.begin(has_leases=False)
        begun.append(number)

    tasks = [asyncio.create_task(read(number)) for number in range(MOST_AT_ONCE + 2)]
    for number in range(MOST_AT_ONCE, len(tasks) + 1):
        await _let_others_run()
        assert begun == list(range(number))
        budget.end()
    await asyncio.gather(*tasks)


async def test_a_reader_waits_until_the_leases_of_others_are_within_the_budget() -> None:
    budget = ReadBudget(BUDGET)
    await budget.begin(has_leases=False)
    budget.take(5 * BUDGET)  # one that is larger than the budget is read nevertheless
    budget.end()
    with pytest.raises(NotReadyError):
        budget.check()
    await budget.begin(has_leases=True)  # others might wait for this reader
    budget.end()
    waiting = asyncio.create_task(budget.begin(has_leases=False))
    await _let_others_run()
    assert not waiting.done()
    budget.give_back(5 * BUDGET)
    await waiting
    budget.check()


async def test_a_reader_who_has_left_takes_no_turn() -> None:
    budget = ReadBudget(BUDGET)
    for _ in range(MOST_AT_ONCE):
        await budget.begin(has_leases=False)
    left, stays = (asyncio.create_task(budget.begin(has_leases=False)) for _ in range(2))
    await _let_others_run()
    left.cancel()
    budget.end()
    await stays
    assert left.cancelled()


async def test_more_readers_than_may_wait_are_refused() -> None:
    budget = ReadBudget(BUDGET)
    for _ in range(MOST_AT_ONCE):
        await budget.begin(has_leases=False)
    waiting = [asyncio.create_task(budget.begin(has_leases=False)) for _ in range(MOST_WAITING)]
    await _let_others_run()
    with pytest.raises(UnreadAnswersError, match="try again later"):
        await budget.begin(has_leases=False)
    for _ in waiting:
        budget.end()
    await asyncio.gather(*waiting)
