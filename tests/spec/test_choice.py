"""A choice runs every branch whose condition is true, each in a group of its own."""

import pytest

from rillflow.testing import Scenario, dispatch
from tests.spec.notation import choice, each, fn, on_input, pass_, scenario

SUCCEEDED, FAILED = on_input('status == "succeed"'), on_input('status == "failed"')


def two_branches() -> Scenario:
    return scenario(
        fn("A", ins="url", outs="status,path", to="B"),
        choice(
            "B",
            (SUCCEEDED, [fn("B1", ins="path", outs="path")]),
            (FAILED, [fn("B2", ins="path", outs="path")]),
            ins="status,path",
            outs="path",
            to="C",
        ),
        fn("C", ins="path", outs="result"),
    )


@pytest.mark.case("CH-01")
def test_branches_are_numbered_by_the_order_of_their_conditions_text() -> None:
    run = two_branches()
    assert run.submit({"url": "u"}) == [dispatch("A", url="u")]
    called = run.finish("A", {"status": "succeed", "path": "p"})
    assert called == [dispatch("B_1-B1", path="p")]
    assert run.groups("B") == ["SKIPPED", "RUNNING"]
    assert run.statuses["B_0-B2"] == "SKIPPED"

    assert run.finish("B_1-B1", {"path": "p2"}) == [dispatch("C", path="p2")]
    run.finish("C", {"result": "r"})
    assert run.events == {"TASK_FINISH": 4, "DAG_SUCCEED": 1}
    assert run.context == {"url": "u", "status": "succeed", "path": "p2", "result": "r"}


@pytest.mark.case("CH-03")
def test_a_choice_inside_a_foreach() -> None:
    run = scenario(
        fn("A", ins="url", outs="segments,status", to="B"),
        each(
            "B",
            "segments",
            fn("B1", ins="segmentUrl", outs="gopPath", to="B2"),
            choice(
                "B2",
                (SUCCEEDED, [fn("B21", ins="gopPath", outs="gopPath")]),
                (FAILED, [fn("B22", ins="gopPath", outs="gopPath")]),
                ins="gopPath,status",
                outs="gopPath",
                to="B3",
            ),
            fn("B3", ins="gopPath", outs="gopUrl"),
            item="segmentUrl",
            ins="segments,status",
            outs="gopUrls<=sub_context.[*].gopUrl",
            to="C",
        ),
        fn("C", ins="gopUrls", outs="result"),
    )
    run.submit({"url": "u"})
    called = run.finish("A", {"status": "succeed", "segments": ["g1", "g2"]})
    assert called == [
        dispatch("B_0-B1", segmentUrl="g1"),
        dispatch("B_1-B1", segmentUrl="g2"),
    ]
    assert run.finish("B_0-B1", {"gopPath": "p1"}) == [dispatch("B_0-B2_1-B21", gopPath="p1")]
    assert run.finish("B_1-B1", {"gopPath": "p2"}) == [dispatch("B_1-B2_1-B21", gopPath="p2")]
    assert run.finish("B_0-B2_1-B21", {"gopPath": "n1"}) == [dispatch("B_0-B3", gopPath="n1")]
    assert run.finish("B_1-B2_1-B21", {"gopPath": "n2"}) == [dispatch("B_1-B3", gopPath="n2")]
    assert run.finish("B_0-B3", {"gopUrl": "u1"}) == []
    assert run.finish("B_1-B3", {"gopUrl": "u2"}) == [dispatch("C", gopUrls=["u1", "u2"])]
    run.finish("C", {"result": "r"})

    assert run.events == {"TASK_FINISH": 11, "DAG_SUCCEED": 1}
    assert run.context == {
        "url": "u",
        "status": "succeed",
        "segments": ["g1", "g2"],
        "gopUrls": ["u1", "u2"],
        "result": "r",
    }


def test_every_true_branch_runs_once() -> None:
    branches = [(on_input(f"n > {i}"), [fn(f"B{i}", to=f"D{i}"), fn(f"D{i}")]) for i in range(4)]
    run = scenario(choice("B", *branches, ins="n"))
    called = run.submit({"n": 9})
    assert called == [dispatch(f"B_{i}-B{i}") for i in range(4)]
    assert run.groups("B") == ["RUNNING"] * 4

    for i in reversed(range(4)):
        assert run.finish(f"B_{i}-B{i}") == [dispatch(f"B_{i}-D{i}")]
        run.finish(f"B_{i}-D{i}")
    assert run.status == "SUCCEED"


