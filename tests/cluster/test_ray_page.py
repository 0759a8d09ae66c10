"""``docs/ray.md`` shows what works: its commands, workflows and script are run as they stand."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Api
from tests.cluster.processes import LOOK_S, OwnStack
from tests.cluster.ray_flows import calls_at, fan_out
from tests.cluster.ray_head import BASH
from tests.cluster.ray_stack import (
    GPU_WORKFLOW,
    JOINING,
    RUN,
    WAIT_S,
    WORKFLOWS,
    flow,
    ray_stack,
    run,
)

pytestmark = pytest.mark.cluster

MOST_TRIES: Final = 10
WITHOUT_GPU: Final = "The call of look waits for a node with CPU 1, GPU 1, and none has it"


@pytest.fixture(name="own", scope="module")
def _own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    with ray_stack(tmp_path_factory.mktemp("ray")) as own:
        yield own


@pytest.fixture(name="api", scope="module")
def _api(own: OwnStack) -> Iterator[Api]:
    with Api(own.base_url) as api:
        yield api


@pytest.mark.parametrize("text", WORKFLOWS)
def test_what_the_page_shows_runs(api: Api, text: str) -> None:
    photos = [{"name": "a", "light": 2}, {"name": "b", "light": "4"}]
    data = {"count": 3, "topic": "sea", "photos": photos}
    ended = api.end(api.submit(text, data), WAIT_S)
    assert ended.status == "SUCCEED", ended.shown
    if "rating:rate" in text:
        assert ended.context["stars"] == [2.5, 5.0]


def test_calls_that_last_for_long_leave_a_processor_to_those_of_another_workspace(
    api: Api, tmp_path: Path
) -> None:
    file = tmp_path / "calls"
    assert run(api, "nothing").status == "SUCCEED"
    long = fan_out("holds").replace("workspace: ray", "workspace: many")
    first = api.submit(long, {"numbers": list(range(20)), "file": str(file)})
    give_up = time.monotonic() + WAIT_S
    while sum(calls_at(api, "ray://")) < 20:
        assert time.monotonic() < give_up, calls_at(api, "ray://")
        time.sleep(LOOK_S)
    assert run(api, "nothing").status == "SUCCEED"
    assert sum(calls_at(api, "ray://")) == 20, "the other workspace has all of its calls still"
    Path(f"{file}.go").touch()
    assert api.end(first, WAIT_S).status == "SUCCEED"


def test_the_script_of_the_page_gives_what_its_workflow_gives(own: OwnStack) -> None:
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    said = subprocess.run(
        [BASH, "-euc", JOINING],
        stdout=subprocess.PIPE,
        cwd=own.data_dir.parent,
        env={**own.environment, "PATH": programs, "RILLFLOW_DATA_DIR": str(own.data_dir)},
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert said.stdout.split()[-1] == "3.0"


def test_the_commands_of_the_page_run_its_workflow(own: OwnStack) -> None:
    said = subprocess.run(
        [BASH, "-euc", RUN.replace("rillflow ", f"{sys.executable} -m rillflow.cli ")],
        stdout=subprocess.PIPE,
        cwd=own.data_dir.parent,
        env={**own.environment, "RILLFLOW_URL": own.base_url},
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert '"seconds": 4.5' in said.stdout


def test_ray_calls_a_function_of_the_kit_as_docs_functions_says(api: Api) -> None:
    ended = run(api, "greetings:greet", {"name": "Bob", "times": 2})
    assert ended.context["output"] == {"greeting": "Hello, Bob!, Hello, Bob!"}


def test_what_a_call_of_another_workspace_has_left_is_in_no_log(api: Api, tmp_path: Path) -> None:
    options = {"rayOptions": {"runtime_env": "painted"}}  # which has few workers
    pids = [(0, 1)]
    while len(set(pids[-1])) > 1:
        assert len(pids) < MOST_TRIES, pids
        given = {"file": str(tmp_path / str(len(pids)))}
        left = run(api, "leaves", given, **options)
        text = flow("ray_functions:hears", given, **options)
        others = text.replace("workspace: ray", "workspace: others")
        heard = api.end(api.submit(others, given), WAIT_S)
        assert _log(api, heard.execution_id) == {"out": "own\n"}
        pids.append((left.context["output"]["data"], heard.context["output"]["data"]))


def _log(api: Api, execution_id: str) -> dict[str, str]:
    body = api.ask("GET", "/flow/logs.json", execution_id=execution_id, task_name="call").body
    return {each["name"]: each["text"] for each in body["ret"].get("streams", [])}


def test_the_gpu_workflow_of_the_page_waits_without_a_gpu_and_says_so(api: Api) -> None:
    execution_id = api.submit(GPU_WORKFLOW)
    give_up = time.monotonic() + WAIT_S
    while not any(WITHOUT_GPU in each for each in _reasons(api, execution_id)):
        assert time.monotonic() < give_up, _reasons(api, execution_id)
        time.sleep(LOOK_S)
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200


def _reasons(api: Api, execution_id: str) -> list[str]:
    body = api.ask("GET", "/flow/console/v1/waits.json", execution_id=execution_id).body
    return [each["sentence"] for each in body["waits"]]
