"""A flow task starts another execution; with flow_sync its end is the task's outcome."""

import gc

import pytest

from rillflow.core.commands import CancelChild, DispatchTask, NotifyParent
from rillflow.core.events import ExecutionSettings, ParentLink, RouteStep
from rillflow.ports.executions import Reply
from rillflow.runtime.commands.subflows import MOST_LEVELS, Inherited, start_flow
from rillflow.testing import Scenario, dispatch
from tests.loopback import ManualClock
from tests.spec.notation import (
    Definition,
    Json,
    each,
    flow,
    fn,
    on_output,
    pass_,
    scenario,
    within,
)

LINK = ParentLink(execution_id="bigFlow", task="A", attempt=1, pattern="flow_sync")
STEP = RouteStep(execution_id="bigFlow", task="A", pattern="flow_sync")


def child_of(link: ParentLink | None, *tasks: Definition, **rest: Json) -> Scenario:
    return Scenario(
        flow(*tasks, **rest), execution_id="smallFlow", parent=link, route=[STEP], check=True
    )


def notice(wanted: list[Json]) -> NotifyParent:
    [found] = [want for want in wanted if isinstance(want, NotifyParent)]
    return found


# -- the parent's side ---------------------------------------------------------------------


@pytest.mark.case("FL-01")
def test_an_async_sub_flow_is_done_once_its_child_exists() -> None:
    run = scenario(fn("A", "flow_async", outs="child<=execution_id"))
    run.submit()
    run.answer("A", {"execution_id": "x"})
    assert run.statuses == {"A": "SUCCEED"}
    assert run.context == {"child": "x"}
    assert run.task("A").invoke.referenced_execution_id == "x"


@pytest.mark.case("FL-02")
@pytest.mark.parametrize("kind", ["flow_sync", "flow_async"])
@pytest.mark.parametrize("body", [{}, None, "not json", []])
def test_a_sub_flow_without_a_child_fails(kind: str, body: Json) -> None:
    run = scenario(fn("A", kind))
    run.submit()
    run.answer("A", body)
    assert run.statuses == {"A": "FAILED"}


def test_a_sub_flow_without_a_child_is_retried() -> None:
    run = scenario(fn("A", "flow_sync", retry={"maxRetryTimes": 1}))
    run.submit()
    assert run.answer("A", {}) == [dispatch("A")]


def test_what_the_start_of_a_sub_flow_answered_decides_about_its_retry() -> None:
    retry = {"maxRetryTimes": 1, "conditions": [on_output("busy == 1")]}
    answers: list[tuple[Json, Json]] = [({"busy": 1}, [dispatch("A")]), ({"busy": 2}, [])]
    for body, again in answers:
        run = scenario(fn("A", "flow_sync", retry=retry))
        run.submit()
        assert run.answer("A", body) == again


@pytest.mark.case("FL-03")
def test_a_childs_failure_is_tolerated_by_its_parents_task() -> None:
    run = scenario(fn("A", "flow_sync", tolerance=True, outs="x"))
    run.submit()
    run.answer("A", {"execution_id": "x"})
    assert run.statuses == {"A": "RUNNING"}
    run.finish("A", {"x": 1}, succeeded=False)
    assert run.statuses == {"A": "SKIPPED"}
    assert run.context == {"x": 1}


def test_the_output_of_a_sub_flow_is_mapped_at_its_start_and_at_its_end() -> None:
    run = scenario(fn("A", "flow_sync", outs="child<=execution_id,x"))
    run.submit()
    run.answer("A", {"execution_id": "c"})
    assert run.context == {"child": "c"}
    run.finish("A", {"x": 1})
    assert run.context == {"child": "c", "x": 1}


def test_an_output_rule_that_may_not_fail_fails_the_flow_task() -> None:
    broken = [{"transform": "1 +", "target": "$.context.x", "tolerance": False}]
    run = scenario(fn("A", "flow_sync", outs=broken))
    run.submit()
    run.answer("A", {"execution_id": "c"})
    assert run.statuses == {"A": "FAILED"}
    assert (run.task("A").invoke.msg or "").startswith("line 1")


def test_a_child_that_ends_before_its_start_was_answered_is_not_lost() -> None:
    run = scenario(fn("A", "flow_sync", outs="x"))
    run.submit()
    run.finish("A", {"x": 1}, early=True, attempt=1)
    run.answer("A", {"execution_id": "c"})
    assert run.statuses == {"A": "SUCCEED"}
    assert run.context == {"x": 1}


