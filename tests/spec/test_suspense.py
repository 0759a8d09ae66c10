"""A suspense waits until its conditions hold, an interruption comes, or time runs out."""

import pytest

from rillflow.errors import ExecutionError
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import Json, each, fn, on_input, pass_, refused, scenario, susp, within

TEXT, URL = on_input('text == "aaa"'), on_input('url == "bbb"')


def two_conditions() -> Scenario:
    return scenario(
        susp("A", TEXT, URL, ins="url,text", outs="url,text", to="B"), fn("B", outs="url")
    )


def interruptible(**rest: Json) -> Scenario:
    """A wait for ``url`` that ``text`` interrupts."""
    return scenario(susp("A", URL, ins="url,text", outs="url,text", interruptions=[TEXT], **rest))


@pytest.mark.case("SU-01")
def test_it_wakes_with_two_pieces_of_data() -> None:
    run = two_conditions()
    run.submit({"url": "http://test"})
    assert run.wake("A", {"text": "aaa"}) == []
    assert run.statuses["A"] == "RUNNING"
    assert run.wake("A", {"url": "bbb"}) == [dispatch("B")]
    assert run.statuses["A"] == "SUCCEED"

    run.finish("B", {"url": "res"})
    assert run.status == "SUCCEED"
    assert run.context == {"url": "res", "text": "aaa"}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param({}, "RUNNING", id="SU-02"),
        pytest.param({"text": "tmp", "url": "bbb"}, "RUNNING", id="SU-03"),
        pytest.param({"text": "aaa", "url": "bbb"}, "SUCCEED", id="SU-04"),
    ],
)
def test_it_waits_while_a_condition_is_open(data: Json, status: str) -> None:
    run = two_conditions()
    run.submit(data)
    assert run.statuses["A"] == status


@pytest.mark.case("SU-06")
def test_an_interruption_that_holds_already_fails_it() -> None:
    run = interruptible()
    run.submit({"text": "aaa"})
    assert run.events["TASK_FAILED"] == 1
    assert run.task("A").invoke.msg == "interruption"


@pytest.mark.parametrize("data", [{"x": 1}, {"stop": 1}], ids=["conditions", "interruptions"])
def test_what_is_decided_from_the_start_waits_for_no_time_out(data: Json) -> None:
    stop = ["$.input.stop"]
    run = scenario(
        susp("A", "$.input.x", ins="x,stop", interruptions=stop, timeline=within(5)), fn("B")
    )
    assert run.submit(data) == [dispatch("B")]
    assert run.timers == []


@pytest.mark.case("SU-07")
def test_a_wake_up_that_meets_the_conditions_ends_the_wait() -> None:
    run = interruptible()
    run.submit()
    run.wake("A", {"url": "bbb"})
    assert run.announced == ["TASK_FINISH A", "DAG_SUCCEED"]


@pytest.mark.case("SU-08")
def test_a_wake_up_that_meets_an_interruption_fails_it() -> None:
    run = interruptible()
    run.submit()
    run.wake("A", {"text": "aaa"})
    assert run.announced == ["TASK_FAILED A", "DAG_FAILED"]


@pytest.mark.parametrize(
    ("tolerance", "skip", "status"),
    [
        pytest.param(True, "false", "FAILED", id="SU-10"),
        pytest.param(False, "true", "FAILED", id="SU-11"),
        pytest.param(True, "true", "SKIPPED", id="both"),
        pytest.param(True, "True", "SKIPPED", id="in any case"),
        pytest.param(True, None, "FAILED", id="not said"),
    ],
)
def test_a_time_out_fails_it_unless_tolerance_and_skipping_are_on(
    *, tolerance: bool, skip: str | None, status: str
) -> None:
    run = interruptible(tolerance=tolerance, timeline=within(1, skip_on_timeout=skip))
    run.submit()
    run.timeout("A")
    assert run.statuses == {"A": status}
    assert run.task("A").invoke.msg == "timeout"


@pytest.mark.case("SU-12")
def test_tolerance_and_skipping_do_not_soften_an_interruption() -> None:
    run = interruptible(tolerance=True, timeline=within(1, skip_on_timeout="true"))
    run.submit({"text": "aaa"})
    assert run.events["TASK_FAILED"] == 1
    assert run.timers == []


@pytest.mark.case("SU-13")
def test_a_wake_up_before_the_task_started_is_kept() -> None:
    run = scenario(fn("Z", to="A"), susp("A", URL, ins="url", outs="url"))
    run.submit()
    run.wake("A", {"url": "bbb"})
    assert run.context == {"url": "bbb"}
    assert run.statuses["A"] == "NOT_STARTED"

    run.finish("Z")
    assert run.statuses["A"] == "SUCCEED"


@pytest.mark.case("SU-14")
def test_a_finished_suspense_refuses_a_wake_up() -> None:
    run = two_conditions()
    run.submit({"text": "aaa", "url": "bbb"})
    with pytest.raises(ExecutionError) as error:
        run.wake("A")
    assert refused(error) == (30601, "repeated finish task A")


@pytest.mark.case("SU-15")
def test_only_a_suspense_can_be_woken() -> None:
    run = scenario(fn("A"))
    run.submit()
    with pytest.raises(ExecutionError) as error:
        run.wake("A")
    assert refused(error) == (30601, "task A category is not suspense type")


