"""A redo of what failed runs that, and what follows it; what succeeded is kept."""

from typing import Final

import pytest

from rillflow.core.commands import CancelChild, RedoChild, SetTimer
from rillflow.core.events import NoticeDelivered, RedoRequested
from rillflow.errors import RequestError
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import (
    Json,
    at_most,
    choice,
    each,
    fn,
    on_input,
    pass_,
    scenario,
    susp,
    within,
)

COLLECTED: Final = [{"source": "$.output.sub_context[*].x", "target": "$.context.all"}]


def loop(*, over: int = 3, **rest: Json) -> Scenario:
    """A foreach of two tasks in each iteration, and a task behind it."""
    run = scenario(
        each(
            "each", "list", fn("one", ins="item", outs="x", to="two"), fn("two", ins="x"),
            ins="list", outs=COLLECTED, to="last", **rest,
        ),
        fn("last"),
    )  # fmt: skip
    run.submit({"list": list(range(over))})
    return run


def after_failures(*failed: int, over: int = 3) -> Scenario:
    run = loop(over=over)
    for index in range(over):
        if index in failed:
            run.finish(f"each_{index}-one", succeeded=False, msg=f"no {index}", code="7")
        else:
            run.finish(f"each_{index}-one", {"x": index})
            run.finish(f"each_{index}-two")
    assert run.status == "FAILED"
    return run


# -- foreach -------------------------------------------------------------------------------


def test_of_a_foreach_only_the_iterations_that_failed_run_again() -> None:
    run = after_failures(1)
    assert run.redo(failed_only=True) == [dispatch("each_1-one", item=1)]
    assert run.groups("each") == ["SUCCEED", "RUNNING", "SUCCEED"]
    assert run.statuses["each"] == run.status == "RUNNING"
    assert run.task("each").invoke.msg is None

    assert run.finish("each_1-one", {"x": 10}) == [dispatch("each_1-two", x=10)]
    assert run.finish("each_1-two") == [dispatch("last")]
    assert run.context["all"] == [0, 10, 2]
    run.finish("last")
    assert run.status == "SUCCEED"


def test_what_succeeded_in_an_iteration_that_failed_is_kept() -> None:
    run = loop(over=1)
    run.finish("each_0-one", {"x": 1})
    run.finish("each_0-two", succeeded=False)
    assert run.redo(failed_only=True) == [dispatch("each_0-two", x=1)]
    assert run.statuses["each_0-one"] == "SUCCEED"


def test_iterations_that_fail_again_fail_the_foreach_again() -> None:
    run = after_failures(0, 2)
    run.redo(failed_only=True)
    run.finish("each_0-one", {"x": 5})
    run.finish("each_0-two")
    run.finish("each_2-one", succeeded=False, msg="again")
    assert run.status == "FAILED"
    assert run.task("each").invoke.msg == run.state.invoke.msg == "again"
    assert run.redo(failed_only=True) == [dispatch("each_2-one", item=2)]


def test_no_more_iterations_run_again_at_once_than_may_run_at_once() -> None:
    run = loop(over=5, synchronization=at_most(2))
    for index in range(5):
        run.finish(f"each_{index}-one", succeeded=False)
    assert run.redo(failed_only=True) == [
        dispatch("each_0-one", item=0),
        dispatch("each_1-one", item=1),
    ]
    run.finish("each_1-one", {"x": 1})
    assert run.finish("each_1-two") == [dispatch("each_2-one", item=2)]
    assert run.groups("each") == ["RUNNING", "SUCCEED", "RUNNING", "READY", "READY"]


def test_iterations_that_failed_run_again_beside_those_that_run() -> None:
    run = loop(over=4, synchronization=at_most(2))
    run.finish("each_0-one", succeeded=False)
    assert run.groups("each") == ["FAILED", "RUNNING", "RUNNING", "READY"]
    assert run.redo(failed_only=True) == []
    assert run.groups("each") == ["READY", "RUNNING", "RUNNING", "READY"]
    run.finish("each_1-one", {"x": 1})
    assert run.finish("each_1-two") == [dispatch("each_0-one", item=0)]


