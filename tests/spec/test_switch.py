"""A switch lets the successors of its true entries run and skips the others."""

import pytest

from rillflow.core.state import TaskState
from rillflow.testing import Scenario
from tests.spec.notation import each, on_input, pass_, scenario, sw
from tests.unit.test_linear_readers import lines_of


def is_(number: int) -> str:
    return on_input(f"input == {number}")


def up_to(number: int) -> str:
    return on_input(f"input <= {number}")


def leaves(names: str) -> list[dict[str, object]]:
    return [pass_(name) for name in names]


def with_input(value: int, *tasks: dict[str, object]) -> Scenario:
    run = scenario(*tasks)
    run.submit({"input": value})
    assert run.status == "SUCCEED"
    return run


def chosen(run: Scenario) -> str:
    """Name the passes that ran."""
    names = [name for name, status in run.statuses.items() if status == "SUCCEED"]
    return "".join(name for name in names if len(name) == 1)


@pytest.mark.case("SW-01")
def test_the_branch_whose_condition_holds_runs_with_what_follows_it() -> None:
    run = with_input(
        0,
        sw("case", (is_(0), "A"), (is_(5), "B"), (is_(10), "C"), ins="input"),
        pass_("A", to="D"),
        pass_("B", to="E"),
        pass_("C", to="F"),
        *leaves("DEF"),
    )
    assert chosen(run) == "AD"
    assert [run.statuses[name] for name in "BCEF"] == ["SKIPPED"] * 4


def test_an_entry_may_name_several_successors() -> None:
    entries = ((is_(0), "A, B,"), (is_(5), "B,C"), (is_(5), "D ,E"))
    run = with_input(0, sw("case", *entries, ins="input", next="A,B,C,D,E"), *leaves("ABCDE"))
    assert chosen(run) == "AB"
    assert [run.statuses[name] for name in "CDE"] == ["SKIPPED"] * 3


@pytest.mark.case("SW-02")
def test_no_entries_is_a_success() -> None:
    run = with_input(0, sw("case"))
    assert run.statuses == {"case": "SUCCEED"}
    assert run.task("case").invoke.msg == "switches collection empty"


@pytest.mark.case("SW-03")
def test_a_broken_path_is_an_entry_that_does_not_hold() -> None:
    run = with_input(0, sw("case", ("$$$", "A"), ins="input"), pass_("A"))
    assert run.statuses == {"case": "SUCCEED", "A": "SKIPPED"}


def test_an_entry_without_a_condition_does_not_hold() -> None:
    task = sw("case", ("", "A"))
    del task["switches"][0]["condition"]
    run = with_input(0, task, pass_("A"))
    assert run.statuses == {"case": "SUCCEED", "A": "SKIPPED"}


@pytest.mark.case("SW-04")
def test_a_name_wanted_by_one_entry_runs_though_another_skips_it() -> None:
    entries = [(is_(0), "A,C"), (is_(5), "A, B"), (is_(10), "B")]
    assert chosen(with_input(0, sw("case", *entries, ins="input"), *leaves("ABC"))) == "AC"


@pytest.mark.case("SW-05")
def test_a_task_behind_two_switches_runs_unless_both_skip_it() -> None:
    run = with_input(
        0,
        sw("switch1", (is_(0), "B"), (is_(2), "C"), (is_(10), "A"), ins="input"),
        sw("switch2", (is_(0), "A"), (is_(5), "B"), (is_(10), "C"), ins="input"),
        pass_("A", to="D"),
        pass_("B", to="D,F"),
        pass_("C", to="F,E"),
        *leaves("DEF"),
    )
    assert chosen(run) == "ABDF"
    assert run.statuses["C"] == run.statuses["E"] == "SKIPPED"


@pytest.mark.parametrize(
    ("value", "ran"),
    [
        pytest.param(0, "A", id="SW-06"),
        pytest.param(15, "D", id="SW-07"),
        pytest.param(4, "B", id="the second entry"),
    ],
)
def test_break_ends_the_search_and_default_runs_when_no_entry_holds(value: int, ran: str) -> None:
    entries = [(is_(0), "A!"), (up_to(5), "B!"), (up_to(10), "C!"), ("default", "D!")]
    assert chosen(with_input(value, sw("case", *entries, ins="input"), *leaves("ABCD"))) == ran


