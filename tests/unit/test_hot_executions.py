"""How many executions stay in memory, and how much memory they take, has limits.

Where there are too many, those of the workspace that takes most leave.
"""

import math
import sys
import tracemalloc
from asyncio import Future
from collections.abc import Sequence
from typing import Any, Final

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import DispatchAnswered, ExecutionSubmitted
from rillflow.core.machine import Handled
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.active_execution import ActiveExecution, Stage, WorkspaceMemory
from rillflow.runtime.activation.hot_executions import (
    BYTES_PER_ENCODED,
    LARGEST_FOLDED,
    LEAST_BYTES,
    MOST_MADE_FOLDED,
    MOST_TASKS_FOLDED,
    HotExecutions,
)
from rillflow.runtime.activation.replay import replay
from tests.submissions import submission_event

PLAN = Plan(
    parse_definition(
        """
workspace: memory
dagName: waits
type: flow
tasks:
  - { name: do, category: function, pattern: task_async, resourceName: "http://127.0.0.1:1/x" }
"""
    ),
    "definition",
)
PLENTY = 1 << 40


def _hosted(name: str, encoded_bytes: int = 0) -> ActiveExecution:
    event = _submitted(_id(name), {})
    state, _ = machine.submit(PLAN, event)
    state.made_bytes = 0
    execution = ActiveExecution(PLAN, state)
    execution.go_on_from((1, encoded_bytes, 7, 8))
    return execution


def _id(name: str) -> str:
    return name if ":" in name else f"memory:{name}"


def _submitted(name: str, data: JsonObject) -> ExecutionSubmitted:
    return submission_event(name, PLAN.definition_id, data=encode_json(data))


def _filled(hot: HotExecutions, **sizes: int) -> dict[str, ActiveExecution]:
    hosted = {name: _hosted(name, size) for name, size in sizes.items()}
    for name, each in hosted.items():
        hot.put(_id(name), each)
    return hosted


def _names(hot: HotExecutions, *names: str) -> list[str]:
    return [name for name in names if hot.get(_id(name)) is not None]


def test_one_that_stays_gives_way_when_it_is_let_go() -> None:
    size = 1_000
    hot = HotExecutions(100, 2 * (LEAST_BYTES + BYTES_PER_ENCODED * size) + PLAN.size_bytes)
    _filled(hot, a=size)
    hot.stay(_id("a"))
    _filled(hot, b=size, c=size)
    assert _names(hot, "a", "b", "c") == ["a", "c"], "the one before it has left instead"
    hot.let_go(_id("a"))
    _filled(hot, d=size)
    assert _names(hot, "a", "c", "d") == ["c", "d"]


def test_others_give_way_to_what_is_about_to_be_read() -> None:
    size = 1_000
    part = LEAST_BYTES + BYTES_PER_ENCODED * size
    hot = HotExecutions(100, 3 * part + PLAN.size_bytes)
    _filled(hot, a=size, b=size, c=size)
    with hot.reserved("memory", 2 * part):
        assert _names(hot, "a", "b", "c") == ["c"]
    _filled(hot, d=size, e=size)
    assert _names(hot, "c", "d", "e") == ["c", "d", "e"], "nothing is reserved any more"
    alone = HotExecutions(1, 1)
    with alone.reserved("memory", part):
        _filled(alone, f=0)
        assert len(alone) == 1
    assert alone.evict(_id("f"))


def test_it_is_told_of_one_that_is_too_large_for_others_to_give_way() -> None:
    told: list[ActiveExecution] = []
    hot = HotExecutions(100, 3 * LEAST_BYTES + PLAN.size_bytes)
    hot.still_too_much = told.append
    small = _filled(hot, a=0)
    large = _filled(hot, b=1_000)
    assert (list(small), told, hot.is_over) == (["a"], [large["b"]], True)
    assert _names(hot, "a", "b") == ["b"]