def test_a_named_instance_runs_again_alone_with_what_follows_it() -> None:
    run = after_failures(0, 1)
    assert run.redo("each_1-one", failed_only=True) == [dispatch("each_1-one", item=1)]
    assert run.groups("each") == ["FAILED", "RUNNING", "SUCCEED"]
    run.finish("each_1-one", {"x": 10})
    run.finish("each_1-two")
    assert run.status == "FAILED"  # since the first iteration did


def test_a_named_instance_that_succeeded_runs_again_and_so_does_what_follows_its_foreach() -> None:
    run = loop(over=2)
    for index in range(2):
        run.finish(f"each_{index}-one", {"x": index})
        run.finish(f"each_{index}-two")
    run.finish("last")
    assert run.status == "SUCCEED"
    assert run.redo("each_1-one", failed_only=True) == [dispatch("each_1-one", item=1)]
    assert run.statuses["last"] == "NOT_STARTED"
    run.finish("each_1-one", {"x": 9})
    assert run.finish("each_1-two") == [dispatch("last")]
    assert run.context["all"] == [0, 9]


def test_a_named_foreach_runs_what_failed_in_it_or_else_as_a_whole() -> None:
    run = after_failures(1)
    assert run.redo("each", failed_only=True) == [dispatch("each_1-one", item=1)]
    run.finish("each_1-one", {"x": 10})
    run.finish("each_1-two")
    assert len(run.redo("each", failed_only=True)) == 3


def test_a_foreach_that_failed_before_its_first_iteration_runs_as_a_whole() -> None:
    run = scenario(each("each", "list", fn("one"), ins="list"))
    run.submit({"list": "none"})
    assert run.status == "FAILED"
    assert run.redo(data={"list": [1]}, failed_only=True) == [dispatch("each_0-one")]


def test_a_foreach_whose_own_mapping_failed_ends_anew_without_running_an_iteration() -> None:
    broken = [{"transform": "long(context.by) + 1", "target": "$.context.sum", "tolerance": False}]
    run = scenario(each("each", "list", fn("one"), ins="list", outs=broken))
    run.submit({"list": [1], "by": "x"})
    run.finish("each_0-one")
    assert run.statuses == {"each": "FAILED", "each_0-one": "SUCCEED"}
    assert run.redo(data={"by": "4"}, failed_only=True) == []
    assert (run.status, run.context["sum"]) == ("SUCCEED", 5)


def test_a_foreach_that_ran_out_of_time_goes_on_with_what_is_left_of_it() -> None:
    run = loop(over=3, synchronization=at_most(1), timeline=within(9))
    run.finish("each_0-one", {"x": 0})
    run.finish("each_0-two")
    run.timeout("each")
    assert run.status == "FAILED"
    run.advance(1)
    wanted = run.redo(failed_only=True)
    assert SetTimer(kind="timeout", task="each", due_ms=19_000) in wanted
    assert dispatch("each_1-one", item=1) in wanted
    assert run.groups("each") == ["SUCCEED", "RUNNING", "READY"]


def test_a_foreach_out_of_time_goes_on_while_the_execution_runs() -> None:
    inner = each("each", "list", fn("one", "sync", to="two"), fn("two"), ins="list")
    run = scenario({**inner, "timeline": within(9)}, fn("other"))
    run.submit({"list": [1]})
    run.timeout("each")
    run.answer("each_0-one", {})
    assert run.statuses["each_0-two"] == "NOT_STARTED"
    assert dispatch("each_0-two") in run.redo(failed_only=True)
    run.finish("each_0-two")
    assert run.statuses["each"] == "SUCCEED"


