"""A foreach runs its tasks once for each element, each time in a group of its own."""

import pytest

from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonValue
from rillflow.language.jsonpath.paths import compile_path
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import (
    Definition,
    Json,
    at_most,
    choice,
    each,
    fn,
    on_input,
    pass_,
    refused,
    scenario,
)

ONE_AT_A_TIME = at_most("1", "$.input[?(@.segments)]")


def segments() -> Scenario:
    return scenario(
        fn("A", ins="url", outs="segments", to="B"),
        each(
            "B",
            "segments",
            fn("B1", ins="segmentUrl", outs="gopPath", to="B2"),
            fn("B2", ins="gopPath", outs="gopUrl"),
            item="segmentUrl",
            ins="segments",
            outs="gopUrls<=sub_context.[*].gopUrl",
            to="C",
        ),
        fn("C", ins="gopUrls", outs="url"),
    )


def one_at_a_time() -> Scenario:
    run = scenario(each("A", "segments", fn("A1"), ins="segments", synchronization=ONE_AT_A_TIME))
    run.submit({"segments": ["g1", "g2"]})
    return run


def over(elements: Json, *tasks: Definition, **rest: Json) -> Scenario:
    run = scenario(each("A", "list", *tasks, ins="list", **rest))
    run.submit({"list": elements})
    return run


@pytest.mark.case("FE-01")
def test_each_element_runs_the_tasks_and_the_results_come_out_together() -> None:
    run = segments()
    run.submit({"url": "u"})
    assert run.finish("A", {"segments": ["g1", "g2"]}) == [
        dispatch("B_0-B1", segmentUrl="g1"),
        dispatch("B_1-B1", segmentUrl="g2"),
    ]
    assert run.finish("B_0-B1", {"gopPath": "p1"}) == [dispatch("B_0-B2", gopPath="p1")]
    assert run.finish("B_0-B2", {"gopUrl": "r1"}) == []
    assert run.finish("B_1-B1", {"gopPath": "p2"}) == [dispatch("B_1-B2", gopPath="p2")]
    assert run.finish("B_1-B2", {"gopUrl": "r2"}) == [dispatch("C", gopUrls=["r1", "r2"])]
    run.finish("C", {"url": "z"})

    assert run.status == "SUCCEED"
    assert run.context == {"url": "z", "segments": ["g1", "g2"], "gopUrls": ["r1", "r2"]}


# -- how many at once -----------------------------------------------------------------------


@pytest.mark.case("FE-03")
def test_a_limit_of_one_starts_only_the_first_group() -> None:
    run = one_at_a_time()
    assert run.groups("A") == ["RUNNING", "READY"]
    assert run.statuses == {"A": "RUNNING", "A_0-A1": "RUNNING", "A_1-A1": "NOT_STARTED"}


@pytest.mark.case("FE-04", "FE-05")
def test_the_next_group_starts_when_one_is_done() -> None:
    run = one_at_a_time()
    assert run.finish("A_0-A1", {"gopUrl": "r1"}) == [dispatch("A_1-A1")]
    assert run.groups("A") == ["SUCCEED", "RUNNING"]

    run.finish("A_1-A1", {"gopUrl": "r2"})
    assert run.groups("A") == ["SUCCEED", "SUCCEED"]
    assert run.statuses == {"A": "SUCCEED", "A_0-A1": "SUCCEED", "A_1-A1": "SUCCEED"}
    assert run.status == "SUCCEED"


@pytest.mark.case("FE-09")
def test_a_failing_group_makes_room_for_the_next_one() -> None:
    run = one_at_a_time()
    assert run.finish("A_0-A1", succeeded=False) == [dispatch("A_1-A1")]
    run.finish("A_1-A1")
    assert run.groups("A") == ["FAILED", "SUCCEED"]
    assert run.statuses["A"] == "FAILED"


def test_groups_that_end_at_once_make_room_at_once() -> None:
    run = scenario(
        each("A", "list", pass_("A1"), ins="list", synchronization=at_most(2, "$.input.list"))
    )
    run.submit({"list": list(range(50))})
    assert run.groups("A") == ["SUCCEED"] * 50
    assert run.status == "SUCCEED"


def test_waiting_groups_start_in_the_order_of_their_elements() -> None:
    run = over(list("abcde"), fn("A1", ins="item"), synchronization=at_most(2, "$.input.list"))
    assert [run.task(f"A_{i}-A1").status.name for i in (0, 1)] == ["RUNNING", "RUNNING"]
    started = [run.finish(f"A_{i}-A1") for i in (1, 2, 0, 3)]
    assert started == [
        [dispatch("A_2-A1", item="c")],
        [dispatch("A_3-A1", item="d")],
        [dispatch("A_4-A1", item="e")],
        [],
    ]


