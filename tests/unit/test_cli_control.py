"""The command line finds executions and steers them, and says what came of each."""

import json
from typing import Any, Final

import pytest

from rillflow.cli.inputs import moment_ms
from rillflow.cli.redoing import tasks_to_redo_whole
from rillflow.errors import RequestError
from tests.loopback import closed_port
from tests.unit.commands import path, run, stand_in

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
OTHER: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8058"
LIST: Final = "flow__bg__get_execution_ids.json"
DONE: Final = {"result": "ok"}
REFUSAL: Final = (500, {"error_code": 30601, "error": "the execution has ended"})


def item(execution_id: str, status: str) -> dict[str, Any]:
    return {
        "id": execution_id,
        "execution_id": execution_id,
        "submit_time": 1_700_000_000_000,
        "business_id": "b",
        "feature_id": "f",
        "status": status,
    }


KEPT: Final = "; groups of each keep their context, without --data"
LISTED: Final = {"items": [item(ID, "RUNNING"), item(OTHER, "FAILED")], "total": 2}


def shown(**statuses: str) -> dict[str, Any]:
    """Show an execution with tasks of these statuses."""
    tasks = {name: {"name": name, "status": status} for name, status in statuses.items()}
    return {"ret": {"execution_id": ID, "dag_status": "FAILED", "context": {}, "tasks": tasks}}


# -- list ------------------------------------------------------------------------------


def test_a_list_has_a_line_for_each_execution() -> None:
    with stand_in(**{LIST: LISTED}) as (url, asked):
        code, printed, told = run("list", "--url", url)
    first, second = printed.splitlines()
    assert (code, told) == (0, "")
    assert first.endswith(f"  RUNNING      {ID}")
    assert second.endswith(f"  FAILED       {OTHER}")
    assert first[:8] in ("2023-11-", "2023-12-")
    assert asked[0]["query"] == {"page": "1", "pageSize": "20"}


def test_a_list_may_be_narrowed() -> None:
    options = ("--business", "b", "--feature", "f", "--status", "FAILED", "--code", "30303")
    with stand_in(**{LIST: LISTED}) as (url, asked):
        run("list", *options, "--since", "2026-01-31T12:00+00:00", "--limit", "2", "--url", url)
    assert asked[0]["query"] == {
        "business": "b",
        "feature": "f",
        "status": "failed",
        "code": "30303",
        "startTime": "1769860800000",
        "page": "1",
        "pageSize": "2",
    }


def test_a_list_may_be_json_or_ids_for_other_commands() -> None:
    with stand_in(**{LIST: LISTED}) as (url, _):
        assert run("list", "--ids", "--url", url) == (0, f"{ID}\n{OTHER}\n", "")
        code, printed, _ = run("list", "--json", "--url", url)
        assert run("list", "--json", "--ids", "--url", url)[0] == 2
    assert code == 0
    assert json.loads(printed)[0] == {
        "id": ID,
        "status": "RUNNING",
        "submitted_at_ms": 1_700_000_000_000,
        "business": "b",
        "feature": "f",
        "detail": None,
    }


def test_a_list_may_be_grouped_by_the_actor_that_holds_each() -> None:
    holders = {
        ID: {"actor": "rillflow:execution:1", "node": "n1", "address": "10.0.0.1 (one)"},
        OTHER: {"actor": "rillflow:execution:0"},
    }
    state = {"converged": True, "actors": [], "silent": [], "holders": holders}
    with stand_in(**{LIST: LISTED, path("cluster"): state}) as (url, asked):
        code, printed, _ = run("list", "--by", "actor", "--url", url)
        assert run("list", "--by", "actor", "--json", "--url", url)[0] == 2
    assert code == 0
    first, other, second, own = printed.splitlines()
    assert first == "rillflow:execution:0, which does not answer"
    assert second == "rillflow:execution:1, n1 10.0.0.1 (one)"
    assert other.endswith(OTHER)
    assert own.endswith(ID)
    assert {"execution_ids": f"{ID},{OTHER}"} in [each["query"] for each in asked]


def test_a_list_that_is_cut_says_so_and_ids_are_not_cut() -> None:
    with stand_in(**{LIST: LISTED}) as (url, asked):
        _, printed, told = run("list", "--limit", "2", "--url", url)
        run("list", "--ids", "--url", url)
    assert len(printed.splitlines()) == 2
    assert told == "these are the newest 2; --limit shows more\n"
    with stand_in(**{LIST: {"items": [item(ID, "RUNNING")], "total": 2}}) as (url, _):
        told = run("list", "--limit", "1", "--url", url)[2]
    assert told == "this is the newest one; --limit shows more\n"
    assert [one["query"]["pageSize"] for one in asked] == ["2", "1000"]