def test_groups_in_groups_are_opened_from_the_innermost_failure_up() -> None:
    run = scenario(
        each("outer", "list", each("inner", "item", fn("one", ins="item"), ins="item"), ins="list")
    )
    run.submit({"list": [[1, 2], [3]]})
    run.finish("outer_0-inner_0-one")
    run.finish("outer_0-inner_1-one", succeeded=False)
    run.finish("outer_1-inner_0-one")
    assert run.status == "FAILED"
    assert run.redo(failed_only=True) == [dispatch("outer_0-inner_1-one", item=2)]
    run.finish("outer_0-inner_1-one")
    assert run.status == "SUCCEED"


def test_of_a_choice_only_the_branch_that_failed_runs_again() -> None:
    run = scenario(
        choice("pick", ("$.input.a", [fn("one")]), ("$.input.b", [fn("two")]), ins="a,b")
    )
    run.submit({"a": 1, "b": 1})
    run.finish("pick_0-one")
    run.finish("pick_1-two", succeeded=False)
    assert run.redo(failed_only=True) == [dispatch("pick_1-two")]
    run.finish("pick_1-two")
    assert run.status == "SUCCEED"


def test_an_instance_in_a_branch_that_was_not_chosen_cannot_be_redone() -> None:
    run = scenario(choice("pick", ("$.input.a", [fn("one")]), ("$.input.b", [fn("two")]), ins="a"))
    run.submit({"a": 1})
    run.finish("pick_0-one")
    assert run.redo("pick_1-two", failed_only=True) == []
    assert run.status == "SUCCEED"


# -- the top level -------------------------------------------------------------------------


def test_what_runs_beside_a_failure_is_left_alone() -> None:
    run = scenario(fn("A"), fn("B"))
    run.submit()
    run.finish("A", succeeded=False)
    assert run.redo(failed_only=True) == [dispatch("A")]
    assert run.task("B").attempt == 1


def test_a_tolerated_failure_is_none() -> None:
    run = scenario(fn("A", tolerance=True))
    run.submit()
    run.finish("A", succeeded=False)
    assert run.redo(failed_only=True) == []
    assert run.status == "SUCCEED"
    assert run.redo("A", failed_only=True) == [dispatch("A")]


