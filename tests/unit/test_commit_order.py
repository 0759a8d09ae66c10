"""A small append waits for one large append at most, whoever has many of these.

Appends of one execution keep their order.
"""

import asyncio
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pytest

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Append
from rillflow.stores.commit_order import LARGE_BYTES, MOST_IN_GROUP, REST, CommitOrder
from rillflow.stores.sqlite.store import SqliteStore
from rillflow.stores.sqlite.writer import SqliteWriter
from tests.contract.appends import submit

LARGE: Final = b"x" * (LARGE_BYTES + 1)


class Work(NamedTuple):
    name: str
    appends: Sequence[Append] = ()
    is_large: bool = False


def append_of(name: str, text: bytes = b"event", execution: str = "") -> Work:
    """Make the append of an execution of the workspace with which a name begins."""
    execution_id = ExecutionId(f"{name[0]}:f_c_{execution or name}")
    append = Append(
        execution_id=execution_id, fencing_scope=0, epoch=0, first_seq=1, records=(text,)
    )
    return Work(name, (append,))


def large(name: str, execution: str = "") -> Work:
    return append_of(name, LARGE, execution)


def names(works: Sequence[Work]) -> list[str]:
    return [each.name for each in works]


def ordered(*works: Work) -> CommitOrder[Work]:
    order = CommitOrder[Work]()
    for each in works:
        order.add(each)
    return order


def test_small_ones_leave_together_and_do_not_wait_for_large_ones_that_came_before() -> None:
    order = ordered(large("a1"), large("a2"), append_of("b1"), Work("other"), append_of("a3"))
    assert names(order.take(0.0)) == ["b1", "other", "a3"]
    assert names(order.take(0.0)) == ["a1"]
    order.add(append_of("b2"))
    assert names(order.take(0.0)) == ["b2"]
    assert names(order.take(0.0)) == ["a2"]
    assert (names(order.take(0.0)), bool(order)) == ([], False)


def test_large_ones_of_workspaces_take_turns() -> None:
    order = ordered(*(large(f"a{number}") for number in range(3)), large("b1"), large("c1"))
    assert [names(order.take(0.0)) for _ in range(5)] == [["a0"], ["b1"], ["c1"], ["a1"], ["a2"]]


def test_large_work_without_appends_has_turns_as_a_workspace_has_and_others_rest_after_it() -> None:
    removals = [Work(f"removal {number}", is_large=True) for number in range(2)]
    order = ordered(large("a1"), large("a2"), *removals, append_of("b1"))
    assert names(order.take(0.0)) == ["b1"]
    assert [names(order.take(0.0)) for _ in range(4)] == [
        ["a1"], ["removal 0"], ["a2"], ["removal 1"]
    ]  # fmt: skip
    order.took(removals[1:], 0.2, 0.2)
    order.add(removals[0])
    assert order.take(0.2) == []
    assert order.pause_s(0.2) == pytest.approx(REST * 0.2)


def test_small_ones_without_an_end_hold_up_no_large_one() -> None:
    order = ordered(large("a1"))
    for number in range(3 * MOST_IN_GROUP):
        order.add(append_of(f"b{number}"))
    taken = []
    while "a1" not in taken:
        order.add(append_of("b"))
        taken += names(order.take(0.0))
    assert len(taken) <= 3 * MOST_IN_GROUP + 5


def test_others_have_the_disk_after_a_large_one_if_they_use_it() -> None:
    order = ordered(append_of("b1"), large("a1"), large("a2"))
    order.take(0.0)
    order.took(order.take(0.0), 0.2, 0.2)
    assert order.take(0.2) == []
    assert order.pause_s(0.2) == pytest.approx(REST * 0.2)
    order.add(append_of("b2"))
    assert names(order.take(0.3)) == ["b2"]
    assert names(order.take(0.2 + REST * 0.2)) == ["a2"]
    assert order.pause_s(9.0) is None


def test_a_workspace_that_is_alone_does_not_rest_and_nobody_rests_at_the_end() -> None:
    order = ordered(append_of("a1"), large("a2"), large("a3"), append_of("b1"), large("a4"))
    order.take(0.0)
    order.took(order.take(0.0), 0.2, 5.0)
    assert names(order.take(5.0)) == ["a3"]
    order.add(append_of("b2"))
    order.take(5.0)
    order.took([large("a3")], 1.0, 5.0)
    assert order.take(5.0) == []
    order.end_rest()
    assert names(order.take(5.0)) == ["a4"]


