"""A job gets its input in a variable and in a file, and a name that tells no execution's id."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.errors import GatewayError
from rillflow.ports.task_logs import NAME
from rillflow.ray_tasks.job_gateway import submission_id
from rillflow.ray_tasks.jobs import MOST_INPUT_BYTES, Jobs, _client, command_of, environment_of
from rillflow.ray_tasks.targets import job_name
from rillflow.setting_values import RayJob
from rillflow.settings import Settings
from tests.spec.documented import blocks_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "ray.md"
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
        await jobs._ask(ask)


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