def test_results_are_merged_in_index_order_and_the_later_branch_wins() -> None:
    run = scenario(
        choice(
            "B",
            (on_input("n > 2"), [fn("Later", outs="x,late")]),
            (on_input("n > 1"), [fn("First", outs="x,early")]),
            (on_input("n > 3"), [fn("Never", outs="x")]),
            ins="n",
            outs="x,late,early",
        )
    )
    run.submit({"n": 3})
    run.finish("B_1-Later", {"x": "later", "late": 1})
    run.finish("B_0-First", {"x": "first", "early": 1})
    assert run.context == {"n": 3, "x": "later", "late": 1, "early": 1}


def test_a_branch_that_is_not_taken_has_no_context() -> None:
    run = scenario(
        choice("B", (on_input("n > 1"), [fn("Never")]), ("$.input", [fn("B1")]), ins="n")
    )
    run.submit({"n": 1})
    contexts = dict(zip(run.groups("B"), run.group_contexts("B"), strict=True))
    assert contexts == {"SKIPPED": {}, "RUNNING": {"n": 1}}


def test_with_no_true_branch_it_succeeds_at_once_and_maps_nothing() -> None:
    constant = [{"source": "mapped", "target": "$.context.x"}]
    run = scenario(
        choice("B", (SUCCEEDED, [fn("B1", to="B2"), fn("B2")]), outs=constant, to="C"), pass_("C")
    )
    assert run.submit() == []
    assert run.statuses == {
        "B": "SUCCEED",
        "C": "SUCCEED",
        "B_0-B1": "SKIPPED",
        "B_0-B2": "SKIPPED",
    }
    assert run.context == {}
    assert run.announced == ["TASK_FINISH B", "TASK_FINISH C", "DAG_SUCCEED"]


def test_a_broken_condition_is_a_branch_that_is_not_taken() -> None:
    run = scenario(choice("B", ("$$$", [fn("B1")]), ("$.input", [pass_("B2")])))
    run.submit()
    assert run.groups("B") == ["SKIPPED", "SUCCEED"]
    assert run.statuses["B_1-B2"] == "SUCCEED"


def test_a_branch_without_a_condition_fails_the_choice() -> None:
    branch = {"tasks": [pass_("B1")]}
    run = scenario({"name": "B", "category": "choice", "choices": [branch]})
    run.submit()
    assert run.statuses == {"B": "FAILED"}
    assert run.task("B").invoke.msg == "choice condition is null"


def test_conditions_that_differ_only_in_case_keep_the_order_written() -> None:
    run = scenario(
        choice(
            "B",
            ("$.input.X", [pass_("B1")]),
            ("$.input.x", [pass_("B2")]),
            ("$.input.A", [pass_("B3")]),
        )
    )
    run.submit()
    assert list(run.statuses)[1:] == ["B_0-B3", "B_1-B1", "B_2-B2"]


def test_branches_are_ordered_as_if_their_conditions_were_in_lower_case() -> None:
    run = scenario(choice("B", ("$.input.A", [pass_("B1")]), ("$.input._", [pass_("B2")])))
    run.submit()
    assert list(run.statuses)[1:] == ["B_0-B2", "B_1-B1"]


def test_a_branch_starts_from_the_choices_input_even_an_empty_one() -> None:
    run = scenario(
        choice("B", ("$.input", [fn("B1", ins="root", outs="x")]), outs="x"),
    )
    assert run.submit({"root": 1}) == [dispatch("B_0-B1")]
    run.finish("B_0-B1", {"x": 1})
    assert run.context == {"root": 1, "x": 1}


def test_a_failing_branch_lets_the_others_end_before_the_choice_fails() -> None:
    run = scenario(
        choice("B", ("$.input.a", [fn("B1")]), ("$.input.b", [fn("B2")]), ins="a,b", to="C"),
        pass_("C"),
    )
    run.submit({"a": 1, "b": 1})
    run.finish("B_0-B1", succeeded=False, msg="no", code="7")
    assert run.statuses["B"] == "RUNNING"
    run.finish("B_1-B2")
    assert run.statuses["B"] == "FAILED"
    assert (run.task("B").invoke.msg, run.task("B").invoke.code) == ("no", "7")
    assert run.statuses["C"] == "NOT_STARTED"
    assert run.status == "FAILED"


def test_an_output_rule_that_may_not_fail_fails_the_choice() -> None:
    broken = [{"transform": "1 +", "target": "$.context.x", "tolerance": False}]
    run = scenario(choice("B", ("$.input", [pass_("B1")]), outs=broken))
    run.submit()
    assert run.statuses["B"] == "FAILED"
    assert run.task("B").invoke.msg


def test_an_input_that_cannot_be_a_context_fails_the_choice_before_any_branch() -> None:
    run = scenario(choice("B", ("$.input", [fn("B1")]), ins="__x:=text"))
    run.submit()
    assert run.statuses == {"B": "FAILED"}
    assert run.groups("B") == []