def test_appends_of_an_execution_keep_their_order_whatever_their_size() -> None:
    chances = random.Random(5)  # noqa: S311 - not a secret
    for _ in range(300):
        works = [
            append_of(f"{execution[0]}{number}", chances.choice([b"e", LARGE]), execution)
            for number in range(30)
            for execution in [chances.choice(["a1", "a2", "b1"])]
        ]
        order, came, taken = CommitOrder[Work](), list(works), list[Work]()
        now_s = 0.0
        while came or order:
            for _ in range(min(chances.randrange(4), len(came))):
                order.add(came.pop(0))
            group = order.take(now_s)
            taken += group
            order.took(group, 0.1, now_s)
            now_s += chances.choice([0.0, 0.05, 0.2])
        assert len(taken) == len(works)
        for execution in ("a1", "a2", "b1"):
            of_it = [each for each in works if each.appends[0].execution_id.endswith(execution)]
            assert [each for each in taken if each in of_it] == of_it


def works_of(count: int, chances: random.Random) -> list[Work]:
    """Make works of which some are large, and some have appends of two workspaces."""
    works = []
    for number in range(count):
        names_of_it = chances.sample(["a1", "a2", "b1", "c1"], chances.choice([1, 1, 1, 2]))
        text = chances.choice([b"e", b"e", LARGE])
        parts = [append_of(each, text).appends[0] for each in names_of_it]
        works.append(Work(str(number), parts))
    return works


def test_appends_of_an_execution_keep_their_order_also_where_groups_fail_and_are_divided() -> None:
    """Any group of several may fail; some had work behind them that was taken with them."""
    chances = random.Random(7)  # noqa: S311 - not a secret
    for _ in range(300):
        works = works_of(40, chances)
        order, came, done = CommitOrder[Work](), list(works), list[Work]()
        while came or order:
            for _ in range(min(chances.randrange(9), len(came))):
                order.add(came.pop(0))
            group = order.take(0.0)
            failing = chances.randrange(len(group) + 1)
            if failing > 1 and chances.random() < 0.6:
                order.divide(group[:failing], after=group[failing:])
            else:
                done += group
        assert sorted(done, key=works.index) == works
        for execution in {each.execution_id for work in works for each in work.appends}:
            of_it = [
                work for work in works if execution in {each.execution_id for each in work.appends}
            ]
            assert [work for work in done if work in of_it] == of_it


def test_a_group_that_fails_holds_up_other_workspaces_for_few_commits() -> None:
    """One workspace has 200 appends that all fail, and 100 others have one each that does not."""
    bad = {f"a{number}" for number in range(200)}
    order = CommitOrder[Work]()
    for name in (*sorted(bad), *(f"w{number}" for number in range(100))):
        part = append_of("a").appends[0]
        workspace = "evil" if name in bad else name
        part = msgspec.structs.replace(part, execution_id=ExecutionId(f"{workspace}:f_c_{name}"))
        order.add(Work(name, (part,)))
    commits, written = 0, set[str]()
    while len(written) < 100:
        group, commits = order.take(0.0), commits + 1
        if bad.isdisjoint(names(group)):
            written.update(names(group))
        elif len(group) > 1:
            order.divide(group)
    assert commits <= 16


async def test_a_store_commits_small_appends_before_large_ones_that_came_earlier(
    tmp_path: Path,
) -> None:
    path, gate, done = tmp_path / "rillflow.db", threading.Event(), list[str]()
    store = SqliteStore(path)
    await store.open()
    writer = SqliteWriter(path)
    writer.start()

    async def written(name: str, append: Append) -> None:
        await writer.append([append])
        done.append(name)

    try:
        held = asyncio.create_task(writer.do(lambda _: gate.wait()))
        await asyncio.sleep(0)
        tasks = [
            asyncio.create_task(written(f"large {number}", submit(number, LARGE)))
            for number in range(5)
        ]
        tasks.append(asyncio.create_task(written("small", submit(9, business="other"))))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(held, *tasks)
        assert done.index("small") <= 1, "after one large append at most"
        assert [each for each in done if each != "small"] == [f"large {n}" for n in range(5)]
    finally:
        writer.stop()
        await store.close()