def test_a_wake_up_for_an_unknown_task_is_refused() -> None:
    run = two_conditions()
    run.submit()
    with pytest.raises(ExecutionError) as error:
        run.wake("Z")
    assert refused(error) == (30503, "storage can not get taskInfo:Z")


@pytest.mark.parametrize("task", ["A", "Z", "B"])
def test_after_the_end_every_wake_up_is_refused(task: str) -> None:
    run = two_conditions()
    run.submit()
    run.cancel()
    with pytest.raises(ExecutionError) as error:
        run.wake(task)
    assert refused(error)[1].endswith("is finished")


def test_an_empty_wake_up_checks_again() -> None:
    run = scenario(susp("A", URL, ins="url"), fn("B", outs="url"))
    run.submit()
    run.finish("B", {"url": "bbb"})
    assert run.statuses["A"] == "RUNNING"
    run.wake("A")
    assert run.statuses["A"] == "SUCCEED"


def test_without_output_mappings_the_data_are_dropped() -> None:
    run = scenario(susp("A", URL, ins="url"))
    run.submit()
    run.wake("A", {"url": "bbb"})
    assert run.context == {}
    assert run.statuses["A"] == "RUNNING"


def test_output_mappings_are_not_applied_without_a_wake_up() -> None:
    rules = [{"source": "mapped", "target": "$.context.x"}]
    run = scenario(susp("A", "$.input", outs=rules))
    run.submit()
    assert run.statuses == {"A": "SUCCEED"}
    assert run.context == {}


def test_a_wake_up_does_not_change_the_input_on_record() -> None:
    run = two_conditions()
    run.submit({"url": "old"})
    run.wake("A", {"url": "bbb", "text": "aaa"})
    assert run.task("A").invoke.input == {"url": "old"}


def test_conditions_come_before_interruptions() -> None:
    run = scenario(susp("A", "$.input", interruptions=["$.input"]))
    run.submit()
    assert run.statuses == {"A": "SUCCEED"}


def test_no_conditions_are_met_and_absent_ones_are_an_error() -> None:
    run = scenario(susp("A"), {"name": "B", "category": "suspense"})
    run.submit()
    assert run.statuses == {"A": "SUCCEED", "B": "FAILED"}
    assert run.task("B").invoke.msg == "conditions can not be null"


def test_a_wake_up_whose_conditions_cannot_be_evaluated_is_refused() -> None:
    filter_on_text = "$.input.url[?(@.x == 1)]"
    run = scenario(susp("A", URL, ins="url", outs="url", interruptions=[filter_on_text]))
    run.submit()
    with pytest.raises(ExecutionError) as error:
        run.wake("A", {"url": "text"})
    code, message = refused(error)
    assert code == 30603
    assert "filter" in message
    assert run.context == {}
    assert run.statuses == {"A": "RUNNING"}


def test_a_wake_up_whose_data_cannot_be_kept_is_refused() -> None:
    run = scenario(susp("A", URL, outs=[{"source": "$.output.x", "target": "$.context.__x"}]))
    run.submit()
    with pytest.raises(ExecutionError) as error:
        run.wake("A", {"x": 1})
    assert refused(error) == (30505, "value type is not map")


def test_a_condition_that_is_broken_from_the_start_fails_it() -> None:
    run = scenario(susp("A", "$$$"))
    run.submit()
    assert run.statuses == {"A": "FAILED"}


def test_inside_a_group_a_refused_wake_up_leaves_the_groups_context() -> None:
    broken = [
        {"source": "$.output.x", "target": "$.context.x"},
        {"transform": "1 +", "target": "$.context.y", "tolerance": False},
    ]
    run = scenario(each("A", "list", susp("A1", URL, outs=broken), ins="list"))
    run.submit({"list": [1]})
    with pytest.raises(ExecutionError):
        run.wake("A_0-A1", {"x": 1})
    assert run.group_contexts("A") == [{"item": 1}]


def test_a_trigger_wakes_a_suspense_and_its_repetition_changes_nothing() -> None:
    run = scenario(susp("A", URL, ins="url", outs="url", to="B"), fn("B"))
    run.submit()
    assert run.trigger("A", {"url": "bbb"}) == [dispatch("B")]
    run.trigger("A", {"url": "bbb"})
    assert not run.changed
    run.finish("B")
    run.trigger("A", {"url": "bbb"})
    assert not run.changed


def test_a_trigger_for_a_waiting_suspense_of_an_ended_execution_is_refused() -> None:
    run = two_conditions()
    run.submit()
    run.cancel()
    with pytest.raises(ExecutionError) as error:
        run.trigger("A", {"url": "bbb"})
    assert refused(error)[1].endswith("is finished")


def test_a_signal_that_is_no_object_counts_as_empty() -> None:
    whole = [{"source": "$.output", "target": "$.context.all"}]
    run = scenario(susp("A", URL, ins="url", outs=whole))
    run.submit()
    run.trigger("A", [1])
    assert run.context == {}
    assert run.statuses == {"A": "RUNNING"}


def test_a_suspense_waits_inside_a_group() -> None:
    run = scenario(
        each("A", "list", susp("A1", URL, ins="url", outs="url", to="A2"), pass_("A2"), ins="list")
    )
    run.submit({"list": [1, 2]})
    run.wake("A_1-A1", {"url": "bbb"})
    assert run.groups("A") == ["RUNNING", "SUCCEED"]
