"""An execution is shown as text in a terminal, and as JSON otherwise; a list says what is up."""

import json
from typing import Any, Final

import pytest
from rich.console import Console

from rillflow.cli.output.listing import detail_of, show_list
from rillflow.cli.output.showing import seconds, short_moment, show_execution, show_task
from rillflow.client.instances import Runs
from rillflow.client.operations import ListedExecution
from rillflow.errors import ExecutionFailedError
from tests.unit.commands import path, run, stand_in

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
RUNS: Final = Runs((), 10)
RETRIED: Final = {
    "name": "a",
    "status": "SUCCEEDED",
    "task": {"category": "function", "pattern": "task_sync"},
    "invoke_msg": {
        "code": "7",
        "msg": "no disk",
        "input": {"n": 1},
        "output": {"m": 2},
        "invoke_time_infos": [
            {"start_time": 1_000, "end_time": 1_500, "error": "no disk"},
            {"start_time": 2_000, "end_time": 2_100},
        ],
    },
}
EACH: Final = {
    "name": "each",
    "status": "FAILED",
    "task": {"category": "foreach"},
    "sub_group_index_to_status": {"0": "SUCCEED", "1": "FAILED"},
    "invoke_msg": {"msg": "no luck", "invoke_time_infos": [{"start_time": 1, "end_time": 2}]},
}
VIEW: Final = {
    "execution_id": ID,
    "dag_status": "FAILED",
    "dag_invoke_msg": {
        "msg": "no luck",
        "invoke_time_infos": [{"start_time": 1_000, "end_time": 4_200}],
    },
    "context": {"n": 1},
    "tasks": {"a": RETRIED, "each": EACH},
}
MEMBER: Final = {"name": "each_1-in", "status": "FAILED", "invoke_msg": {"msg": "no luck"}}
MEMBERS: Final = {"ret": {"tasks": {"each_1-in": MEMBER}}}
ANSWERS: Final = {path("get"): {"ret": VIEW}, path("get_by_parent"): MEMBERS}


def text(tasks: dict[str, Any], *, width: int = 80) -> str:
    console = Console(record=True, width=width, quiet=False, force_terminal=True)
    show_execution(console, VIEW, tasks, 10_000)
    return console.export_text()


def test_without_a_terminal_it_is_the_json_of_the_api_with_the_members_of_groups() -> None:
    with stand_in(**ANSWERS) as (url, asked):
        code, printed, _ = run("get", ID, "--url", url)
    shown = json.loads(printed)
    assert code == 0
    assert list(shown["tasks"]) == ["a", "each", "each_1-in"]
    assert shown["context"] == {"n": 1}
    assert [one["query"].get("group_index") for one in asked] == [None, None, "0", "1"]


def test_a_success_after_a_retry_has_no_error_of_its_own() -> None:
    with stand_in(**ANSWERS) as (url, _):
        shown = json.loads(run("get", ID, "--url", url)[1])
    invoke = shown["tasks"]["a"]["invoke_msg"]
    assert ("msg" in invoke, "code" in invoke) == (False, False)
    assert invoke["invoke_time_infos"][0]["error"] == "no disk"
    assert shown["tasks"]["each"]["invoke_msg"]["msg"] == "no luck"


def test_one_task_and_those_that_failed_can_be_asked_for() -> None:
    with stand_in(**ANSWERS) as (url, _):
        one = json.loads(run("get", ID, "--task", "each_1-in", "--url", url)[1])
        failed = json.loads(run("get", ID, "--failed", "--url", url)[1])
        code, _, told = run("get", ID, "--task", "b", "--url", url)
        assert run("get", ID, "--task", "a", "--failed", "--url", url)[0] == 2
    assert one == MEMBER
    assert list(failed["tasks"]) == ["each", "each_1-in"]
    assert (code, told) == (1, "error: there is no task b; there are a, each, each_1-in\n")


def test_context_and_brief_are_json() -> None:
    with stand_in(**{path("get"): {"ret": VIEW | {"tasks": {}}}}) as (url, asked):
        assert json.loads(run("get", ID, "--context", "--url", url)[1]) == {"n": 1}
        run("get", ID, "--brief", "--url", url)
    assert [one["query"].get("brief") for one in asked] == ["true", "true"]


