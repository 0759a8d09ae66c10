"""What keeps a deployment from running on some nodes is told in one sentence for each cause."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.runtime.process.environment_findings import Finding, lacking
from serve.stack.cluster_check import NodeReport, check, findings, not_joined
from serve.stack.ray_environment import PREFERENCES
from tests.loopback import closed_port

ROOT: Final = Path(__file__).parents[2]
LOOPBACK: Final = "127.0.0.1"
WELL: Final[dict[str, Any]] = {
    "host": "one",
    "code": "1/1",
    "lacks": [],
    "is_file": False,
    "exposed": True,
    "guessable": [],
}


def _errors(*facts: dict[str, Any], host: str = LOOPBACK) -> list[str]:
    nodes = [NodeReport(f"10.0.0.{number}", each) for number, each in enumerate(facts, start=1)]
    return [each.sentence for each in findings(nodes, host) if each.is_error]


def test_nodes_that_are_well_have_no_findings() -> None:
    assert _errors(WELL, {**WELL, "host": "two"}) == []


def test_a_problem_of_a_node_is_told_with_the_node() -> None:
    missing = {"host": "two", "problem": "the Python package serve is missing: install it there"}
    [told] = _errors(WELL, missing)
    assert told == "node 10.0.0.2: the Python package serve is missing: install it there"


def test_nodes_with_different_code_are_told_which() -> None:
    [told] = _errors(WELL, {**WELL, "host": "two", "code": "2/1"})
    assert "10.0.0.1 has 1/1, 10.0.0.2 has 2/1" in told


def test_sqlite_is_for_one_machine_and_not_for_two() -> None:
    file = {**WELL, "is_file": True}
    assert _errors(file, file) == []
    [told] = _errors(file, {**file, "host": "two"})
    assert told.endswith("this cluster has 2: set RILLFLOW_STORE=postgresql://...")


def test_an_address_for_everybody_needs_a_key() -> None:
    [told] = _errors(WELL, host="0.0.0.0")
    assert told.startswith("http_options.host is 0.0.0.0, and there is no RILLFLOW_API_KEY")
    assert _errors({**WELL, "exposed": False}, host="0.0.0.0") == []


def test_a_key_that_can_be_guessed_is_an_error_where_others_may_try_it() -> None:
    short = {**WELL, "exposed": False, "guessable": ["api_key can be guessed: take a longer one"]}
    assert _errors(short, short, host="0.0.0.0") == ["api_key can be guessed: take a longer one"]
    assert _errors(short) == []
    assert [each.sentence for each in findings([NodeReport("10.0.0.1", short)], LOOPBACK)]


def test_a_ray_without_a_token_is_an_error_and_one_with_a_slow_front_costs_something() -> None:
    started = {**PREFERENCES, "RAY_SERVE_HAPROXY_BINARY_PATH": "/bin/rillflow-haproxy"}
    assert lacking(started) == []
    bare = lacking({})
    assert [each.is_error for each in bare] == [True, False, False, False]
    assert "RAY_AUTH_MODE=token" in bare[0].sentence
    found = list(findings([NodeReport("10.0.0.1", {**WELL, "lacks": bare})], LOOPBACK))
    assert found[0] == Finding(f"node 10.0.0.1: {bare[0].sentence}", is_error=True)


@pytest.mark.parametrize(
    "variable",
    [
        "RAY_AUTH_MODE",
        "RAY_SERVE_ENABLE_HA_PROXY",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
        "RAY_SERVE_HAPROXY_BINARY_PATH",
    ],
)
def test_each_variable_of_ray_that_is_missing_is_named(variable: str) -> None:
    started = {**PREFERENCES, "RAY_SERVE_HAPROXY_BINARY_PATH": "/bin/rillflow-haproxy"}
    del started[variable]
    [lack] = lacking(started)
    assert variable in lack.sentence


def test_a_file_that_is_not_there_is_told_before_a_cluster_is_looked_for(tmp_path: Path) -> None:
    [found] = check(tmp_path / "nosuch.yaml", "127.0.0.1:1")
    assert "nosuch.yaml" in found.sentence


@pytest.mark.parametrize("listens", [True, False])
def test_a_cluster_that_does_not_let_one_in_is_told_apart_from_one_that_is_not_there(
    *, listens: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if listens else closed_port()
        told = not_joined(f"Failed to connect to Ray cluster at 127.0.0.1:{port}")
    assert ("RAY_AUTH_TOKEN_PATH" in told) == listens
    assert ("start Ray first" in told) != listens


COMMANDS: Final = {
    "check": ["check", "serve/config.yaml"],
    "deploy": ["deploy", "serve/config.yaml"],
    "upgrade": ["upgrade", "serve/config.yaml"],
    "stop": ["stop"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_address_at_which_nothing_listens_is_told_without_a_try_of_ray(command: str) -> None:
    address = f"{LOOPBACK}:{closed_port()}"
    done = subprocess.run(
        [sys.executable, "-m", "rillflow.cli", "cluster", *COMMANDS[command]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": address},
        timeout=100,  # Ray itself tries for longer
        check=False,
    )
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).splitlines()
    assert f"nothing listens at {address}. Start Ray first, as cluster.yaml does" in line
