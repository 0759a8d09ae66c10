"""A return whose conditions all hold skips what follows it; otherwise it skips itself."""

import pytest

from rillflow.testing import Scenario, dispatch
from tests.spec.notation import each, fn, on_input, pass_, ret, scenario

CONDITIONS = (on_input('text == "aaa"'), on_input('url == "bbb"'))
SKIP_MESSAGE = "skip due to dependent tasks return or degrade"


def fork() -> Scenario:
    """A return and a function beside each other, with a common end."""
    return scenario(
        pass_("A", to="B,C"),
        ret("B", *CONDITIONS, ins="text,url", to="D"),
        fn("C", to="E"),
        pass_("D", to="E"),
        pass_("E"),
    )


def two_returns() -> Scenario:
    return scenario(
        pass_("A", to="B,C"),
        ret("B", CONDITIONS[1], ins="url", to="D"),
        ret("C", CONDITIONS[0], ins="text", to="D,E"),
        pass_("D"),
        pass_("E"),
    )


@pytest.mark.case("RT-01")
def test_when_all_conditions_hold_what_follows_is_skipped() -> None:
    run = scenario(ret("A", *CONDITIONS, ins="url,text", to="B"), fn("B"))
    assert run.submit({"text": "aaa", "url": "bbb"}) == []
    assert run.statuses == {"A": "SUCCEED", "B": "SKIPPED"}
    assert run.task("B").invoke.msg == SKIP_MESSAGE
    assert run.task("B").invoke.time_infos == []
    assert run.status == "SUCCEED"


def test_when_a_condition_does_not_hold_the_return_is_skipped_and_the_rest_runs() -> None:
    run = scenario(ret("A", *CONDITIONS, ins="url,text", to="B"), fn("B"))
    assert run.submit({"text": "aaa", "url": "b"}) == [dispatch("B")]
    assert run.statuses == {"A": "SKIPPED", "B": "RUNNING"}
    assert run.announced == ["TASK_SKIPPED A"]
    assert run.task("A").invoke.msg is None


@pytest.mark.case("RT-03")
def test_returns_inside_groups_skip_only_within_their_group() -> None:
    run = scenario(
        each(
            "foreach",
            "list",
            pass_("A"),
            pass_("B"),
            ret("returnA", on_input("index == 1"), ins="index", to="A"),
            ret("returnB", on_input("index == 0"), ins="index", to="B"),
            index="index",
            ins=[{"transform": "return seq.list(0, 1, 2);", "target": "$.input.list"}],
            synchronization={"conditions": []},
        )
    )
    run.submit({"input": 15})
    expected = {
        "TASK_FINISH foreach_0-A",
        "TASK_SKIPPED foreach_0-B",
        "TASK_SKIPPED foreach_1-A",
        "TASK_FINISH foreach_1-B",
    }
    leaves = [name for name in run.announced if name.endswith(("_0-A", "_0-B", "_1-A", "_1-B"))]
    assert sorted(leaves) == sorted(expected)
    assert run.status == "SUCCEED"


@pytest.mark.case("RT-04")
def test_one_branch_returns_while_the_other_runs_on() -> None:
    run = fork()
    assert run.submit({"text": "aaa", "url": "bbb"}) == [dispatch("C")]
    assert run.statuses == {
        "A": "SUCCEED",
        "B": "SUCCEED",
        "C": "RUNNING",
        "D": "SKIPPED",
        "E": "NOT_STARTED",
    }
    assert run.status == "RUNNING"

    run.finish("C")
    assert run.statuses["E"] == "SUCCEED"


@pytest.mark.parametrize(
    ("text", "url", "statuses"),
    [
        pytest.param("aa1", "bbb", "SUCCEED SUCCEED SKIPPED SUCCEED SUCCEED", id="RT-06"),
        pytest.param("aaa", "bb1", "SUCCEED SKIPPED SUCCEED SUCCEED SKIPPED", id="RT-07"),
        pytest.param("aa1", "bb1", "SUCCEED SKIPPED SKIPPED SUCCEED SUCCEED", id="RT-08"),
        pytest.param("aaa", "bbb", "SUCCEED SUCCEED SUCCEED SKIPPED SKIPPED", id="both return"),
    ],
)
def test_a_task_runs_unless_every_dependency_skips_it(text: str, url: str, statuses: str) -> None:
    run = two_returns()
    run.submit({"text": text, "url": url})
    assert list(run.statuses.values()) == statuses.split()


@pytest.mark.case("RT-10")
def test_a_return_without_conditions_fails() -> None:
    run = scenario({"name": "A", "category": "return"})
    run.submit()
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").invoke.msg == "conditions can not be null"


def test_a_return_with_an_empty_list_of_conditions_returns() -> None:
    run = scenario(ret("A", to="B"), pass_("B"))
    run.submit()
    assert run.statuses == {"A": "SUCCEED", "B": "SKIPPED"}


@pytest.mark.parametrize(("tolerance", "status"), [(False, "FAILED"), (True, "SKIPPED")])
def test_a_broken_condition_fails_a_return(*, tolerance: bool, status: str) -> None:
    run = scenario(ret("A", "$$$", tolerance=tolerance))
    run.submit()
    assert run.statuses == {"A": status}


def test_a_skip_passes_on_to_what_depends_on_skipped_tasks_only() -> None:
    run = scenario(
        ret("A", "$.input", to="B,C"),
        pass_("B", to="D"),
        pass_("C", to="D"),
        pass_("D", to="E,F"),
        pass_("X", to="F"),
        pass_("E"),
        pass_("F"),
    )
    run.submit()
    skipped = [name for name, status in run.statuses.items() if status == "SKIPPED"]
    assert skipped == ["B", "C", "D", "E"]
    assert run.statuses["F"] == "SUCCEED"


def test_tasks_skipped_by_the_chain_of_another_are_not_announced() -> None:
    run = scenario(ret("A", "$.input", to="B"), pass_("B", to="C"), pass_("C"))
    run.submit()
    assert run.announced == ["TASK_FINISH A", "TASK_SKIPPED B", "DAG_SUCCEED"]


def test_a_task_skipped_for_another_reason_passes_no_skip_on() -> None:
    run = scenario(fn("A", tolerance=True, to="B"), pass_("B"))
    run.submit()
    run.finish("A", succeeded=False)
    assert run.statuses == {"A": "SKIPPED", "B": "SUCCEED"}