def test_in_a_terminal_each_instance_has_its_input_output_and_attempts() -> None:
    shown = text({"a": RETRIED, "each": EACH, "each_1-in": MEMBER})
    assert "FAILED after 3.2 s" in shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "a SUCCEEDED 1.1 s task_sync 2 attempts" in lines
    assert 'input {"n": 1}' in lines
    assert 'output {"m": 2}' in lines
    assert "attempt 1 0.5 s no disk" in lines
    assert "attempt 2 0.1 s succeeded" in lines
    assert "error no disk" not in lines
    assert "each FAILED 0.0 s foreach 1 succeed, 1 failed" in lines
    assert any(line.startswith("each_1-in FAILED") for line in lines)


def test_the_progress_of_a_task_is_shown_unless_it_has_succeeded() -> None:
    progress = {"fraction": 0.4, "message": "frame 12 of 30"}
    for status, is_shown in (("RUNNING", True), ("FAILED", True), ("SUCCEEDED", False)):
        shown = text({"a": RETRIED | {"status": status, "progress": progress}})
        lines = [" ".join(line.split()) for line in shown.splitlines()]
        assert ("progress 40 %, frame 12 of 30" in lines) is is_shown


def test_values_are_cut_to_a_line_and_one_task_is_shown_whole() -> None:
    long = RETRIED | {"invoke_msg": {"input": {"text": "x" * 500}}}
    assert all(len(line) <= 80 for line in text({"a": long}).splitlines())
    console = Console(record=True, width=80, quiet=False, force_terminal=True)
    show_task(console, "a", long, RUNS, whole=True)
    assert "x" * 500 in console.export_text()


def test_errors_hints_and_warnings_are_wrapped_and_never_cut() -> None:
    words = " ".join(f"word{n}" for n in range(60))
    rule = {"mappings": "inputMappings", "number": 1, "rule": "a -> b", "kind": "missing"}
    warned = {"warnings": [{**rule, "reason": f"{words} warned"}]}
    times = [{"start_time": 1, "end_time": 2, "error": f"{words} tried"}] * 2
    said = {"msg": f"{words} failed", "hint": f"{words} hinted", "invoke_time_infos": times}
    console = Console(record=True, width=80, force_terminal=True)
    view = VIEW | warned | {"dag_invoke_msg": {"msg": f"{words} ended"}, "quarantine": words}
    show_execution(console, view, {"a": MEMBER | {"invoke_msg": said} | warned}, 10_000)
    lines = console.export_text().splitlines()
    assert [line for line in lines if len(line) > 80] == []
    text = " ".join(" ".join(lines).split())
    for end, times_told in (("failed", 1), ("hinted", 1), ("tried", 2), ("warned", 2)):
        assert text.count(f"{words} {end}") == times_told
    assert f"error {words} ended" in text
    assert f"stuck {words}" in text


def test_a_list_that_a_task_no_longer_keeps_is_not_shown_as_an_empty_input() -> None:
    assert "input" not in text({"each": EACH | {"invoke_msg": {"input": {}}}})
    assert 'input     {"n": 1}' in text({"each": EACH | {"invoke_msg": {"input": {"n": 1}}}})
    assert "input     {}" in text({"a": RETRIED | {"invoke_msg": {"input": {}}}})