def test_the_least_recently_used_leave_when_there_are_too_many() -> None:
    hot = HotExecutions(2, PLENTY)
    _filled(hot, a=0, b=0)
    hot.get(_id("a"))
    _filled(hot, c=0)
    assert _names(hot, "a", "b", "c") == ["a", "c"]


def test_the_least_recently_used_leave_when_they_take_too_much() -> None:
    hot = HotExecutions(100, 3 * LEAST_BYTES + BYTES_PER_ENCODED * 1_000)
    _filled(hot, a=400, b=300, c=300)
    assert len(hot) == 3
    hot.get(_id("a"))
    _filled(hot, d=0)
    assert _names(hot, "a", "b", "c", "d") == ["a", "c", "d"]


async def test_one_that_grows_makes_others_leave_but_not_those_in_use() -> None:
    hot = HotExecutions(100, 4 * LEAST_BYTES + BYTES_PER_ENCODED * 1_000)
    hosted = _filled(hot, a=200, b=200, c=200, d=200)
    hosted["a"].begin_lease()
    hosted["b"].begin_append(Future())
    hosted["d"].note_event(b"." * 400, Handled([]))
    hot.weigh(hosted["d"])
    assert _names(hot, "a", "b", "c", "d") == ["a", "b", "d"]


def test_too_many_leave_once_they_are_not_in_use_any_more() -> None:
    hot = HotExecutions(1, PLENTY)
    used = _filled(hot, a=0)["a"]
    used.begin_lease()
    last = _filled(hot, b=0)["b"]
    assert _names(hot, "a", "b") == ["a", "b"]
    used.end_lease()
    hot.grown(last)
    assert _names(hot, "a", "b") == ["b"]


def test_what_has_left_takes_nothing() -> None:
    hot = HotExecutions(100, 2 * LEAST_BYTES)
    for _ in range(10):
        _filled(hot, a=0, b=0)
        hot.drop(_id("a"))
        hot.drop(_id("a"))
        _filled(hot, c=0)
        assert _names(hot, "a", "b", "c") == ["b", "c"]
        hot.drop(_id("b"))
        hot.drop(_id("c"))


def test_a_plan_counts_once_while_any_execution_here_has_it() -> None:
    hot = HotExecutions(100, 5 * LEAST_BYTES)
    large = Plan(PLAN.original, "large", size_bytes=3 * LEAST_BYTES)
    for name in ("a", "b"):
        state, _ = machine.submit(large, _submitted(_id(name), {}))
        state.made_bytes = 0
        hot.put(_id(name), ActiveExecution(large, state))
    assert _names(hot, "a", "b") == ["a", "b"]
    _filled(hot, c=0)
    assert _names(hot, "a", "b", "c") == ["b", "c"]
    hot.drop(_id("b"))
    _filled(hot, d=0, e=0, f=0, g=0)
    assert _names(hot, "c", "d", "e", "f", "g") == ["c", "d", "e", "f", "g"]


def test_one_that_is_larger_than_the_limit_stays_while_nobody_needs_its_place() -> None:
    hot = HotExecutions(100, LEAST_BYTES)
    _filled(hot, a=10_000)
    assert _names(hot, "a") == ["a"]
    _filled(hot, b=0)
    assert _names(hot, "a", "b") == ["b"]


def test_one_that_was_folded_up_is_as_it_was() -> None:
    hot = HotExecutions(2, PLENTY)
    hosted = _filled(hot, a=400)["a"]
    hosted.note_rest(rests=True)
    hosted.state.context["ratio"] = math.inf
    _filled(hot, b=0)
    found = hot.get(_id("a"))
    assert found is not None
    assert found is not hosted
    assert codec.encode_state(found.state) == codec.encode_state(hosted.state)
    assert (found.stage, hosted.stage) == (Stage.ACTIVE, Stage.GONE)
    for name in {*ActiveExecution.__slots__} - {"stage"}:
        assert getattr(found, name) == getattr(hosted, name), name