@pytest.mark.parametrize(
    ("limit", "condition", "started"),
    [
        pytest.param("2", "$.input", 2, id="a limit"),
        pytest.param("$.input.most", "$.input", 1, id="a limit from the input"),
        pytest.param("9", "$.input", 3, id="more than there are"),
        pytest.param("0", "$.input", 3, id="zero is none"),
        pytest.param("-1", "$.input", 3, id="negative is none"),
        pytest.param("2.5", "$.input", 3, id="a fraction is none"),
        pytest.param("true", "$.input", 3, id="a boolean is none"),
        pytest.param("many", "$.input", 3, id="text is none"),
        pytest.param("$$$", "$.input", 3, id="a broken path is none"),
        pytest.param("", "$.input", 3, id="nothing is none"),
        pytest.param("1", "$.input.absent", 3, id="conditions that do not hold"),
        pytest.param("1", "$$$", 3, id="broken conditions"),
    ],
)
def test_a_limit_counts_when_its_conditions_hold(limit: str, condition: str, started: int) -> None:
    run = scenario(
        each("A", "list", fn("A1"), ins="list,most", synchronization=at_most(limit, condition))
    )
    assert len(run.submit({"list": [1, 2, 3], "most": "1"})) == started


def test_without_conditions_there_is_no_limit() -> None:
    run = scenario(
        each(
            "A", "list", fn("A1"), ins="list",
            synchronization={"conditions": [], "maxConcurrency": "1"},
        )
    )  # fmt: skip
    assert len(run.submit({"list": [1, 2, 3]})) == 3


# -- collections ----------------------------------------------------------------------------


@pytest.mark.case("FE-06")
@pytest.mark.parametrize("data", [{}, {"list": None}, {"list": []}])
def test_nothing_to_iterate_over_is_a_success_at_once(data: Json) -> None:
    constant = [{"source": "mapped", "target": "$.context.x"}]
    run = scenario(each("B", "list", fn("B1"), ins="list", outs=constant, to="C"), pass_("C"))
    run.submit(data)
    assert run.statuses == {"B": "SUCCEED", "C": "SUCCEED"}
    assert run.task("B").invoke.msg == "loop collection or subTasks empty"
    assert "x" not in run.context


@pytest.mark.case("FE-07")
@pytest.mark.parametrize("collection", [{"a": 1}, 7, "text", True])
def test_a_collection_that_is_no_list_fails(collection: Json) -> None:
    run = over(collection, fn("A1"))
    assert run.statuses == {"A": "FAILED"}


@pytest.mark.parametrize("path", ["list[?(", "text[?(@.x)]", "text.nope()"])
def test_a_collection_that_cannot_be_read_is_null_and_told(path: str) -> None:
    run = scenario(each("A", path, fn("A1"), ins="text:=t"))
    run.submit()
    assert run.statuses == {"A": "SUCCEED"}
    assert run.task("A").invoke.msg == "loop collection or subTasks empty"
    (warning,) = run.task("A").warnings
    assert (warning.kind, warning.rule) == ("bad_path", f"$.input.{path} -> item")


def test_a_collection_that_cannot_be_read_fails_a_strict_execution() -> None:
    run = scenario(each("A", "list[?(", fn("A1")), strict=True)
    run.submit()
    assert run.statuses == {"A": "FAILED"}


def test_a_collection_whose_function_fails_fails_the_foreach() -> None:
    run = scenario(each("A", "list.first()", fn("A1"), ins="list:=[]"))
    run.submit()
    assert run.statuses == {"A": "FAILED"}


@pytest.mark.case("FE-11")
def test_a_null_element_fails_the_foreach_without_any_group() -> None:
    run = over(["a", None], fn("A1"))
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").invoke.msg == "iteration item 1 is null"
    assert run.groups("A") == []


def test_a_foreach_without_a_name_for_its_item_fails() -> None:
    run = over([1], fn("A1"), item="")
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").invoke.msg == "iterationMapping item is null"


