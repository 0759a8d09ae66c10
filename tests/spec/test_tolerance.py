"""A tolerated failure is SKIPPED: its output is mapped and what follows it runs."""

import pytest

from rillflow.testing import dispatch
from tests.spec.notation import Definition, choice, each, fn, pass_, ret, scenario, susp


@pytest.mark.case("FT-01")
def test_a_tolerated_failure_is_skipped_and_its_output_mapped() -> None:
    run = scenario(fn("A", ins="key1,key2", outs="segments", tolerance=True))
    run.submit({"key1": 1, "key2": 2})
    run.finish("A", {"segments": ["g1", "g2"]}, succeeded=False)

    assert run.statuses == {"A": "SKIPPED"}
    assert run.status == "SUCCEED"
    assert run.context == {"key1": 1, "key2": 2, "segments": ["g1", "g2"]}
    assert run.announced == ["TASK_SKIPPED A", "DAG_SUCCEED"]


@pytest.mark.case("FT-04")
def test_both_branches_behind_a_tolerated_failure_run() -> None:
    run = scenario(
        fn("A", outs="segments", tolerance=True, to="B,C"),
        fn("B", ins="segments", outs="b"),
        fn("C", ins="segments", outs="c"),
    )
    run.submit()
    called = run.finish("A", {"segments": [1]}, succeeded=False)
    assert called == [dispatch("B", segments=[1]), dispatch("C", segments=[1])]

    run.finish("B", {"b": 1})
    run.finish("C", {"c": 2})
    assert run.statuses == {"A": "SKIPPED", "B": "SUCCEED", "C": "SUCCEED"}
    assert run.status == "SUCCEED"
    assert run.context == {"segments": [1], "b": 1, "c": 2}


@pytest.mark.case("FT-05")
def test_a_tolerated_failure_inside_a_group_lets_the_group_go_on() -> None:
    run = scenario(
        fn("A", ins="url", outs="segments", to="B"),
        each(
            "B",
            "segments",
            fn("B1", ins="segmentUrl<=item", outs="gopPath", tolerance=True, to="B2"),
            fn("B2", ins="gopPath", outs="gopUrl"),
            ins="segments",
            outs="gopUrls<=sub_context.[*].gopUrl",
            to="C",
        ),
        fn("C", ins="gopUrls", outs="url"),
    )
    run.submit({"url": "u"})
    run.finish("A", {"segments": ["g1", "g2"]})

    called = run.finish("B_0-B1", {"gopPath": "p1"}, succeeded=False)
    assert called == [dispatch("B_0-B2", gopPath="p1")]
    assert run.statuses["B_0-B1"] == "SKIPPED"
    run.finish("B_0-B2", {"gopUrl": "u1"})
    run.finish("B_1-B1", {"gopPath": "p2"})
    run.finish("B_1-B2", {"gopUrl": "u2"})
    run.finish("C", {"url": "z"})

    assert run.status == "SUCCEED"
    assert run.context["gopUrls"] == ["u1", "u2"]


def test_a_tolerant_foreach_is_skipped_when_a_group_fails_and_its_output_is_mapped() -> None:
    run = scenario(
        each(
            "A",
            "list",
            fn("A1", ins="item", outs="x"),
            ins="list",
            outs="all<=sub_context.[*].x",
            tolerance=True,
            to="B",
        ),
        pass_("B"),
    )
    run.submit({"list": [1, 2]})
    run.finish("A_0-A1", {"x": 1})
    run.finish("A_1-A1", {"x": 2}, succeeded=False)

    assert run.statuses["A"] == "SKIPPED"
    assert run.statuses["B"] == "SUCCEED"
    assert run.context["all"] == [1, None]


def test_a_tolerant_choice_is_skipped_when_a_branch_fails_and_its_output_is_mapped() -> None:
    branch = ("$.input", [fn("B1", outs="x", to="B2"), fn("B2")])
    run = scenario(choice("B", branch, outs="x", tolerance=True, to="C"), pass_("C"))
    run.submit()
    run.finish("B_0-B1", {"x": 1})
    run.finish("B_0-B2", succeeded=False)
    assert run.statuses["B"] == "SKIPPED"
    assert run.context == {"x": 1}
    assert run.status == "SUCCEED"


BROKEN = [{"transform": "1 +", "target": "$.input.x", "tolerance": False}]


@pytest.mark.parametrize(
    "task",
    [
        pass_("A", ins=BROKEN, tolerance=True),
        ret("A", "$.input", ins=BROKEN, tolerance=True),
        susp("A", "$.input", ins=BROKEN, tolerance=True),
        each("A", "list", pass_("A1"), ins=BROKEN, tolerance=True),
    ],
    ids=lambda task: str(task["category"]),
)
def test_every_category_may_tolerate(task: Definition) -> None:
    run = scenario(task)
    run.submit()
    assert run.statuses == {"A": "SKIPPED"}
    assert run.status == "SUCCEED"