@pytest.mark.parametrize(
    ("duration_ms", "shown"),
    [(40, "0.0 s"), (99_900, "99.9 s"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min")],
)
def test_durations_are_short(duration_ms: int, shown: str) -> None:
    assert seconds(duration_ms) == shown


# -- what a list says --------------------------------------------------------------------


def running(**tasks: Any) -> dict[str, Any]:
    return {"dag_status": "RUNNING", "tasks": tasks}


def waiting(status: str, category: str, pattern: str = "", **more: Any) -> dict[str, Any]:
    return {"status": status, "task": {"category": category, "pattern": pattern}, **more}


def test_a_list_says_what_a_running_execution_waits_for() -> None:
    groups = {"0": "SUCCEED", "1": "RUNNING", "2": "READY"}
    view = running(
        a=waiting("SUCCEEDED", "pass"),
        b=waiting("RUNNING", "function", "task_async"),
        c=waiting("RUNNING", "suspense"),
        d=waiting("RUNNING", "foreach", sub_group_index_to_status=groups),
        e=waiting("READY", "function", "task_sync"),
    )
    said = "waits for b (its callback), c (a wake-up), d (2 of 3 groups, 1 are through) and 1 more"
    assert detail_of(view) == said
    assert detail_of(view | {"paused": True}) == f"paused; {said}"


def test_a_list_says_why_a_callback_was_refused_and_which_attempt_is_to_come() -> None:
    hint = {"invoke_msg": {"hint": "a callback was refused: no\nage"}}
    view = running(
        a=waiting("RUNNING", "function", "task_async", **hint),
        b=waiting("READY", "pass"),
        c=waiting("READY", "pass", invoke_msg={"invoke_time_infos": [{"start_time": 1}]}),
    )
    assert detail_of(view) == (
        "waits for a (its callback; a callback was refused: no age),"
        " b (the time of its first attempt), c (the time of its next attempt)"
    )


def test_a_failure_without_a_message_is_told_by_its_hint() -> None:
    view = {"dag_status": "FAILED", "dag_invoke_msg": {"hint": "its failConditions hold"}}
    assert detail_of(view) == "its failConditions hold"
    assert detail_of(view | {"dag_invoke_msg": {"msg": "", "hint": "x"}}) == "x"
    timeout = {"msg": "timeout", "hint": "its time was up"}
    assert detail_of(view | {"dag_invoke_msg": timeout}) == "its time was up"
    assert "error     its failConditions hold" in text(
        {"a": waiting("FAILED", "pass", invoke_msg={"hint": "its failConditions hold"})}
    )


def test_the_text_of_a_failure_names_a_few_of_many_tasks() -> None:
    error = ExecutionFailedError("e", tasks=tuple(f"t{n}" for n in range(1000)), reason="no")
    assert str(error) == "e failed in t0, t1, t2, t3, t4 and 995 more: no"
    assert len(error.tasks) == 1000
    ended = ExecutionFailedError("e", tasks=("a",), reason="cancelled", reason_code="30303")
    assert (str(ended), ended.tasks) == ("e failed: 30303: cancelled", ("a",))


def test_a_list_says_why_an_execution_failed() -> None:
    view = {"dag_status": "FAILED", "dag_invoke_msg": {"msg": "no\nluck"}}
    assert detail_of(view) == "no luck"
    assert detail_of(view | {"tasks": {"a": waiting("FAILED", "pass")}}) == "a: no luck"
    assert detail_of({"dag_status": "SUCCEED"}) == ""
    cancelled = {"msg": "cancelled", "code": "30303"}
    shown = view | {"dag_invoke_msg": cancelled, "tasks": {"a": waiting("FAILED", "pass")}}
    assert detail_of(shown) == "cancelled"


def test_a_list_has_the_details_behind_the_ids() -> None:
    item = {
        "execution_id": ID,
        "submit_time": 1_700_000_000_000,
        "business_id": "b",
        "feature_id": "f",
        "status": "FAILED",
    }
    listed = {"flow__bg__get_execution_ids.json": {"items": [item], "total": 1}}
    with stand_in(**listed, **{path("get"): {"ret": VIEW}}) as (url, _):
        printed = run("list", "--url", url)[1]
    assert printed.endswith(f"  FAILED       {ID}  each: no luck\n")


NOW_MS: Final = 1_700_000_000_000
YEAR_MS: Final = 366 * 86_400_000


def listed_lines(*found: tuple[str, str], width: int = 80) -> list[str]:
    """The lines of a terminal for executions with these ids and statuses, each with a detail."""
    console = Console(record=True, width=width, force_terminal=True, highlight=False)
    listed = [ListedExecution(one, status, NOW_MS, "b", "f") for one, status in found]
    show_list(console, listed, lambda _: "why " * 30, NOW_MS)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 100, 140])