def test_an_input_that_cannot_be_a_context_fails_before_any_group() -> None:
    run = scenario(each("A", "list", fn("A1"), ins="list,__x:=text"))
    run.submit({"list": [1]})
    assert run.statuses == {"A": "FAILED"}
    assert run.groups("A") == []


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("a.list", {"a": {"kept": 1}, "l": [[1], [2]]}),
        ("l[0]", {"a": {"list": [1], "kept": 1}, "l": [[2]]}),
        ("l[-1]", {"a": {"list": [1], "kept": 1}, "l": [[1]]}),
        ("l[*]", {"a": {"list": [1], "kept": 1}, "l": [[1], [2]]}),
        ("l[1][0,1]", {"a": {"list": [1], "kept": 1}, "l": [[1], [2]]}),
    ],
)
def test_the_collection_is_taken_out_of_the_input(path: str, rest: Json) -> None:
    run = scenario(each("A", path, pass_("A1"), ins="a,l"))
    run.submit({"a": {"list": [1], "kept": 1}, "l": [[1], [2]]})
    assert run.task("A").invoke.input == rest
    first = run.group_contexts("A")[0]
    assert {key: value for key, value in first.items() if key != "item"} == rest


def test_of_a_list_on_the_way_only_the_collection_is_taken_out() -> None:
    run = scenario(each("A", "l[0].urls", pass_("A1"), ins="l"))
    run.submit({"l": [{"urls": [1], "kept": 1}, 2]})
    assert run.task("A").invoke.input == {"l": [{"kept": 1}, 2]}


# -- contexts of groups ----------------------------------------------------------------------


@pytest.mark.case("FE-10")
def test_groups_see_only_what_the_foreachs_input_holds() -> None:
    run = scenario(
        each("A", "list", fn("A1", ins="rootVar,mapped,item"), ins="list,mapped"),
    )
    called = run.submit({"list": [1], "rootVar": "r", "mapped": "m"})
    assert called == [dispatch("A_0-A1", mapped="m", item=1)]


def test_groups_know_their_index_when_asked() -> None:
    run = over(["a", "b"], fn("A1", ins="item,i"), index="i")
    assert run.dispatched == [
        dispatch("A_0-A1", item="a", i=0),
        dispatch("A_1-A1", item="b", i=1),
    ]


@pytest.mark.case("FE-12")
def test_groups_carry_the_identity_of_their_element() -> None:
    run = over([{"id": "a"}, {"id": "b"}], fn("A1"), identity="$.iteration.element.id")
    assert [group.identity for group in run.state.groups.values()] == ["a", "b"]


@pytest.mark.parametrize(
    ("identity", "element", "expected"),
    [
        ("fixed", 1, "fixed"),
        ("$.iteration.element", 7, "7"),
        ("$.iteration.element.id", {"id": {"k": 1}}, '{"k":1}'),
        ("$.iteration.element.id", {"id": " "}, None),
        ("$.iteration.element.id", {}, None),
        ("$.iteration.element.[", {}, None),
    ],
)
def test_an_identity_is_text_or_missing(identity: str, element: Json, expected: str | None) -> None:
    run = over([element], fn("A1"), identity=identity)
    assert run.state.groups["A_0"].identity == expected


@pytest.mark.case("FE-14")
def test_a_group_without_the_wanted_key_contributes_null() -> None:
    contexts: list[JsonValue] = [{"url": "a"}, {}, {"url": "c"}]
    path = compile_path("$.output.sub_context.[*].url")
    assert path.find({"output": {"sub_context": contexts}}) == ["a", None, "c"]


def test_results_come_in_the_order_of_the_elements() -> None:
    run = over([1, 2, 3], fn("A1", outs="x"), outs="all<=sub_context.[*].x")
    for index in (2, 0, 1):
        run.finish(f"A_{index}-A1", {"x": index})
    assert run.context["all"] == [0, 1, 2]


# -- failures --------------------------------------------------------------------------------


@pytest.mark.case("FE-08")
def test_a_failing_group_lets_the_others_end_then_the_foreach_fails() -> None:
    run = over([1, 2, 3], fn("A1", outs="x"), outs="all<=sub_context.[*].x")
    run.finish("A_0-A1", {"x": 1})
    said: Json = {"why": 1, "invoke_id": "i-1"}
    run.finish("A_1-A1", {"x": 2}, succeeded=False, code="7", msg="no", ext=said)
    assert run.statuses["A"] == "RUNNING"
    run.finish("A_2-A1", {"x": 3})

    assert run.statuses["A"] == "FAILED"
    assert run.context["all"] == [1, None, 3]
    invoke = run.task("A").invoke
    assert (invoke.code, invoke.msg, invoke.ext) == ("7", "no", {"why": 1})
    assert invoke.invoke_id == "i-1"
    assert run.status == "FAILED"
    assert run.state.invoke.msg == "no"


