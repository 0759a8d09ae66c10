"""A job gets its input in a variable and in a file, and a name that tells no execution's id."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from rillflow.errors import GatewayError
from rillflow.jsontypes import encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.task_logs import NAME
from rillflow.ray_tasks.jobs.gateway import RayJobGateway, submission_id
from rillflow.ray_tasks.jobs.server import (
    MOST_INPUT_BYTES,
    Jobs,
    _client,
    command_of,
    environment_of,
)
from rillflow.ray_tasks.progress import ProgressReports
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.targets import job_name
from rillflow.setting_values import RayJob
from rillflow.settings import Settings
from tests.spec.documented import blocks_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "ray.md"
WAIT_S: Final = 60.0
HOSTILE: Final = {"text": "$(touch hurt) `touch hurt` '\"; touch hurt #\n\\"}


def ran(entrypoint: str, given: Any, folder: str) -> subprocess.CompletedProcess[str]:
    environment = environment_of({}, json.dumps(given).encode())["env_vars"]
    return subprocess.run(  # noqa: S603 - a command from below
        ["/bin/bash", "-c", command_of(entrypoint)],
        env={**os.environ, **environment, "TMPDIR": folder},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_ray_puts_no_variable_of_the_node_into_the_input() -> None:
    given = {"$HOME": ["${HOME}", "$RILLFLOW_NAMES_NOTHING", "costs $5", "\\$HOME", "é$"]}
    variables = environment_of({}, json.dumps(given).encode())["env_vars"]
    code = (
        "import json, os, sys; from ray._private.utils import update_envs;"
        "update_envs(json.load(sys.stdin)); print(os.environ['RILLFLOW_INPUT'])"
    )
    ran = subprocess.run(  # noqa: S603 - in a process of its own, whose environment is changed
        [sys.executable, "-c", code],
        input=json.dumps(variables),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == given


def test_a_job_gets_no_credentials_of_the_server() -> None:
    inherited = ("RILLFLOW_SECRET_TOKEN", "rillflow_auth_secret", "RILLFLOW_API_KEY", "OF_THE_USER")
    chosen = {"env_vars": {"RILLFLOW_API_KEY": "for this job"}}
    variables = environment_of(chosen, b"{}", inherited=inherited)["env_vars"]
    assert variables["RILLFLOW_SECRET_TOKEN"] == variables["rillflow_auth_secret"] == ""
    assert variables["RILLFLOW_API_KEY"] == "for this job"
    assert "OF_THE_USER" not in variables


def test_the_input_is_in_a_file_that_is_gone_after_the_job(tmp_path: Any) -> None:
    ended = ran('cat "$RILLFLOW_INPUT_FILE"; echo; echo "$RILLFLOW_INPUT"', HOSTILE, str(tmp_path))
    first, second = ended.stdout.splitlines()
    assert json.loads(first) == json.loads(second) == HOSTILE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("entrypoint", ["exit 3", "false || exit 3", "sh -c 'exit 3'"])
def test_a_job_ends_with_the_code_of_its_command(tmp_path: Any, entrypoint: str) -> None:
    assert ran(entrypoint, {}, str(tmp_path)).returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_no_variable_can_have_is_refused() -> None:
    fields = b"x" * MOST_INPUT_BYTES
    variables = environment_of({"pip": ["a"], "env_vars": {"A": "1"}}, fields)
    assert variables == {"pip": ["a"], "env_vars": {"A": "1", "RILLFLOW_INPUT": fields.decode()}}
    traced = environment_of({}, b"{}", "00-1")
    assert traced["env_vars"] == {"TRACEPARENT": "00-1", "RILLFLOW_INPUT": "{}"}
    with pytest.raises(GatewayError, match="the input has 98305 bytes of JSON, and a job can be"):
        environment_of({}, fields + b"x")


def test_the_name_of_a_job_is_that_of_its_attempt_and_tells_no_id() -> None:
    call = ("b:f_c_01890a5d", "A", 1, 0)
    name = submission_id(call, 0)
    assert name == submission_id(call, 0)
    others = {submission_id(call, 1), submission_id(("b:f_c_01890a5d", "A", 2, 0), 0)}
    assert len(others | {name}) == 3
    assert "01890a5d" not in name
    assert NAME.fullmatch(f"job-driver-{name}.log")


@pytest.mark.parametrize("name", ["", "other", "trained", "train/../other", "train "])
def test_only_jobs_of_the_settings_are_run(name: str) -> None:
    assert job_name("ray-job://train", {"train": 1}) == "train"
    with pytest.raises(GatewayError, match="the setting ray_jobs has no job"):
        job_name(f"ray-job://{name}", {"train": 1})


@pytest.mark.parametrize("address", ["LOCALHOST:1234", "127.0.0.1:6379"])
def test_a_ray_on_a_loopback_address_has_no_job_server(address: str) -> None:
    with pytest.raises(ConnectionError):
        _client(address)


async def test_without_a_job_server_the_failure_says_so() -> None:
    def ask(_: Any) -> None:
        raise ConnectionError("refused")

    jobs = Jobs()
    jobs._client = object()
    with pytest.raises(GatewayError, match="this Ray has no job server"):
        await jobs._ask("w", ask)


class SlowClient:
    """A client whose server answers once it may; it tells which jobs it was asked for."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.asked: list[str] = []

    def get_job_info(self, submission_id: str) -> str:
        self.asked.append(submission_id)
        if submission_id.startswith("many") and not self.may_answer.wait(WAIT_S):
            raise RuntimeError("nobody lets it answer")
        return submission_id