def test_a_parents_time_out_does_not_stop_the_child() -> None:
    run = scenario(fn("A", "flow_sync", timeline=within(1)))
    run.submit()
    run.answer("A", {"execution_id": "c"})
    assert run.timeout("A") == []
    assert run.statuses == {"A": "FAILED"}


def test_cancelling_cancels_the_children_waited_for() -> None:
    run = scenario(
        fn("A", "flow_sync"), fn("B", "flow_async"), fn("C", "flow_sync"), fn("D", "flow_sync")
    )
    run.submit()
    run.answer("A", {"execution_id": "a"})
    run.answer("B", {"execution_id": "b"})
    run.answer("C", {"execution_id": "c"})
    run.finish("C")
    assert run.cancel() == [CancelChild(execution_id="a")]
    assert run.answer("D", {"execution_id": "d"}) == [CancelChild(execution_id="d")]


# -- the child's side ----------------------------------------------------------------------


@pytest.mark.case("IM-01", "FN-28")
def test_the_innermost_failures_details_reach_every_level() -> None:
    big = scenario(fn("A", "flow_sync"))
    big.submit()
    big.answer("A", {"execution_id": "smallFlow"})
    small = child_of(
        LINK,
        each("B", "segments", fn("C"), ins="segments", item="segmentUrl"),
        default_context={"segments": '["gopUrl"]'},
    )
    small.submit()
    wanted = small.finish("B_0-C", succeeded=False, code="code", msg="msg", ext={"ext": "info"})
    big.take(notice(wanted).callback)

    levels = [
        small.task("B_0-C").invoke,
        small.task("B").invoke,
        small.state.invoke,
        big.task("A").invoke,
        big.state.invoke,
    ]
    assert [(invoke.code, invoke.msg, invoke.ext) for invoke in levels] == [
        ("code", "msg", {"ext": "info"})
    ] * 5
    assert small.announced == ["TASK_FAILED B_0-C", "TASK_FAILED B", "DAG_FAILED"]
    assert big.announced == ["TASK_FAILED A", "DAG_FAILED"]
    assert big.task("A").invoke.output == {
        "flow_execution_id": "smallFlow",
        "flow_root_execution_id": "bigFlow",
        "segments": ["gopUrl"],
    }


def test_the_childs_whole_context_is_the_outcomes_output() -> None:
    small = child_of(LINK, fn("C", outs="x"))
    small.submit({"given": 1})
    told = notice(small.finish("C", {"x": 2}))
    assert told.execution_id == "bigFlow"
    assert (told.callback.task, told.callback.attempt, told.callback.succeeded) == ("A", 1, True)
    big = scenario(fn("A", "flow_sync", outs="given,x"))
    big.submit()
    big.answer("A", {"execution_id": "smallFlow"})
    big.take(told.callback)
    assert big.context == {"given": 1, "x": 2}


def test_a_notice_is_outstanding_until_it_is_delivered() -> None:
    small = child_of(LINK, pass_("C"))
    small.submit()
    assert small.state.parent_notice is not None
    small.deliver("parent")
    assert small.state.parent_notice is None
    small.deliver("parent")
    assert not small.changed


def test_the_outermost_execution_is_known_unless_the_input_names_one() -> None:
    assert context_given({})["flow_root_execution_id"] == "bigFlow"
    own = {"flow_root_execution_id": "mine"}
    assert context_given(own)["flow_root_execution_id"] == "mine"


def context_given(data: Json) -> Json:
    small = child_of(LINK, pass_("C"))
    small.submit(data)
    return small.context


@pytest.mark.parametrize(
    "link",
    [None, ParentLink(execution_id="bigFlow", task="A", attempt=1, pattern="flow_async")],
)
def test_a_parent_that_does_not_wait_is_not_told(link: ParentLink | None) -> None:
    small = child_of(link, pass_("C"))
    assert small.submit() == []


def test_calls_of_a_sub_flow_carry_the_chain_of_executions() -> None:
    small = child_of(LINK, fn("C"))
    small.submit()
    [command] = [c for c in small.commands if isinstance(c, DispatchTask)]
    assert command.route == (("bigFlow", "A", "flow_sync"),)


# -- key success ---------------------------------------------------------------------------


def key_flow() -> Scenario:
    return scenario(
        fn("A", "flow_sync", outs="x", to="B,C"),
        fn("B", key_callback=True, ins="x"),
        fn("C"),
    )