def test_names_that_say_nothing_change_only_the_context() -> None:
    run = scenario(fn("A", to="B"), fn("B"))
    run.submit()
    run.finish("A", succeeded=False)
    assert run.redo("B", "nobody", data={"y": 1}, failed_only=True) == []
    assert (run.status, run.context) == ("FAILED", {"y": 1})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("foo", "there is no task foo; there are each, last"),
        (
            "each_1-nope",
            "there is no task each_1-nope; the group each_1 has each_1-one, each_1-two",
        ),
        ("each_1", "there is no task each_1; each_1 is a group, with each_1-one, each_1-two"),
        ("each_9-one", "each has the groups 0 to 2; the first has each_0-one, each_0-two"),
        ("last_0-one", "there is no task last_0-one; last has no groups"),
        ("each_1-two", "the task each_1-two has not started, so it cannot be done again"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_what_there_is(name: str, said: str) -> None:
    run = after_failures(1)
    before = run.state.seq
    names = ("each_1-one", name)
    event = RedoRequested(at_ms=0, tasks=names, data=b'{"y":1}', failed_only=True, exact=True)
    with pytest.raises(RequestError) as refusal:
        run.take(event)
    assert str(refusal.value).endswith(said)
    assert refusal.value.wire_code == 30109
    assert (run.state.seq, "y" in run.context, run.status) == (before, False, "FAILED")


def test_of_a_branch_that_was_not_chosen_an_exact_name_is_refused() -> None:
    run = scenario(choice("pick", ("$.input.a", [fn("one")]), ("$.input.b", [fn("two")]), ins="a"))
    run.submit({"a": 1})
    with pytest.raises(RequestError, match="pick_1-two has not started"):
        run.take(RedoRequested(at_ms=0, tasks=("pick_1-two",), failed_only=True, exact=True))


def test_a_redo_as_a_whole_passes_unknown_names_over_as_rill_flow_does() -> None:
    run = after_failures(1)
    assert run.take(RedoRequested(at_ms=0, tasks=("foo",), failed_only=False, exact=True)) == []


def test_what_waited_for_a_callback_at_the_end_is_called_again() -> None:
    run = scenario(fn("A"), fn("B"), timeline=within(9))
    run.submit()
    run.answer("A")
    run.timeout()
    wanted = run.redo(failed_only=True)
    assert wanted[1:] == [dispatch("B"), dispatch("A")]
    assert (run.task("A").attempt, run.task("B").attempt) == (2, 1)


def test_a_wait_that_the_end_broke_off_looks_at_its_conditions_again() -> None:
    run = scenario(susp("A", on_input("go == true"), ins="go"))
    run.submit()
    run.cancel()
    run.redo(data={"go": True}, failed_only=True)
    assert run.status == "SUCCEED"


def test_a_cancelled_execution_goes_on_with_what_is_left() -> None:
    run = scenario(fn("A", "sync", to="B"), fn("B"))
    run.submit()
    run.cancel()
    run.answer("A", {})
    assert run.redo(failed_only=True) == [dispatch("B")]
    assert run.redo("B", failed_only=True) == [dispatch("B")]


def test_a_failed_task_has_a_fresh_budget_of_retries() -> None:
    run = scenario(fn("A", retry={"maxRetryTimes": 1}))
    run.submit()
    for _ in range(2):
        run.finish("A", succeeded=False)
    run.redo(failed_only=True)
    assert run.finish("A", succeeded=False) == [dispatch("A")]


# -- sub-flows, seen by the parent ---------------------------------------------------------


def parent() -> Scenario:
    run = scenario(fn("A", "flow_sync", outs="x", to="B"), fn("B", ins="x"))
    run.submit()
    run.answer("A", {"execution_id": "child"})
    return run


def failed_parent() -> Scenario:
    run = parent()
    run.finish("A", {"x": 0}, succeeded=False, msg="no")
    assert run.status == "FAILED"
    return run


def order(number: int = 1) -> RedoChild:
    return RedoChild(execution_id="child", task="A", order=number)


def ordered(run: Scenario, number: int = 1, error: str | None = None) -> list[Json]:
    return run.take(
        NoticeDelivered(
            at_ms=run.now_ms, kind="redo", error=error, attempt=number, child="child", task="A"
        )
    )


def test_a_failed_sub_flow_is_redone_and_not_started_anew() -> None:
    run = failed_parent()
    assert run.redo(failed_only=True) == [order()]
    assert run.statuses == {"A": "RUNNING", "B": "NOT_STARTED"}
    assert run.task("A").attempt == 1
    assert run.finish("A", {"x": 5}, early=True, attempt=1) == [dispatch("B", x=5)]


def test_an_order_to_a_sub_flow_is_outstanding_until_it_is_delivered() -> None:
    run = failed_parent()
    run.redo(failed_only=True)
    assert run.wanted == [order()]
    assert ordered(run) == []
    assert run.wanted == []
    ordered(run)
    assert not run.changed


def test_a_sub_flow_that_is_gone_is_started_anew() -> None:
    run = failed_parent()
    run.redo(failed_only=True)
    assert ordered(run, error="not found") == [dispatch("A")]
    assert run.task("A").attempt == 2


def test_a_sub_flow_that_never_started_is_started() -> None:
    run = scenario(fn("A", "flow_sync"))
    run.submit()
    run.answer("A", error="exceed max depth")
    assert run.redo(failed_only=True) == [dispatch("A")]


def test_a_sub_flow_left_running_by_its_parents_end_is_asked_for_its_outcome() -> None:
    run = scenario(fn("A", "flow_sync"), timeline=within(9))
    run.submit()
    run.answer("A", {"execution_id": "child"})
    run.timeout()
    assert order() in run.redo(failed_only=True)
    assert len(run.task("A").invoke.time_infos) == 1


def test_a_sub_flow_is_redone_after_it_was_told_to_cancel() -> None:
    run = parent()
    assert run.cancel() == [CancelChild(execution_id="child")]
    assert run.redo(failed_only=True) == []
    cancelled = NoticeDelivered(at_ms=0, kind="cancel", child="child")
    assert run.take(cancelled) == [order()]


def test_a_sub_flow_redone_for_a_parent_that_was_cancelled_is_cancelled() -> None:
    run = failed_parent()
    run.redo(failed_only=True)
    assert run.cancel() == [CancelChild(execution_id="child")]
    assert ordered(run) == [CancelChild(execution_id="child")]
    assert run.wanted == [CancelChild(execution_id="child")] * 2


def test_the_cancellation_of_a_redone_sub_flow_is_owed_until_it_is_delivered() -> None:
    run = failed_parent()
    run.redo(failed_only=True)
    run.cancel()
    cancelled = NoticeDelivered(at_ms=0, kind="cancel", child="child", error="child has ended")
    run.take(cancelled)
    ordered(run)
    assert run.wanted == [CancelChild(execution_id="child")]
    run.take(cancelled)
    assert run.wanted == []


def test_a_cancellation_delivered_late_does_not_stand_for_the_one_after_the_redo() -> None:
    run = failed_parent()
    run.redo(failed_only=True)
    run.cancel()
    ordered(run)
    run.take(NoticeDelivered(at_ms=0, kind="cancel", child="child", error="child has ended"))
    assert run.wanted == [CancelChild(execution_id="child")]


def test_each_order_has_a_number_of_its_own() -> None:
    run = failed_parent()
    run.redo(failed_only=True)
    run.finish("A", succeeded=False, early=True)
    assert run.redo(failed_only=True) == [order(2)]
    ordered(run, 1)
    assert not run.changed


def test_a_sub_flow_in_an_iteration_is_redone_with_its_iteration() -> None:
    run = scenario(each("each", "list", fn("A", "flow_sync", outs="x"), ins="list", outs=COLLECTED))
    run.submit({"list": [1, 2]})
    for index in range(2):
        run.answer(f"each_{index}-A", {"execution_id": f"c{index}"})
        run.finish(f"each_{index}-A", {"x": index}, succeeded=index == 0)
    assert run.status == "FAILED"
    assert run.redo(failed_only=True) == [RedoChild(execution_id="c1", task="each_1-A", order=1)]
    run.finish("each_1-A", {"x": 7}, early=True)
    assert (run.status, run.context["all"]) == ("SUCCEED", [0, 7])


def test_a_whole_redo_starts_another_sub_flow() -> None:
    run = failed_parent()
    assert run.redo("A") == [dispatch("A")]
    assert run.task("A").attempt == 2


def test_a_named_sub_flow_that_succeeded_is_started_anew() -> None:
    run = parent()
    run.finish("A", {"x": 1}, early=True)
    assert run.redo("A", failed_only=True) == [dispatch("A")]


# -- sub-flows, seen by the child ----------------------------------------------------------


def test_a_repeated_order_changes_nothing() -> None:
    run = scenario(fn("C"), fn("D"))
    run.submit()
    run.finish("C", succeeded=False)
    again = RedoRequested(at_ms=0, failed_only=True, order=1)
    assert run.take(again) == [dispatch("C")]
    run.finish("C", succeeded=False)
    assert run.take(again) == []
    assert not run.changed


@pytest.mark.parametrize("failed_only", [True, False])
def test_nothing_is_redone_in_an_execution_that_succeeded(failed_only: bool) -> None:  # noqa: FBT001
    run = scenario(pass_("A"))
    run.submit()
    assert run.redo(failed_only=failed_only) == []
    assert run.status == "SUCCEED"