def test_an_empty_list_is_said_to_be_empty() -> None:
    with stand_in(**{LIST: {"items": [], "total": 0}}) as (url, _):
        assert run("list", "--url", url) == (0, "", "no execution was found\n")
        assert run("list", "--json", "--url", url) == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--status", "ended"), "there is no status ended; one of not_started, running"),
        (("--since", "yesterday"), "yesterday is neither an age like 15m"),
        ((), "no answer from"),
    ],
)
def test_a_list_that_cannot_be_is_one_line(options: tuple[str, ...], message: str) -> None:
    code, printed, told = run("list", *options, "--url", f"http://127.0.0.1:{closed_port()}")
    assert (code, printed) == (1, "")
    assert told.startswith(f"error: {message}")
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--business", ""),
        ("list", "--feature", " "),
        ("list", "--status", ""),
        ("list", "--code", ""),
        ("redo-many", "b:f", "--code", ""),
        ("submit", "b:f", "--idempotency-key", ""),
    ],
)
def test_an_option_is_not_blank_as_a_variable_that_is_not_set_makes_it(
    arguments: tuple[str, ...],
) -> None:
    code, printed, told = run(*arguments, "--url", f"http://127.0.0.1:{closed_port()}")
    assert (code, printed) == (2, "")
    assert f"Invalid value for '{arguments[-2]}': blank value; is a variable not set?" in told


def test_an_age_is_counted_back_from_now_and_a_time_is_a_time() -> None:
    hour_ms = 3_600_000
    # The clock goes on between two looks, so the first one is the earlier one.
    minutes_ms, day_ms = moment_ms("60m"), moment_ms("1d")
    assert 0 <= moment_ms("1h") - minutes_ms < hour_ms / 60
    assert 0 <= moment_ms("1h") - day_ms - 23 * hour_ms < hour_ms / 60
    assert moment_ms("90s") - moment_ms("2h") > hour_ms
    assert moment_ms("1970-01-01T01:00+01:00") == 0
    assert moment_ms("999999999d") == 0
    for wrong in ("", "1w", "-1h", "10000-01-01"):
        with pytest.raises(RequestError, match="neither an age"):
            moment_ms(wrong)


# -- cancel, pause, resume -------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "done"), [("cancel", "cancelled"), ("pause", "paused"), ("resume", "resumed")]
)
def test_an_order_is_given_to_every_execution(command: str, done: str) -> None:
    with stand_in(**{path(command): DONE}) as (url, asked):
        code, printed, told = run(command, ID, OTHER, "--url", url)
    assert (code, printed, told) == (0, f"{done} {ID}\n{done} {OTHER}\n", "")
    assert [one["query"] for one in asked] == [{"execution_id": ID}, {"execution_id": OTHER}]


def test_those_that_refuse_are_told_and_the_others_are_steered() -> None:
    answers = {path("get"): shown(a="FAILED"), path("redo"): DONE}
    with stand_in(**answers, **{path("cancel"): REFUSAL}) as (url, asked):
        code, printed, told = run("cancel", ID, OTHER, "--url", url)
    assert (code, printed) == (1, "")
    assert told.splitlines() == [
        f"error: {ID}: the execution has ended",
        f"error: {OTHER}: the execution has ended",
    ]
    steered = [one for one in asked if "brief" not in one["query"]]
    assert len(steered) == 2


def test_a_server_that_is_away_is_told_once() -> None:
    code, _, told = run("pause", ID, OTHER, "--url", f"http://127.0.0.1:{closed_port()}")
    assert code == 1
    assert told.startswith("error: no answer from")
    assert len(told.splitlines()) == 1


# -- redo ------------------------------------------------------------------------------


def redone(*options: str, **statuses: str) -> tuple[int, str, dict[str, Any] | None]:
    """Redo an execution with tasks of these statuses; return the request that came of it."""
    with stand_in(**{path("get"): shown(**statuses), path("redo"): DONE}) as (url, asked):
        code, printed, told = run("redo", ID, *options, "--url", url)
    orders = [one for one in asked if one["body"]]
    return code, printed or told, orders[0] if orders else None