@pytest.mark.parametrize("workspace", ["b", "examples", "w" * 60])
def test_a_list_never_cuts_an_id(workspace: str, width: int) -> None:
    found = [f"{workspace}:{ID[2:]}", f"{workspace}:g{ID[3:]}"]
    lines = listed_lines((found[0], "FAILED"), (found[1], "SUCCEED"), width=width)
    assert [one for one in found if not any(one in line.split() for line in lines)] == []
    assert all(len(line) <= width or line in found for line in lines)


def test_a_list_has_the_ids_on_lines_of_their_own_where_one_does_not_fit() -> None:
    long = f"examples:suspense{ID[3:]}"
    both = listed_lines((ID, "FAILED"), (long, "SUCCEED"))
    assert [both[0], both[2]] == [ID, long]
    assert "  FAILED       why why" in both[1]
    assert listed_lines((ID, "FAILED"))[0].endswith(f"  FAILED       {ID}")


def test_times_of_a_list_are_equally_wide_and_have_the_year_where_it_is_another() -> None:
    this, other = short_moment(NOW_MS, NOW_MS), short_moment(NOW_MS - YEAR_MS, NOW_MS)
    assert (this[:6], other.strip()[:8]) == ("11-14 ", "2022-11-")
    assert len(this) == len(other)


def test_warnings_of_a_task_that_are_only_counted_are_shown_as_a_number() -> None:
    console = Console(record=True, width=120, force_terminal=True)
    show_task(console, "a", RETRIED | {"mapping_warnings": 60, "warnings": []}, RUNS, whole=False)
    assert "60 more, which are only counted" in console.export_text()


def test_an_attempt_with_an_empty_message_says_that_it_failed() -> None:
    times = [{"start_time": 1, "end_time": 2, "error": " "}, {"start_time": 3, "end_time": 4}]
    task = {"name": "a", "status": "FAILED", "invoke_msg": {"msg": "", "invoke_time_infos": times}}
    console = Console(record=True, width=120, force_terminal=True)
    show_task(console, "a", task, RUNS, whole=False)
    text = console.export_text()
    assert "it failed with an empty message" in text
    assert not [line for line in text.splitlines() if line.split() == ["error"]]


def test_rules_of_mappings_that_came_to_nothing_are_shown_with_their_task() -> None:
    def told(field: str, number: int) -> dict[str, Any]:
        facts = {"rule": "$.context.x -> $.input.x", "kind": "missing"}
        return {"mappings": field, "number": number, **facts, "reason": "it is not there"}

    task = RETRIED | {"mapping_warnings": 1, "warnings": [told("inputMappings", 1)]}
    whole = VIEW | {"mapping_warnings": 2, "warnings": [told("callback.inputMappings", 0)]}
    console = Console(record=True, width=120, force_terminal=True)
    show_execution(console, whole, {"a": task}, 10_000)
    shown = console.export_text()
    assert "FAILED with 2 mapping warnings after 3.2 s" in shown
    assert "callback.inputMappings: it is not there" in shown
    assert "inputMappings rule 1, $.context.x -> $.input.x: it is not there" in shown


FRAMES: Final = "".join(f'  File "f.py", line {n}, in f{n}\n    call()\n' for n in range(8))


def test_the_end_of_a_traceback_is_lines_below_the_error() -> None:
    error = {"type": "ValueError", "message": "no ink", "traceback": f"{FRAMES}ValueError: no ink"}
    failed = {"status": "FAILED", "invoke_msg": {"msg": "no ink", "output": {"error": error}}}
    shown = [line.rstrip() for line in text({"a": failed}, width=100).splitlines()]
    begins = next(place for place, line in enumerate(shown) if "traceback" in line)
    assert shown[begins:] == [
        "  traceback ...",
        '              File "f.py", line 6, in f6',
        "                call()",
        '              File "f.py", line 7, in f7',
        "                call()",
        "            ValueError: no ink",
    ]
    assert '  output    {"error": {"type": "ValueError", "message": "no ink"}}' in shown
    console = Console(record=True, width=60, force_terminal=True)
    show_task(console, "a", failed, RUNS, whole=True)
    whole = console.export_text()
    assert "\\n" not in whole
    assert "in f0" in whole