async def test_questions_for_the_jobs_of_a_workspace_leave_threads_to_others() -> None:
    jobs, client = Jobs(), SlowClient()
    jobs._client = client
    many = [asyncio.create_task(jobs.info(f"many {number}", "many")) for number in range(20)]
    async with asyncio.timeout(WAIT_S / 2):
        assert await jobs.info("other", "few") == "other"
    assert len([each for each in client.asked if each.startswith("many")]) <= 2
    client.may_answer.set()
    assert await asyncio.gather(*many) == [f"many {number}" for number in range(20)]


class JobServer(Jobs):
    """A job server that ends the jobs of one attempt, one after the other, as it is told."""

    def __init__(self, *ends: str) -> None:
        """End them by errors of Ray; an empty text is a success, ``RUNNING`` is no end."""
        super().__init__()
        self._ends = ends
        self.submitted: dict[str, tuple[str, dict[str, Any]]] = {}
        self.stopped: list[str] = []

    async def info(self, submission_id: str, _: str) -> JobDetails | None:
        if submission_id not in self.submitted:
            return None
        end, status = self.submitted[submission_id][0], JobStatus.FAILED
        if end in ("", "RUNNING"):
            status = JobStatus.RUNNING if end else JobStatus.SUCCEEDED
        return JobDetails(
            type=JobType.SUBMISSION,
            submission_id=submission_id,
            status=status,
            entrypoint="true",
            error_type=end or None,
            driver_exit_code=None if end else 0,
        )

    async def submit(
        self,
        submission_id: str,
        command: str,
        environment: dict[str, Any],
        given: dict[str, Any],
        workspace: str,
    ) -> None:
        del command, environment, workspace
        self.submitted[submission_id] = self._ends[len(self.submitted)], given

    async def stop(self, submission_id: str, _: str) -> None:
        self.stopped.append(submission_id)


LATE: Final = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
DIED: Final = "JOB_SUPERVISOR_ACTOR_DIED"


def _gateway(server: Jobs) -> RayJobGateway:
    gateway = RayJobGateway(RaySettings(jobs={"train": ("true", None)}), ProgressReports())
    gateway._jobs = server
    return gateway


def _request(**options: Any) -> DispatchRequest:
    return DispatchRequest(
        execution_id="b:f_c_1",
        task="A",
        attempt=1,
        pattern="task_sync",
        resource_name="ray-job://train",
        input=b"{}",
        ray_options=encode_json(options),
    )


async def run_job(server: Jobs, **options: Any) -> DispatchAnswer:
    """Make an attempt at a job on a job server."""
    gateway = _gateway(server)
    answer = await gateway.call(_request(**options))
    await gateway.close()
    return answer


async def test_a_job_that_ray_gives_up_before_it_has_begun_goes_on_to_wait() -> None:
    server = JobServer(*(LATE for _ in range(9)), "")
    answer = await run_job(server, max_system_retries=0)
    assert answer.error is None
    assert len(server.submitted) == 10


@pytest.mark.parametrize(
    ("retries", "told"), [(0, ""), (2, ", after 2 repetitions"), (6, ", after 6 repetitions")]
)
async def test_a_job_that_ray_loses_is_run_again_as_often_as_its_options_say(
    retries: int, told: str
) -> None:
    server = JobServer(LATE, *(DIED for _ in range(20)))
    answer = await run_job(server, max_system_retries=retries)
    assert answer.error == f"system failure{told}: Ray has lost the job"
    assert len(server.submitted) == 2 + retries


async def test_a_cancellation_stops_the_job_that_runs_however_many_were_lost_before() -> None:
    server = JobServer(*(DIED for _ in range(8)), "RUNNING")
    gateway, request = _gateway(server), _request(max_system_retries=20)
    call = asyncio.create_task(gateway.call(request))
    async with asyncio.timeout(60):
        while len(server.submitted) < 9:  # noqa: ASYNC110 - until the ninth one runs
            await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call})
    await gateway.close()
    assert server.stopped == [submission_id(request.call, 8)]


async def test_a_job_gets_the_resources_of_its_options() -> None:
    server = JobServer("")
    await run_job(server, num_gpus=1, resources={"disk": 2}, accelerator_type="A100", memory=1e9)
    [(_, given)] = server.submitted.values()
    assert given == {
        "entrypoint_num_cpus": 1,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 1_000_000_000,
        "entrypoint_resources": {"disk": 2, "accelerator_type:A100": 0.001},
    }


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"entrypoint": ""},
        {"entrypoint": "a", "runtime_env": {"pip": []}},
        {"entrypoint": "a", "runtime_env": "../a"},
        {"entrypoint": "a", "other": 1},
    ],
)
def test_a_job_that_is_set_up_wrongly_is_refused(job: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        RayJob.model_validate(job)


def test_the_settings_that_the_page_shows_are_those_of_a_job() -> None:
    blocks = blocks_of(PAGE.read_text(encoding="utf-8"))
    [text] = [block.text for block in blocks if block.info == "toml"]
    settings = Settings(**tomllib.loads(text))
    assert settings.ray_jobs == {
        "train": RayJob(entrypoint="python train.py", runtime_env="vision")
    }