@pytest.mark.parametrize("options", [(), ("--failed",)])
def test_what_failed_is_done_again(options: tuple[str, ...]) -> None:
    code, printed, asked = redone(*options, a="SUCCEEDED", b="FAILED", c="RUNNING")
    assert (code, printed) == (0, f"redone {ID}\n")
    assert asked == {"query": {"execution_id": ID, "scope": "failed"}, "body": "{}"}


def test_all_that_is_unfinished_is_done_again_as_a_whole() -> None:
    _, _, asked = redone("--whole", a="SUCCEEDED", b="FAILED", c="RUNNING")
    assert asked == {"query": {"execution_id": ID}, "body": "{}"}


def test_named_tasks_are_done_again_with_new_context() -> None:
    options = ("--task", "a", "-t", "b", "--data", '{"n": 2}')
    wanted = {"execution_id": ID, "task_names": "a,b"}
    for more, query in (((), wanted | {"scope": "failed"}), (("--whole",), wanted)):
        _, _, asked = redone(*options, *more, a="SUCCEEDED", b="FAILED")
        assert asked == {"query": query, "body": '{"n":2}'}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--task", "c"), "there is no task c; there are a, b"),
        (("--task", "c", "--whole"), "there is no task c; there are a, b"),
        (("--task", "b"), "the task b has not started"),
        (("--task", "b", "--whole"), "the task b has not started"),
        (("--task", "a", "--failed"), "nothing in the task a has failed"),
        (("--task", "a_0"), "there is no task a_0; there are a, b"),
    ],
)
def test_what_would_do_nothing_is_refused(options: tuple[str, ...], message: str) -> None:
    code, told, asked = redone(*options, a="SUCCEEDED", b="NOT_STARTED")
    assert (code, asked) == (1, None)
    assert told.startswith(f"error: {ID}: {message}")


def running(**task: Any) -> dict[str, Any]:
    answer = shown(a="RUNNING")
    answer["ret"]["dag_status"] = "RUNNING"
    answer["ret"]["tasks"]["a"] |= task
    return answer


def test_while_nothing_has_failed_a_redo_says_what_else_there_is() -> None:
    with stand_in(**{path("get"): running(), path("redo"): DONE}) as (url, asked):
        code, _, told = run("redo", ID, "--url", url)
    message = "nothing has failed; name a task with --task (a), or use --whole"
    assert (code, told) == (1, f"error: {ID}: {message}\n")
    assert len(asked) == 1


def test_a_parent_that_runs_again_already_is_no_mistake_where_what_failed_is_meant() -> None:
    with stand_in(**{path("get"): running(), path("redo"): DONE}) as (url, asked):
        printed = run("redo", "--failed", ID, "--url", url)
    assert printed == (0, f"no task of {ID} has failed; the execution is running\n", "")
    assert len(asked) == 1


def test_an_iteration_that_has_failed_is_done_again_while_the_others_run() -> None:
    answer = running(sub_group_index_to_status={"0": "FAILED", "1": "RUNNING"})
    with stand_in(**{path("get"): answer, path("redo"): DONE}) as (url, _):
        assert run("redo", ID, "--url", url)[0] == 0
        assert run("redo", ID, "--task", "a", "--failed", "--url", url)[0] == 0


@pytest.mark.parametrize("more", [(), ("--whole",)])
def test_of_what_has_succeeded_a_task_is_to_be_named(more: tuple[str, ...]) -> None:
    answer = shown(a="SUCCEEDED")
    answer["ret"]["dag_status"] = "SUCCEED"
    with stand_in(**{path("get"): answer, path("redo"): DONE}) as (url, asked):
        code, _, told = run("redo", ID, *more, "--url", url)
        assert run("redo", ID, "--task", "a", *more, "--url", url)[0] == 0
    assert (code, told) == (1, f"error: {ID}: it has succeeded; name a task with --task: a\n")
    assert [one["query"].get("task_names") for one in asked if one["body"]] == ["a"]


@pytest.mark.parametrize("more", [(), ("--whole",)])
def test_a_cancelled_execution_goes_on_even_if_no_task_is_unfinished(more: tuple[str, ...]) -> None:
    code, _, asked = redone(*more, a="SUCCEEDED", b="NOT_STARTED")
    assert (code, asked is not None) == (0, True)


def test_a_redo_of_what_is_not_there_or_of_two_kinds_is_refused() -> None:
    with stand_in(**{path("get"): {"ret": {"tasks": "{}", "context": {}}}}) as (url, _):
        assert run("redo", ID, "--url", url)[2] == f"error: there is no execution {ID}\n"
        assert run("redo", ID, "--whole", "--failed", "--url", url)[0] == 2