def test_the_most_recently_used_are_not_folded_up() -> None:
    hot = HotExecutions(4, PLENTY)
    hosted = _filled(hot, a=0, b=0)
    hot.get(_id("a"))
    hosted |= _filled(hot, c=0)
    assert hot.get(_id("c")) is hosted["c"]
    assert hot.get(_id("a")) is hosted["a"]
    assert hot.get(_id("b")) is not hosted["b"]


async def test_what_somebody_uses_and_what_is_large_is_not_folded_up() -> None:
    hot = HotExecutions(10, PLENTY)
    hosted = _filled(hot, a=0, a2=0, b=0, c=LARGEST_FOLDED + 1, d=0)
    hosted["b"].begin_lease()
    hosted["d"].begin_append(Future())
    state = hosted["a2"].state
    task = next(iter(state.tasks.values()))
    state.tasks.update({f"do_{number}": task for number in range(MOST_TASKS_FOLDED)})
    _filled(hot, e=0, f=0, g=0, h=0, i=0)
    is_same = {name: hot.get(_id(name)) is each for name, each in hosted.items()}
    assert is_same == {"a": False, "a2": True, "b": True, "c": True, "d": True}


def test_what_would_be_written_many_times_or_cannot_be_is_not_folded_up() -> None:
    hot = HotExecutions(10, PLENTY)
    hosted = _filled(hot, a=0, shared=0, number=0)
    hosted["shared"].state.made_bytes = MOST_MADE_FOLDED + 1
    hosted["number"].state.context["number"] = 1 << 64
    hosted["a"].state.context["number"] = (1 << 64) - 1
    _filled(hot, d=0, e=0, f=0, g=0, h=0)
    is_same = {name: hot.get(_id(name)) is each for name, each in hosted.items()}
    assert is_same == {"a": False, "shared": True, "number": True}
    found = hot.get(_id("a"))
    assert found is not None
    assert found.state == hosted["a"].state


def test_those_folded_up_leave_first_and_are_told_of_whole() -> None:
    left: list[str] = []
    hot = HotExecutions(3, PLENTY, lambda hosted: left.append(hosted.state.execution_id))
    _filled(hot, a=0, b=0, c=0, d=0, e=0)
    assert left == [_id("a"), _id("b")]
    assert len(hot) == 3
    assert _names(hot, "a", "b", "c", "d", "e") == ["c", "d", "e"]


def test_where_none_are_folded_up_the_least_recently_used_leave_as_they_are() -> None:
    left: list[ActiveExecution] = []
    hot = HotExecutions(3, PLENTY, left.append, folds=False)
    hosted = _filled(hot, a=0, b=0, c=0)
    assert all(hot.peek(_id(name)) is each for name, each in hosted.items())
    hot.get(_id("a"))
    _filled(hot, d=0)
    assert left == [hosted["b"]]
    assert hosted["b"].stage is Stage.GONE
    assert _names(hot, "a", "b", "c", "d") == ["a", "c", "d"]


def test_the_size_of_one_is_known_again_when_it_is_read() -> None:
    event = _submitted("a", {"x": "y" * 5_000})
    record = codec.encode_event(event)
    state, _ = machine.submit(PLAN, event)
    snapshot = codec.encode_state(state)
    assert replay(PLAN, _stored(records=(record,))).encoded_bytes == len(record)
    stored = _stored(snapshot=snapshot, snapshot_seq=1)
    assert replay(PLAN, stored).encoded_bytes == len(snapshot)


def _stored(**facts: Any) -> StoredExecution:
    row: dict[str, Any] = {
        "execution_id": "a",
        "business": "memory",
        "feature": "waits",
        "listing_partition": 0,
        "definition_id": PLAN.definition_id,
        "submitted_at_ms": 1,
        "dedicated": False,
        "parent_id": None,
        "status": "RUNNING",
        "snapshot": None,
        "snapshot_seq": 0,
        "records": (),
    }
    return StoredExecution(**row | facts)


