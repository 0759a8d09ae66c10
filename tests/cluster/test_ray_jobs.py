"""A task runs a job of the settings by ``ray-job://name``.

The job goes on when whoever has ordered it dies, and is found again; what nobody waits for any more
is stopped. So are functions, as Ray's own list shows.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Api, Json
from tests.cluster.processes import LOOK_S, kill, wait_until_gone, workers
from tests.cluster.ray_flows import calling
from tests.cluster.ray_stack import GPU_WORKFLOW, VISION, begun, calls_in, failure
from tests.cluster.serve_cluster import ServeCluster

pytestmark = [pytest.mark.cluster, pytest.mark.long]

SCRIPT: Final = Path(__file__).with_name("ray_job.py")
SECRET: Final = "a-secret-of-44-characters-that-nobody-knows"
WAIT_S: Final = 55.0
GIVES_UP_S: Final = 4
"""So soon Ray gives up a job that waits for resources; by default after 15 minutes."""
HEAD: Final = "node:__internal_head__"
"""A resource of which a Ray has 1."""


@pytest.fixture(name="cluster", scope="module")
def _cluster() -> Iterator[ServeCluster]:
    jobs = {
        "noted": {"entrypoint": f"{sys.executable} {SCRIPT}", "runtime_env": "own"},
        "unknown": {"entrypoint": "true", "runtime_env": "none"},
    }
    with tempfile.TemporaryDirectory(prefix="rj") as name:
        cluster = ServeCluster(Path(name), RAY_JOB_START_TIMEOUT_SECONDS=str(GIVES_UP_S))
        try:
            cluster.head.start(num_gpus=1)
            (Path(name) / "vision.py").write_text(VISION, encoding="utf-8")
            cluster.deploy(
                RILLFLOW_SECRET_TOKEN=SECRET,
                RILLFLOW_RAY_JOBS=json.dumps(jobs),
                RILLFLOW_RAY_MODULES="ray_functions,vision",
                RILLFLOW_RAY_PATH=f"{SCRIPT.parent},{name}",
                RILLFLOW_RAY_RUNTIME_ENVS=json.dumps({"own": {"env_vars": {"OF_THE_JOB": "own"}}}),
            )
            cluster.head.wait_until_ready(cluster.port)
            yield cluster
        finally:
            cluster.head.kill()


@pytest.fixture(name="api", scope="module")
def _api(cluster: ServeCluster) -> Iterator[Api]:
    with Api(f"http://127.0.0.1:{cluster.port}") as api:
        yield api


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "starts"


def _submit(api: Api, given: Json, job: str = "noted", **more: Json) -> str:
    return api.submit(calling(f"ray-job://{job}", given, **more), given)


def test_a_job_has_its_input_and_environment_and_its_log_is_found_from_the_task(
    api: Api, file: Path
) -> None:
    execution_id = _submit(api, {"file": str(file), "text": SECRET}, pattern="task_async")
    ended = api.end(execution_id, WAIT_S)
    assert ended.status == "SUCCEED", ended.shown
    output = ended.context["output"]
    assert output["submission_id"].startswith("rillflow-")
    assert output == {**output, "status": "SUCCEEDED", "exit_code": 0}
    assert len(calls_in(file)) == 1
    shown = api.ask("GET", "/flow/logs.json", execution_id=execution_id, task_name="call").body
    [stream] = shown["ret"]["streams"]
    assert "begun ${secret:TOKEN} own\n" in stream["text"]


def test_a_job_that_fails_fails_the_attempt_and_is_retried_as_its_author_says(
    api: Api, file: Path
) -> None:
    retry = {"maxRetryTimes": 1, "conditions": ["$.output.error[?(@.type == 'JobFailed')]"]}
    given = {"file": str(file), "code": 1, "text": SECRET}
    told = failure(api.end(_submit(api, given, retry=retry), WAIT_S))
    assert told["msg"].startswith("JobFailed: ")
    assert told["output"]["exit_code"] == 1
    assert SECRET not in json.dumps(told["output"])
    assert len(calls_in(file)) == 2


def test_a_job_goes_on_when_who_has_ordered_it_dies_and_is_begun_once(
    cluster: ServeCluster, api: Api, file: Path
) -> None:
    execution_id = _submit(api, {"file": str(file), "seconds": 12})
    [pid] = begun(file)
    kill(
        *(
            pid
            for name in ("DispatcherActor", "ExecutionActor")
            for pid in workers(cluster.head.pid, name)
        )
    )
    ended = api.end(execution_id, WAIT_S)
    assert ended.status == "SUCCEED", ended.shown
    assert calls_in(file) == [pid]


def test_a_cancellation_stops_a_job(api: Api, file: Path) -> None:
    execution_id = _submit(api, {"file": str(file), "seconds": 600})
    [pid] = begun(file)
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    wait_until_gone(pid)


def test_a_cancellation_while_its_dispatcher_is_dead_stops_a_job(
    cluster: ServeCluster, api: Api, file: Path
) -> None:
    execution_id = _submit(api, {"file": str(file), "seconds": 600})
    [pid] = begun(file)
    kill(*workers(cluster.head.pid, "DispatcherActor"))
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    wait_until_gone(pid)


def test_the_end_of_its_time_stops_a_job(api: Api, file: Path) -> None:
    given = {"file": str(file), "seconds": 600}
    execution_id = _submit(api, given, timeline={"timeoutInSeconds": 30})
    [pid] = begun(file)
    assert failure(api.end(execution_id, WAIT_S))["msg"] == "timeout"
    wait_until_gone(pid)


@pytest.mark.parametrize(
    ("job", "given", "told"),
    [
        ("other", {}, "the setting ray_jobs has no job 'other'"),
        ("noted;true", {}, "the setting ray_jobs has no job 'noted;true'"),
        ("unknown", {}, "there is no runtime environment none"),
        ("noted", {"text": "x" * 100_000}, "the input has 100011 bytes of JSON, and a job can be"),
    ],
)
def test_what_cannot_be_run_is_told(api: Api, job: str, given: Json, told: str) -> None:
    assert told in failure(api.end(_submit(api, given, job), WAIT_S))["msg"]


def test_a_job_that_waits_is_shown_and_nothing_is_left_in_the_end(api: Api, file: Path) -> None:
    give_up = time.monotonic() + WAIT_S
    execution_id = _submit(api, {"file": str(file), "seconds": 3})
    begun(file)
    dispatchers = api.ask("GET", "/flow/gateways.json").body["dispatchers"]
    assert "ray-job://noted" in [each["host"] for one in dispatchers for each in one["hosts"]]
    assert api.end(execution_id, WAIT_S).status == "SUCCEED"
    while any(
        each["under_way"]
        for one in api.ask("GET", "/flow/gateways.json").body["dispatchers"]
        for each in one["hosts"]
    ):
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)


def test_a_job_waits_for_its_resources_longer_than_ray_lets_it(api: Api, file: Path) -> None:
    options = {"resources": {HEAD: 0.6}, "max_system_retries": 0}
    first = _submit(api, {"file": str(file), "seconds": 4 * GIVES_UP_S}, rayOptions=options)
    begun(file)
    second = _submit(api, {"file": str(file)}, rayOptions=options)
    for each in (first, second):
        ended = api.end(each, WAIT_S)
        assert ended.status == "SUCCEED", ended.shown
    assert len(calls_in(file)) == 2


def test_a_job_that_no_node_can_run_is_told_while_it_waits(api: Api, file: Path) -> None:
    options = {"num_gpus": 8, "label_selector": {"zone": "in(a, b)"}}
    execution_id = _submit(api, {"file": str(file)}, rayOptions=options)
    give_up = time.monotonic() + WAIT_S
    lacks = "a node with CPU 1, GPU 8, label zone=in(a, b)"
    while not any(f"{lacks}, and none has it" in each for each in _reasons(api, execution_id)):
        assert time.monotonic() < give_up, _reasons(api, execution_id)
        time.sleep(LOOK_S)
    dispatchers = api.ask("GET", "/flow/gateways.json").body["dispatchers"]
    assert f"ray-job://noted waits for {lacks}: none has it (calls: 1)" in [
        text for one in dispatchers for each in one["hosts"] for text in each.get("warnings", [])
    ]
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    assert not file.exists()


def _reasons(api: Api, execution_id: str) -> list[str]:
    body = api.ask("GET", "/flow/console/v1/waits.json", execution_id=execution_id).body
    return [each["sentence"] for each in body["waits"]]


def test_a_function_that_asks_for_a_gpu_is_told_which_it_may_use(api: Api) -> None:
    ended = api.end(api.submit(GPU_WORKFLOW), WAIT_S)
    assert ended.status == "SUCCEED", ended.shown
    assert ended.context["devices"] == "0"


# -- nothing is left behind -----------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_rays_list_of_tasks_has_no_function_that_was_cancelled_or_timed_out(
    cluster: ServeCluster, api: Api, tmp_path: Path, pattern: str
) -> None:
    ids = []
    ways: dict[str, Json] = {"cancelled": {}, "timed_out": {"timeline": {"timeoutInSeconds": 20}}}
    for name, more in ways.items():
        given = {"file": str(tmp_path / name), "seconds": 600}
        # Together they ask for one processor, as another workspace may have called lately.
        more["rayOptions"] = {"num_cpus": 0.5}
        text = calling("ray://ray_functions:sleeps", given, pattern=pattern, **more)
        ids.append(api.submit(text, given))
        begun(tmp_path / name)
    assert _unfinished(cluster), "Ray's list shows what runs"
    assert api.ask("POST", "/flow/cancel.json", execution_id=ids[0]).status == 200
    assert failure(api.end(ids[1], WAIT_S))["msg"] == "timeout"
    give_up = time.monotonic() + WAIT_S
    while left := _unfinished(cluster):
        assert time.monotonic() < give_up, left
        time.sleep(LOOK_S)


def _unfinished(cluster: ServeCluster) -> list[Json]:
    """Return what `ray list` shows of functions and task actors that have not ended."""
    listed = "ray list {} --format json --limit 1000"
    tasks = json.loads(cluster.head.run(listed.format("tasks")))
    actors = json.loads(cluster.head.run(listed.format("actors")))
    return [
        each
        for each in (*tasks, *actors)
        if each["state"] not in {"FINISHED", "FAILED", "DEAD"}
        and ("ray_functions" in each["name"] or each.get("class_name") == "TaskActor")
    ]