def test_an_instance_is_named_in_full_and_looked_up_in_its_group() -> None:
    members = {"ret": {"tasks": {"each_1-in": {"name": "each_1-in", "status": "FAILED"}}}}
    answers = {path("get"): shown(each="FAILED"), path("get_by_parent"): members}
    with stand_in(**answers, **{path("redo"): DONE}) as (url, asked):
        code, printed, _ = run("redo", ID, "--task", "each_1-in", "--url", url)
    assert (code, printed) == (0, f"redone {ID}\n")
    assert [one["query"] for one in asked[1:]] == [
        {"execution_id": ID, "parent": "each", "group_index": "1"},
        {"execution_id": ID, "task_names": "each_1-in", "scope": "failed"},
    ]


def test_as_a_whole_only_tasks_of_the_top_level_run_again() -> None:
    with stand_in(**{path("get"): shown(each="FAILED"), path("redo"): DONE}) as (url, asked):
        code, _, told = run("redo", ID, "--whole", "--task", "each_0-in", "--url", url)
    message = "--whole takes tasks of the top level: each runs again with all its groups, each_0-in"
    assert (code, len(asked)) == (1, 1)
    assert told.startswith(f"error: {ID}: {message} alone without --whole")
    assert tasks_to_redo_whole(shown(each="FAILED")["ret"], ["each"]) == ("each",)
    with pytest.raises(RequestError, match="there is no task a"):
        tasks_to_redo_whole({"tasks": "{}"}, ["a"])


@pytest.mark.parametrize(
    ("named", "note"), [((), KEPT), (("--task", "each_1-in"), KEPT), (("--task", "a"), "")]
)
def test_a_redo_says_that_kept_groups_do_not_see_its_data(
    named: tuple[str, ...], note: str
) -> None:
    answer = shown(a="FAILED", each="FAILED")
    answer["ret"]["tasks"]["each"]["sub_group_index_to_status"] = {"1": "FAILED"}
    members = {"ret": {"tasks": {"each_1-in": {"name": "each_1-in", "status": "FAILED"}}}}
    answers = {path("get"): answer, path("get_by_parent"): members, path("redo"): DONE}
    with stand_in(**answers) as (url, _):
        code, printed, _ = run("redo", ID, *named, "--data", '{"n": 1}', "--url", url)
        assert run("redo", ID, *named, "--url", url)[1] == f"redone {ID}\n"
    assert (code, printed) == (0, f"redone {ID}{note}\n")


def test_a_service_without_such_an_execution_is_not_redone() -> None:
    with stand_in(**{LIST: {"items": [], "total": 0}, path("multi_redo"): DONE}) as (url, asked):
        printed = run("redo-many", "b:nope", "--url", url)
    assert printed == (0, "", "there is no failed execution of b:nope to redo\n")
    assert [one["query"].get("business") for one in asked] == ["b"]


def test_many_executions_of_a_service_are_done_again_by_the_server() -> None:
    options = ("--status", "running", "--task", "a", "-n", "5", "--rate", "7", "--code", "c")
    with stand_in(**{LIST: LISTED, path("multi_redo"): DONE}) as (url, asked):
        code, printed, _ = run("redo-many", "b:f", *options, "--url", url)
        assert run("redo-many", "b:f", "--status", "succeed", "--url", url)[0] == 2
        assert run("redo-many", "b", "--url", url)[:2] == (1, "")
        for third in ("beta", "md5_" + 32 * "0"):
            refused, _, told = run("redo-many", f"b:f:{third}", "--url", url)
            assert (refused, told.startswith("error: a service is business:feature")) == (1, True)
        assert run("redo-many", "b:f", "--task", "", "--url", url)[0] == 1
    told = "the server does up to 5 running executions of b:f again, from a where started\n"
    assert (code, printed) == (0, told)
    assert [one["query"] for one in asked if "service_id" in one["query"]] == [
        {
            "service_id": "b:f",
            "type": "running",
            "code": "c",
            "task_names": "a",
            "count": "5",
            "rate_limit": "7",
            "scope": "failed",
        }
    ]


def test_a_submission_has_the_key_that_it_is_given() -> None:
    with stand_in(**{path("submit"): {"execution_id": ID}}) as (url, asked):
        run("submit", "b:f", "--idempotency-key", "order-17", "--url", url)
    assert asked[0]["query"]["idempotency_key"] == "order-17"