def test_a_look_in_passing_unfolds_nothing_and_is_no_use() -> None:
    hot = HotExecutions(4, PLENTY)
    for name in "abc":
        hot.put(_id(name), _hosted(name))
    assert hot.peek(_id("a")) is None
    assert hot.peek(_id("nobody")) is None
    at_hand = [name for name in "abc" if hot.peek(_id(name))]
    assert at_hand
    assert all(hot.peek(_id(name)) is hot.peek(_id(name)) for name in at_hand)
    assert [name for name in "abc" if hot.peek(_id(name))] == at_hand
    assert _id("a") in hot
    assert hot.get(_id("a")) is hot.peek(_id("a"))


def test_many_small_values_count_as_what_they_take_in_memory() -> None:
    lists: JsonObject = {"x": [[] for _ in range(20_000)]}
    event = _submitted("a", lists)
    state, handled = machine.submit(PLAN, event)
    execution = ActiveExecution(PLAN, state)
    record = codec.encode_event(event)
    execution.note_event(record, handled)
    assert execution.encoded_bytes > 2.5 * len(record)
    stored = StoredExecution(
        execution_id="a",
        business="memory",
        feature="waits",
        listing_partition=0,
        definition_id=PLAN.definition_id,
        submitted_at_ms=0,
        dedicated=False,
        parent_id=None,
        status="running",
        snapshot=codec.encode_state(state),
        snapshot_seq=1,
        records=(),
    )
    read = replay(PLAN, stored)
    assert read.encoded_bytes > 2.5 * len(record)
    assert read.snapshot_bytes == len(codec.encode_state(state))


def _made(rules: Sequence[str]) -> tuple[ActiveExecution, int]:
    """An execution after a task without effects but these rules, and the memory that it takes."""
    listed = "".join(f"      - {rule}\n" for rule in rules)
    text = (
        "workspace: memory\ndagName: made\ntype: flow\ntasks:\n"
        "  - name: make\n    category: function\n    resourceName: http://127.0.0.1:1/x\n"
        f"    pattern: task_sync\n    outputMappings:\n{listed}    next: wait\n"
        "  - {name: wait, category: suspense, conditions: ['$.input[?(@.never == 1)]']}\n"
    )
    plan = Plan(parse_definition(text), "made")
    submitted = _submitted("a", {})
    state, handled = machine.submit(plan, submitted)
    execution = ActiveExecution(plan, state)
    execution.note_event(codec.encode_event(submitted), handled)
    body = b'{"l":{"k":null,"t":"0123456789abcdef"}}'
    event = DispatchAnswered(at_ms=2, task="make", attempt=1, body=body, http_status=200)
    tracemalloc.start()
    handled = machine.handle(plan, state, event)
    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    execution.note_event(codec.encode_event(event), handled)
    return execution, taken_bytes


MAPS: Final = [
    '{source: "$.output.l", target: "$.context.x0"}',
    *(
        f'{{source: "$.context.x{level}", target: "$.context.x{level + 1}.{key}"}}'
        for level in range(14)
        for key in "ab"
    ),
    *(f'{{source: "z", target: "$.context.x{level}"}}' for level in range(14)),
]
TEXTS: Final = [
    '{source: "$.output.l.t", target: "$.context.t"}',
    *15 * ['{source: "$.context.t", transform: "return source + source;", target: "$.context.t"}'],
]


def test_maps_that_occur_often_are_in_memory_once_also_without_their_nulls() -> None:
    execution, taken_bytes = _made(MAPS)
    assert taken_bytes < 100_000 < len(codec.encode_state(execution.state))