def test_a_childs_key_success_lets_only_tasks_with_key_callback_start() -> None:
    run = key_flow()
    run.submit()
    run.answer("A", {"execution_id": "c"})
    assert run.finish("A", {"x": 1}, key_succeeded=True) == [dispatch("B", x=1)]
    assert run.statuses == {"A": "KEY_SUCCEED", "B": "RUNNING", "C": "NOT_STARTED"}

    run.finish("B")
    assert run.status == "KEY_SUCCEED"
    assert run.announced == ["TASK_FINISH B", "DAG_KEY_SUCCEED"]
    run.finish("A", {"x": 1}, key_succeeded=True)
    assert run.announced == ["TASK_FINISH B", "DAG_KEY_SUCCEED"]

    assert run.finish("A", {"x": 2}) == [dispatch("C")]
    run.finish("C")
    assert run.status == "SUCCEED"
    assert run.context == {"x": 2}


def test_key_success_without_output_maps_nothing() -> None:
    run = key_flow()
    run.submit()
    run.answer("A", {"execution_id": "c"})
    run.finish("A", key_succeeded=True)
    assert run.context == {}


def test_an_early_key_success_gives_way_to_the_end() -> None:
    run = key_flow()
    run.submit()
    run.finish("A", {"x": 1}, key_succeeded=True, early=True)
    run.finish("A", {"x": 2}, early=True)
    run.finish("A", {"x": 3}, succeeded=False, early=True)
    assert not run.changed
    run.answer("A", {"execution_id": "c"})
    assert run.statuses["A"] == "SUCCEED"
    assert run.context == {"x": 2}


def test_a_key_success_is_passed_on_to_the_parent_and_so_is_the_end() -> None:
    small = child_of(LINK, fn("C", "flow_sync"))
    small.submit()
    small.answer("C", {"execution_id": "c"})
    first = notice(small.finish("C", key_succeeded=True)).callback
    assert (first.key_succeeded, first.succeeded) == (True, True)
    last = notice(small.finish("C")).callback
    assert (last.key_succeeded, last.succeeded) == (False, True)


def test_a_group_waits_for_the_end_of_what_reached_key_success() -> None:
    run = scenario(each("A", "list", fn("A1", "flow_sync"), ins="list"))
    run.submit({"list": [1]})
    run.answer("A_0-A1", {"execution_id": "c"})
    run.finish("A_0-A1", key_succeeded=True)
    assert run.groups("A") == ["RUNNING"]
    run.finish("A_0-A1")
    assert run.status == "SUCCEED"


# -- how deep ------------------------------------------------------------------------------


@pytest.mark.case("MD-02")
async def test_nesting_of_executions_has_a_limit_and_the_error_shows_the_route() -> None:
    above = tuple((f"level{n}", "A", "flow_sync") for n in range(1, MOST_LEVELS))
    request = DispatchTask(
        execution_id=f"level{MOST_LEVELS}",
        task="A",
        attempt=1,
        pattern="flow_sync",
        resource_name="rillflow://demo:next",
        route=above,
    )
    answer = await start_flow(
        request,
        catalogue=Nowhere(),
        executions=Nowhere(),
        clock=Nowhere(),
        host="http://here",
        inherited=Inherited(ExecutionSettings()),
    )
    assert answer.error is not None
    assert answer.error.endswith(
        "exceed max depth, dag route: level1#A->level2#A->level3#A->level4#A->level5#A"
    )


async def test_the_decoded_input_is_not_kept_while_a_sub_flow_waits_for_its_turn() -> None:
    """Hundreds may wait, and what is decoded takes twenty times as much memory as the text."""
    size = 12_345
    left: list[object] = []

    class Waiting:
        async def call(self, _call: object) -> Reply:
            left.extend(e for e in gc.get_objects() if isinstance(e, list) and len(e) == size)
            return Reply()

    class Found:
        async def rules(self, *_: object) -> dict[str, str]:
            return {}

        async def newest_version(self, *_: object) -> str:
            return "md5_1"

    request = DispatchTask(
        execution_id="demo:above_c_1",
        task="A",
        attempt=1,
        pattern="flow_sync",
        resource_name="rillflow://demo:next",
        input=b'{"uid":7,"big":[' + b"[]," * (size - 1) + b"[]]}",
    )
    answer = await start_flow(
        request,
        catalogue=Found(),  # type: ignore[arg-type]  # what it asks for is there
        executions=Waiting(),  # type: ignore[arg-type]  # as above
        clock=ManualClock(),
        host="http://here",
        inherited=Inherited(ExecutionSettings()),
    )
    assert answer.error is None
    assert not left


class Nowhere:
    """A catalogue, owner and clock that nobody may ask."""

    def __getattr__(self, name: str) -> Json:
        raise AssertionError(f"{name} was asked for")