def test_each_failing_group_overwrites_what_an_earlier_one_left() -> None:
    run = over([1, 2], fn("A1"))
    run.finish("A_1-A1", succeeded=False, msg="second group")
    run.finish("A_0-A1", succeeded=False, msg="first group")
    assert run.task("A").invoke.msg == "first group"


def test_a_foreach_that_fails_by_a_sub_flow_names_it() -> None:
    run = over([1], fn("A1", "flow_sync"))
    run.answer("A_0-A1", {"execution_id": "small"})
    run.finish("A_0-A1", succeeded=False)
    assert run.task("A").invoke.referenced_execution_id == "small"


@pytest.mark.case("FE-13")
def test_a_group_fails_with_its_first_failing_member() -> None:
    run = scenario(each("A", "list", fn("A1"), fn("A2", to="A3"), fn("A3"), ins="list"), fn("B"))
    run.submit({"list": [1]})
    run.answer("A_0-A2")
    run.finish("A_0-A1", succeeded=False)
    assert run.groups("A") == ["FAILED"]
    assert run.statuses["A"] == "FAILED"
    assert run.statuses["A_0-A2"] == "RUNNING"

    assert run.finish("A_0-A2") == [dispatch("A_0-A3")]
    assert run.statuses["A_0-A2"] == "SUCCEED"
    assert run.statuses["A"] == "FAILED"
    run.finish("B")
    with pytest.raises(ExecutionError) as error:
        run.finish("A_0-A3")
    assert refused(error)[1].endswith("is finished")


def test_a_failing_group_waits_for_what_ends_in_the_same_turn() -> None:
    broken = [{"transform": "1 +", "target": "$.context.x", "tolerance": False}]
    inner = choice("D", ("$.input", [choice("E", ("$.input", [pass_("F")]))]))
    inner = choice("B", ("$.input", [inner]))
    run = over([1], pass_("A1", outs=broken), inner)
    assert run.groups("A") == ["FAILED"]
    assert {run.statuses[name] for name in run.statuses if name not in ("A", "A_0-A1")} == {
        "SUCCEED"
    }


def test_inner_groups_fail_before_those_around_them() -> None:
    broken = [{"transform": "1 +", "target": "$.context.x", "tolerance": False}]
    inner = choice("B", ("$.input", [pass_("D", outs=broken), fn("E")]), outs="seen:=yes")
    run = over([1], pass_("A1", outs=broken), inner)
    assert (run.statuses["A_0-B"], run.groups("A_0-B")) == ("FAILED", ["FAILED"])
    assert run.group_contexts("A") == [{"item": 1, "seen": "yes"}]
    assert run.statuses["A_0-B_0-E"] == "RUNNING"


def test_an_output_rule_that_may_not_fail_fails_the_foreach() -> None:
    broken = [{"transform": "1 +", "target": "$.context.x", "tolerance": False}]
    run = over([1], pass_("A1"), outs=broken)
    assert run.statuses["A"] == "FAILED"
    assert (run.task("A").invoke.msg or "").startswith("line 1")


# -- depth -----------------------------------------------------------------------------------


def test_groups_nest_five_deep() -> None:
    two = [{"source": "[1, 2]", "target": "$.input.list"}]
    task = fn("Leaf", outs="x")
    for level in (5, 4, 3, 2, 1):
        if level % 2:
            task = each(f"N{level}", "list", task, ins=two, outs="x<=sub_context[*].x")
        else:
            task = choice(f"N{level}", ("$.input", [task]), outs="x")
    run = scenario(task)

    calls = run.submit()
    assert calls[5] == dispatch("N1_1-N2_0-N3_0-N4_0-N5_1-Leaf")
    for number, call in enumerate(run.dispatched):
        assert run.finish(call.task, {"x": number}) == []
    assert run.status == "SUCCEED"
    assert run.context == {"x": [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]}


def test_a_failure_five_levels_down_reaches_the_top() -> None:
    task = fn("Leaf")
    for level in range(5, 0, -1):
        task = choice(f"N{level}", (on_input("n == 1"), [task]), ins="n")
    run = scenario(task)
    leaf = "N1_0-N2_0-N3_0-N4_0-N5_0-Leaf"
    assert run.submit({"n": 1}) == [dispatch(leaf)]
    run.finish(leaf, succeeded=False, code="7", msg="deep")
    assert run.status == "FAILED"
    assert (run.state.invoke.code, run.state.invoke.msg) == ("7", "deep")
    assert run.task("N1").invoke.msg == "deep"