def test_what_a_short_event_has_made_counts() -> None:
    execution, taken_bytes = _made(TEXTS)
    assert taken_bytes > 400_000 > 100 * execution.encoded_bytes
    hot = HotExecutions(100, PLENTY)
    hot.put(_id("a"), execution)
    assert execution.counted_bytes > taken_bytes // 4
    small = HotExecutions(100, taken_bytes // 4)
    hot.drop(_id("a"))
    small.put(_id("a"), execution)
    _filled(small, b=0)
    assert _names(small, "a", "b") == ["b"]


def _with_plan(name: str, definition_id: str, plan_bytes: int) -> ActiveExecution:
    plan = Plan(PLAN.original, definition_id, size_bytes=plan_bytes)
    state, _ = machine.submit(plan, _submitted(name, {}))
    state.made_bytes = 0
    return ActiveExecution(plan, state)


def test_executions_of_large_definitions_of_a_workspace_evict_none_of_others() -> None:
    hot = HotExecutions(1_000, 40 * LEAST_BYTES)
    quiet = [f"quiet{number}:a" for number in range(3)] + [f"quiet0:{name}" for name in "bcdefg"]
    _filled(hot, **dict.fromkeys(quiet, 0))
    for number in range(50):
        name = f"large:{number}"
        hot.put(name, _with_plan(name, f"large {number}", 8 * LEAST_BYTES))
    assert _names(hot, *quiet) == quiet
    assert [number for number in range(50) if f"large:{number}" in hot] == [47, 48, 49]


def test_many_executions_of_a_workspace_evict_none_of_others_that_have_fewer() -> None:
    hot = HotExecutions(30, PLENTY)
    _filled(hot, **{f"few:{number}": 0 for number in range(9)})
    _filled(hot, **{f"some:{number}": 0 for number in range(10)})
    _filled(hot, **{f"many:{number}": 0 for number in range(100)})
    assert len(hot) == 30
    assert all(f"few:{number}" in hot for number in range(9))
    assert all(f"some:{number}" in hot for number in range(10))
    assert [number for number in range(100) if f"many:{number}" in hot] == [*range(89, 100)]


def test_who_takes_more_than_its_part_gives_it_back_to_who_comes_later() -> None:
    hot = HotExecutions(20, PLENTY)
    _filled(hot, **{f"first:{number}": 0 for number in range(20)})
    _filled(hot, **{f"second:{number}": 0 for number in range(20)})
    assert [number for number in range(20) if f"first:{number}" in hot] == [*range(10, 20)]
    assert [number for number in range(20) if f"second:{number}" in hot] == [*range(10, 20)]


def test_one_that_is_used_and_too_large_takes_nothing_of_the_part_of_others() -> None:
    hot = HotExecutions(100, 10 * LEAST_BYTES)
    _filled(hot, **{f"quiet:{number}": 0 for number in range(5)})
    _filled(hot, **{f"other:{number}": 0 for number in range(5)})
    large = _filled(hot, **{"large:a": 10_000})["large:a"]
    large.begin_lease()
    hot.weigh(large)
    assert sum(f"quiet:{number}" in hot for number in range(5)) == 3
    assert sum(f"other:{number}" in hot for number in range(5)) == 3
    assert "large:a" in hot


def test_where_those_of_the_largest_are_in_use_the_next_gives_way() -> None:
    hot = HotExecutions(100, 10 * LEAST_BYTES)
    used = _filled(hot, **{f"used:{number}": 0 for number in range(7)})
    for each in used.values():
        each.begin_lease()
    _filled(hot, **{f"next:{number}": 0 for number in range(10)})
    assert all(f"used:{number}" in hot for number in range(7))
    assert [number for number in range(10) if f"next:{number}" in hot] == [*range(5, 10)]


def test_who_takes_most_is_not_looked_for_among_all_workspaces_each_time() -> None:
    hot = HotExecutions(2_000, PLENTY)
    _filled(hot, **{f"w{number}:a": 0 for number in range(1_000)})
    _filled(hot, **{f"many:{number}": 0 for number in range(1_000)})
    looks = 0

    def look(frame: Any, event: str, _: object) -> None:
        nonlocal looks
        looks += event == "call" and frame.f_code is WorkspaceMemory.part_of.__code__

    more = {f"many:{number}": _hosted(f"many:{number}") for number in range(1_000, 1_500)}
    sys.setprofile(look)
    try:
        for name, each in more.items():
            hot.put(name, each)
    finally:
        sys.setprofile(None)
    assert len(hot) == 2_000
    assert 1_000 < looks < 30 * 500
    assert sum(f"w{number}:a" in hot for number in range(1_000)) == 1_000
