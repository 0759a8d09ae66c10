"""A task calls a Python function in a Ray worker by ``ray://module:function``.

Its input are the function's arguments, its output what the function returns. What the settings do
not allow is not called, and what nobody waits for any more does not go on.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Api, Json
from tests.cluster.processes import LOOK_S, ROOT, OwnStack, kill, wait_until_gone, workers
from tests.cluster.ray_flows import calls_at, fan_out
from tests.cluster.ray_stack import (
    AUTH_SECRET,
    LOGS,
    SECRET,
    WAIT_S,
    begun,
    calls_in,
    failure,
    flow,
    has_ended,
    log_of,
    ray_stack,
    run,
)

pytestmark = pytest.mark.cluster

FRAMES: Final = 160
"""Some seconds of a film, in which a busy machine is asked about it more than once."""


@pytest.fixture(name="own", scope="module")
def _own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    with ray_stack(tmp_path_factory.mktemp("ray")) as own:
        yield own


@pytest.fixture(name="api", scope="module")
def _api(own: OwnStack) -> Iterator[Api]:
    with Api(own.base_url) as api:
        yield api


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
@pytest.mark.parametrize(
    ("function", "given", "output"),
    [
        ("area", {"size": {"width": 3}, "times": "2"}, {"data": 12}),
        ("doubled", {"size": {"width": "3"}}, {"width": 6, "height": 4}),
        ("later", {"text": "soon"}, {"data": ["soon"]}),
        ("steps", {"count": 3}, {"steps": 3}),
        ("remote", {}, {"data": "called"}),
    ],
)
def test_a_result_is_the_output_of_the_task(
    api: Api, pattern: str, function: str, given: Json, output: Json
) -> None:
    ended = run(api, function, given, pattern=pattern)
    assert ended.status == "SUCCEED", ended.shown
    assert ended.context["output"] == output


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_a_file_goes_from_one_function_to_the_next_by_its_reference(api: Api, pattern: str) -> None:
    drawn = run(api, "drawn", {"text": "a film"}, pattern=pattern)
    reference = drawn.context["output"]
    assert reference.pop("rillflow_artifact")
    assert reference == {"bytes": 6, "media_type": "application/octet-stream", "name": "artifact"}
    given = drawn.context["output"] | {"rillflow_artifact": hashlib.sha256(b"a film").hexdigest()}
    ended = run(api, "measured", {"data": given}, pattern=pattern)
    assert ended.context["output"] == {"text": "a film", "bytes": 6, "again": given}
    assert ended.shown["artifacts"] == {"count": 1, "bytes": 6}
    lost = run(api, "measured", {"data": given | {"rillflow_artifact": "0" * 64}}, pattern=pattern)
    assert "the artifact artifact (000000000000) is gone" in failure(lost)["msg"]


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_what_is_no_exception_of_python_is_told_and_decoded_nowhere(
    api: Api, file: Path, pattern: str
) -> None:
    retry = {"maxRetryTimes": 1, "conditions": ["$.output.error[?(@.type == 'EndsError')]"]}
    invoke = failure(run(api, "ends", {"file": str(file)}, pattern=pattern, retry=retry))
    assert invoke["output"]["error"]["type"] == "EndsError"
    assert len(calls_in(file)) == 2  # by the retry; an object that is decoded adds a line


def test_nothing_is_a_success_without_output(api: Api) -> None:
    ended = run(api, "nothing")
    assert ended.status == "SUCCEED"
    assert "output" not in ended.context


def test_an_input_that_does_not_fit_fails_the_task_by_the_name_of_the_parameter(api: Api) -> None:
    told = failure(run(api, "area", {"size": {"width": "wide"}, "tims": 2}))["msg"]
    assert "the input size is an object, and its parameter has the type Size" in told
    assert "at size.width" in told
    assert "the input has tims, and the parameters are size, times; did you mean `times`?" in told


def test_an_exception_fails_the_task_with_its_type_message_and_traceback(
    api: Api, file: Path
) -> None:
    invoke = failure(run(api, "wrong", {"file": str(file)}))
    assert invoke["msg"] == "ValueError: call 1 is wrong"
    error = invoke["output"]["error"]
    assert error["type"] == "ValueError"
    assert error["message"] == "call 1 is wrong"
    assert 'in wrong\n    raise ValueError(f"call {_note(file)} is wrong")' in error["traceback"]
    assert "rillflow/ray_tasks" not in error["traceback"]


RETRY: Final = {
    "maxRetryTimes": 5,
    "conditions": ["$.output.error[?(@.type == 'BusyError')]"],
}


def test_a_retry_may_depend_on_the_type_of_the_exception(api: Api, file: Path) -> None:
    ended = run(api, "busy", {"file": str(file), "ready_at": 3}, retry=RETRY)
    assert ended.context["output"] == {"data": 3}


def test_an_exception_that_no_condition_of_the_retry_names_is_final(api: Api, file: Path) -> None:
    failure(run(api, "wrong", {"file": str(file)}, retry=RETRY))
    assert len(calls_in(file)) == 1


def test_a_tolerated_exception_lets_the_execution_succeed(api: Api, file: Path) -> None:
    assert run(api, "wrong", {"file": str(file)}, tolerance=True).status == "SUCCEED"


def test_a_function_gets_no_credentials_of_the_server_by_its_environment(api: Api) -> None:
    given = json.dumps(run(api, "environment", {}).context)
    assert "OF_THE_USER" in given
    assert SECRET not in given
    assert AUTH_SECRET not in given
    assert "RILLFLOW_SECRET" not in given


def test_a_secret_in_an_exception_is_masked_wherever_it_is_shown(api: Api) -> None:
    secret = {"source": "${secret:TOKEN}", "target": "$.input.secret"}
    ended = run(api, "tell", inputMappings=[secret])
    assert "the secret is" in failure(ended)["msg"]
    assert SECRET not in str(ended.shown)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("os:getcwd", "the setting ray_modules does not allow the module os"),
        ("ray_functions.more:area", "No module named 'ray_functions.more'"),
        ("ray_functions:check_output", "the module subprocess, which the setting ray_modules does"),
        ("ray_functions:Size", "the module ray_functions has no function Size"),
        ("ray_functions:_note", "'ray_functions:_note' names no function"),
        ("ray_functions", "'ray_functions' names no function"),
    ],
)
def test_what_the_settings_do_not_allow_is_not_called(api: Api, function: str, told: str) -> None:
    text = flow(function, {})
    assert told in failure(api.end(api.submit(text), WAIT_S))["msg"]


def test_a_function_runs_in_an_ordinary_worker_in_the_folder_and_environment_of_the_stack(
    api: Api,
) -> None:
    assert run(api, "surroundings").context["output"] == {
        "folder": str(ROOT),
        "variable": "kept",
        "parent": "raylet",
        "is_serve_loaded": False,
        "cpus": 1.0,
    }


def test_a_function_gets_the_resources_and_the_environment_of_its_options(api: Api) -> None:
    options = {"num_cpus": 0.5, "runtime_env": "painted", "max_calls": 1, "memory": 1_000_000}
    output = run(api, "surroundings", rayOptions=options).context["output"]
    assert output["cpus"] == 0.5
    assert output["variable"] == "painted"
    assert output["parent"] == "raylet"


def test_a_runtime_environment_that_the_settings_do_not_have_fails_the_task(api: Api) -> None:
    ended = run(api, "nothing", rayOptions={"runtime_env": "unknown"})
    assert failure(ended)["msg"] == "there is no runtime environment unknown"


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_a_runtime_environment_that_cannot_be_set_up_is_told_as_what_it_is(
    api: Api, pattern: str
) -> None:
    ended = run(api, "nothing", pattern=pattern, rayOptions={"runtime_env": "broken"})
    told = failure(ended)["msg"]
    assert told == (
        "system failure: the runtime environment could not be set up; the log has the reason"
    )


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_what_no_node_has_is_shown_while_the_task_waits_for_it(api: Api, pattern: str) -> None:
    options = {"num_gpus": 8, "resources": {"disk": 2}}
    text = flow("ray_functions:nothing", {}, pattern=pattern, rayOptions=options)
    execution_id = api.submit(text)
    wanted = (
        "ray://ray_functions:nothing waits for a node with CPU 1, GPU 8, disk 2: none has it"
        " (calls: 1)"
    )
    give_up = time.monotonic() + WAIT_S
    while wanted not in _warnings(api):
        assert time.monotonic() < give_up, _warnings(api)
        time.sleep(LOOK_S)
    shown = api.ask("GET", "/flow/console/v1/waits.json", execution_id=execution_id).body["waits"]
    assert "a node with CPU 1, GPU 8, disk 2, and none has it" in shown[0]["sentence"]
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    while _warnings(api):
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)


def _warnings(api: Api) -> list[str]:
    [dispatcher] = api.ask("GET", "/flow/gateways.json").body["dispatchers"]
    return [text for host in dispatcher["hosts"] for text in host.get("warnings", [])]


def test_a_worker_ends_after_as_many_calls_as_its_options_say(api: Api, file: Path) -> None:
    given, options = {"file": str(file), "times": 0}, {"max_calls": 1}
    for _ in range(2):
        assert run(api, "dies", given, rayOptions=options).status == "SUCCEED"
    assert len(set(calls_in(file))) == 2


def test_a_large_result_arrives_and_a_too_large_one_fails_the_task(api: Api) -> None:
    ended = run(api, "large", {"count": 1_000_000})
    assert ended.context["output"] == {"data": "x" * 1_000_000}
    told = failure(run(api, "large", {"count": 11_000_000}))["msg"]
    assert "the result has 11000011 bytes of JSON, and 10485760 are allowed" in told


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_a_large_input_arrives(api: Api, pattern: str) -> None:
    ended = run(api, "later", {"text": "x" * 1_000_000}, pattern=pattern)
    assert ended.context["output"] == {"data": ["x" * 1_000_000]}


def test_a_worker_that_died_is_repeated_without_the_retries_of_the_author(
    api: Api, file: Path
) -> None:
    ended = run(api, "dies", {"file": str(file), "times": 2})
    assert ended.context["output"] == {"data": 3}
    assert len(ended.task("call")["invoke_msg"]["invoke_time_infos"]) == 1


def test_a_worker_that_dies_again_and_again_is_a_system_failure(api: Api, file: Path) -> None:
    told = failure(run(api, "dies", {"file": str(file), "times": 9}))["msg"]
    assert told.startswith("system failure, after 3 repetitions: the process of the worker died")
    # Ray may give a call to an idle worker that it ends just then, in which it does not begin.
    assert len(calls_in(file)) in {3, 4}


def test_a_failure_of_ray_is_repeated_as_often_as_the_options_say(api: Api, file: Path) -> None:
    given, options = {"file": str(file), "times": 9}, {"max_system_retries": 0}
    told = failure(run(api, "dies", given, rayOptions=options))["msg"]
    assert told.startswith("system failure: the process of the worker died")
    assert len(calls_in(file)) == 1


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_calls_that_no_processor_limits_have_a_limit_of_their_own(
    api: Api, file: Path, pattern: str
) -> None:
    given = {"text": "waits for the file", "file": str(file)}
    options = {"num_cpus": 0, "num_gpus": 0}
    text = flow("ray_functions:prints", given, pattern=pattern, rayOptions=options)
    ids = [api.submit(text, given) for _ in range(5)]
    give_up = time.monotonic() + WAIT_S
    while calls_at(api, "ray://") != (2, 3):
        assert time.monotonic() < give_up, calls_at(api, "ray://")
        time.sleep(LOOK_S)
    file.touch()
    assert all(api.end(each, WAIT_S).status == "SUCCEED" for each in ids)


def test_the_end_of_its_time_ends_a_function(api: Api, file: Path) -> None:
    given = {"file": str(file), "seconds": 60}
    run(api, "nothing")  # so that a worker is there
    told = failure(run(api, "sleeps", given, timeline={"timeoutInSeconds": 15}))["msg"]
    assert told == "timeout"
    [pid] = begun(file)
    has_ended(pid, "ray_functions:sleeps")


@pytest.mark.parametrize("function", ["sleeps", "stubborn", "with_child"])
def test_a_cancellation_ends_a_function_or_else_its_worker(
    api: Api, file: Path, function: str
) -> None:
    given = {"file": str(file), **({"seconds": 60} if function == "sleeps" else {})}
    execution_id = api.submit(flow(f"ray_functions:{function}", given), given)
    [pid] = begun(file)
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    has_ended(pid, f"ray_functions:{function}")


def test_a_function_that_waits_for_a_processor_is_cancelled_and_never_begins(
    api: Api, file: Path
) -> None:
    given, cpus = {"file": str(file)}, os.cpu_count() or 1
    text = flow("ray_functions:holds", given)
    before = [api.submit(text, given) for _ in range(cpus)]
    give_up = time.monotonic() + WAIT_S
    while len(begun(file)) < cpus:
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)
    other = file.with_name("other")
    never = {"file": str(other), "seconds": 0}
    waits = api.submit(flow("ray_functions:sleeps", never), never)
    assert api.ask("POST", "/flow/cancel.json", execution_id=waits).status == 200
    while calls_at(api, "ray://") != (cpus, 0):
        assert time.monotonic() < give_up, calls_at(api, "ray://")
        time.sleep(LOOK_S)
    Path(f"{file}.go").touch()
    assert all(api.end(each, WAIT_S).status == "SUCCEED" for each in before)
    assert run(api, "nothing").status == "SUCCEED"
    assert not other.exists()


def test_a_call_is_made_again_as_the_same_attempt_when_its_dispatcher_dies(
    own: OwnStack, api: Api, file: Path
) -> None:
    given = {"file": str(file), "seconds": 4}
    execution_id = api.submit(flow("ray_functions:sleeps", given), given)
    [first] = begun(file)
    kill(*workers(own.pid, "DispatcherActor"))
    ended = api.end(execution_id, WAIT_S)
    assert ended.context["output"] == {"data": "slept"}
    # Ray may begin the second call in a worker that it is about to end, as one of the dead actor.
    assert len(calls_in(file)) in {2, 3}
    wait_until_gone(first)


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_the_progress_of_a_function_is_shown_while_it_runs(api: Api, pattern: str) -> None:
    given = {"frames": FRAMES}
    execution_id = api.submit(flow("film:render", given, pattern=pattern), given)
    seen: dict[float, str] = {}
    give_up = time.monotonic() + WAIT_S
    while len(seen) < 2:
        assert time.monotonic() < give_up, seen
        shown = api.ask("GET", "/flow/get.json", execution_id=execution_id).body["ret"]
        progress = shown["tasks"]["call"].get("progress")
        if progress is not None:
            seen[progress["fraction"]] = progress["message"]
            assert shown["process"] == int(100 * progress["fraction"]) or len(seen) > 1
        time.sleep(LOOK_S)
    told = {part: f"frame {round(FRAMES * part)} of {FRAMES}" for part in seen}
    assert seen == told
    ended = api.end(execution_id, WAIT_S)
    assert ended.context["output"] == {"frames": FRAMES}
    assert run(api, "film:cut", {"frames": 3}).context["output"] == {"data": 3}


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_what_a_function_prints_is_found_from_its_task(
    own: OwnStack, api: Api, pattern: str
) -> None:
    run(api, "prints", {"text": "of another"}, pattern=pattern)
    ended = run(api, "prints", {"text": "of this one", "secret": SECRET}, pattern=pattern)
    assert log_of(api, ended.execution_id) == {
        "out": "of this one ${secret:TOKEN}\n",
        "err": "logged of this one\n",
    }
    command = LOGS.replace('"$id"', ended.execution_id).replace("film", "call").split()
    shown = subprocess.run(
        [sys.executable, "-m", "rillflow.cli", *command[1:], "--url", own.base_url],
        timeout=WAIT_S,
        check=True,
        capture_output=True,
        text=True,
    )
    assert (shown.stdout, shown.stderr) == ("of this one ${secret:TOKEN}\n", "logged of this one\n")
    assert log_of(api, run(api, "nothing", pattern=pattern).execution_id) == {}


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_what_a_function_prints_is_found_while_it_runs(api: Api, file: Path, pattern: str) -> None:
    given = {"text": "soon", "file": str(file)}
    execution_id = api.submit(flow("ray_functions:prints", given, pattern=pattern), given)
    give_up = time.monotonic() + WAIT_S
    while not (found := log_of(api, execution_id)):
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)
    assert found == {"out": "soon \n", "err": "logged soon\n"}
    file.touch()
    assert api.end(execution_id, WAIT_S).status == "SUCCEED"


def test_what_a_worker_prints_after_a_cancelled_call_is_not_of_that_call(api: Api) -> None:
    given = {"text": "cancelled", "seconds": 60}
    cancelled = api.submit(flow("ray_functions:says", given), given)
    give_up = time.monotonic() + WAIT_S
    while not (found := log_of(api, cancelled)):
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)
    pid = int(found["out"].split()[0])
    assert api.ask("POST", "/flow/cancel.json", execution_id=cancelled).status == 200
    given, pids = {"text": "later", "seconds": 0.1}, set[int]()
    text = flow("ray_functions:says", given)
    while pid not in pids and Path(f"/proc/{pid}").exists():  # Ray may have ended it
        assert time.monotonic() < give_up, (pid, pids)
        ids = [api.submit(text, given) for _ in range(4)]
        pids |= {api.end(each, WAIT_S).context["output"]["data"] for each in ids}
    assert log_of(api, cancelled)["out"] == f"{pid} cancelled\n"


def test_calls_of_a_quick_function_share_ray_tasks(api: Api) -> None:
    numbers = list(range(300))
    give_up = time.monotonic() + WAIT_S
    ray_tasks = len(numbers)
    while ray_tasks == len(numbers):  # on a busy machine no function is quick now and then
        assert time.monotonic() < give_up
        ended = api.end(api.submit(fan_out("ray_task"), {"numbers": numbers}), WAIT_S)
        assert ended.status == "SUCCEED", ended.shown
        assert [number for number, _ in ended.context["done"]] == numbers
        ray_tasks = len({ray_task for _, ray_task in ended.context["done"]})


def test_a_call_does_not_wait_for_all_calls_of_another_workspace(api: Api) -> None:
    many = fan_out("sleeps_briefly").replace("workspace: ray", "workspace: many")
    first = api.submit(many, {"numbers": list(range(2_000))})
    give_up = time.monotonic() + WAIT_S
    while calls_at(api, "ray://")[1] < 100:
        assert time.monotonic() < give_up, calls_at(api, "ray://")
        time.sleep(LOOK_S)
    assert run(api, "nothing").status == "SUCCEED"
    assert calls_at(api, "ray://")[1] > 0, "the other workspace still has calls that wait"
    assert api.ask("POST", "/flow/cancel.json", execution_id=first).status == 200
    while calls_at(api, "ray://") != (0, 0):
        assert time.monotonic() < give_up, calls_at(api, "ray://")
        time.sleep(LOOK_S)


# -- batches ----------------------------------------------------------------------------------


def test_ten_thousand_items_take_few_calls(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    data = {"numbers": list(range(10_000)), "file": str(file)}
    ended = api.end(api.submit(fan_out("many", rayOptions={"batch": 500}), data), WAIT_S)
    assert ended.status == "SUCCEED"
    assert ended.context["done"] == list(range(10_000))
    sizes = list(map(int, file.read_text(encoding="ascii").split()))
    assert sum(sizes) == 10_000
    assert max(sizes) <= 500
    assert len(sizes) < 1_000


def test_one_item_fails_and_is_retried_alone(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    text = fan_out("many", rayOptions={"batch": 100}, retry={"maxRetryTimes": 2}, tolerance=True)
    data = {"numbers": list(range(50)), "file": str(file), "fails": 7}
    ended = api.end(api.submit(text, data), WAIT_S)
    assert ended.status == "SUCCEED", ended.shown
    assert ended.context["done"] == [None if number == 7 else number for number in range(50)]
    assert sum(map(int, file.read_text(encoding="ascii").split())) == 52


def test_a_batch_ends_when_all_of_its_tasks_are_over(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    text = fan_out("slowly", rayOptions={"batch": 3}, timeline={"timeoutInSeconds": 15})
    ended = api.end(api.submit(text, {"numbers": [1, 2, 3], "file": str(file)}), WAIT_S)
    assert ended.status == "FAILED"
    assert "timeout" in json.dumps(ended.shown)
    [pid] = begun(file)
    has_ended(pid, "slowly")


def test_cancelling_an_execution_ends_its_batch(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "calls"
    text = fan_out("slowly", rayOptions={"batch": 3})
    execution_id = api.submit(text, {"numbers": [1, 2, 3], "file": str(file)})
    [pid] = begun(file)
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    has_ended(pid, "slowly")