@pytest.mark.case("SW-08")
def test_a_switch_with_its_own_next_works_inside_groups() -> None:
    entries = [(on_input("index == 0"), "A"), (on_input("index == 1"), "B")]
    run = with_input(
        15,
        each(
            "foreach",
            "list",
            *leaves("AB"),
            sw("case", *entries, ins="index", to="A,B"),
            index="index",
            ins=[{"transform": "return seq.list(0, 1);", "target": "$.input.list"}],
        ),
    )
    about_leaves = [name for name in run.announced if name.endswith(("-A", "-B"))]
    assert sorted(about_leaves) == [
        "TASK_FINISH foreach_0-A",
        "TASK_FINISH foreach_1-B",
        "TASK_SKIPPED foreach_0-B",
        "TASK_SKIPPED foreach_1-A",
    ]


@pytest.mark.case("SW-09")
def test_without_break_every_entry_that_holds_runs_and_default_does_not() -> None:
    entries = [(is_(0), "A"), (up_to(5), "B"), ("default", "C")]
    assert chosen(with_input(0, sw("case", *entries, ins="input"), *leaves("ABC"))) == "AB"


def test_default_entries_are_looked_at_last_wherever_they_stand() -> None:
    entries = [("default", "C"), (is_(0), "A!")]
    assert chosen(with_input(0, sw("case", *entries, ins="input"), *leaves("AC"))) == "A"


def test_only_the_bare_word_default_is_a_default_entry() -> None:
    entries = [(" default ", "A"), ("DEFAULT", "B"), ("default", "C")]
    assert chosen(with_input(0, sw("case", *entries, ins="input"), *leaves("ABC"))) == "C"


def test_of_two_default_entries_a_breaking_one_is_the_last() -> None:
    entries = [("default", "A!"), ("default", "B")]
    assert chosen(with_input(0, sw("case", *entries, ins="input"), *leaves("AB"))) == "A"
    entries = [("default", "A"), ("default", "B")]
    assert chosen(with_input(0, sw("case", *entries, ins="input"), *leaves("AB"))) == "AB"


def test_a_true_entry_that_names_nobody_keeps_default_from_running() -> None:
    entries = [(is_(0), ""), ("default", "A")]
    assert chosen(with_input(0, sw("case", *entries, ins="input"), *leaves("A"))) == ""


def test_explicit_successors_that_no_entry_names_always_run() -> None:
    task = sw("case", (is_(5), "A"), ins="input", to="B")
    assert chosen(with_input(0, task, *leaves("AB"))) == "B"


def test_output_mappings_of_a_switch_are_not_applied() -> None:
    constant = [{"source": "mapped", "target": "$.context.x"}]
    run = with_input(0, sw("case", (is_(0), "A"), ins="input", outs=constant), pass_("A"))
    assert run.context == {"input": 0}


def test_names_that_are_repeated_cost_an_instance_nothing() -> None:
    following = ",".join(["B"] * 10_000)
    tasks = [sw("A", (on_input("a==1"), following), ("default", "C"), ins="a")]
    run = scenario(*tasks, pass_("B"), pass_("C"))
    lines = lines_of(lambda: run.submit({"a": 2}))
    assert (run.statuses["B"], run.statuses["C"]) == ("SKIPPED", "SUCCEED")
    assert lines < 10_000
    assert len(run.state.tasks["A"].skipped) == 1


def test_entries_without_a_condition_of_their_own_cost_a_run_nothing() -> None:
    entries = [("", "B")] * 5_000 + [("default", "C")] * 5_000
    task = sw("A", (on_input("a==1"), "B"), *entries, ins="a")
    for entry in task["switches"][1:5_001]:
        del entry["condition"]
    run = scenario(task, pass_("B"), pass_("C"))
    assert lines_of(lambda: run.submit({"a": 2})) < 5_000
    assert (run.statuses["B"], run.statuses["C"]) == ("SKIPPED", "SUCCEED")


def test_names_in_states_of_earlier_releases_count() -> None:
    task = TaskState(name="G_0-A", base="A", route="G_0", skips=("G_0-B",))
    assert task.is_skipping(0, "G_0-B")
    assert not task.is_skipping(1, "G_0-C")
    task.skip_successors(0b10)
    assert task.is_skipping(1, "G_0-C")
    assert not task.is_skipping(99, "G_0-D")
