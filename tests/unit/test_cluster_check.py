"""What keeps a deployment from running on some nodes is told in one sentence for each cause."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from ray.serve.schema import ServeApplicationSchema

from rillflow.runtime.process.environment_findings import (
    Finding,
    lacking,
    lacking_at_head,
    unencrypted,
)
from serve.stack.cluster_check import (
    NodeReport,
    callback_findings,
    check,
    findings,
    misnamed,
    not_joined,
)
from serve.stack.node_probe import probe, silent_callbacks
from serve.stack.ray_environment import PREFERENCES
from tests.loopback import closed_port
from tests.unit.commands import stand_in

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


def test_a_ray_that_does_not_encrypt_is_told_where_others_reach_it() -> None:
    [told] = unencrypted({}, "10.0.0.1")
    assert "RAY_USE_TLS=1 on 10.0.0.1" in told.sentence
    assert not told.is_error
    assert unencrypted({}, "127.0.0.1") == []
    for given in ("1", "true", "True"):
        assert unencrypted({"RAY_USE_TLS": given}, "10.0.0.1") == []
    assert unencrypted({"RAY_USE_TLS": "0"}, "10.0.0.1")


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
    done = subprocess.run(  # noqa: S603 - our own program
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


def test_a_head_without_checks_of_its_nodes_is_warned_of_and_no_other_node_is() -> None:
    head = {**WELL, "is_head": True, "health_checks": ["RAY_health_check_period_ms"]}
    other = {**WELL, "is_head": False, "health_checks": []}
    nodes = [NodeReport("10.0.0.1", head), NodeReport("10.0.0.2", other)]
    [found] = findings(nodes, LOOPBACK)
    assert not found.is_error
    assert found.sentence.startswith("node 10.0.0.1: Ray's head was started without RAY_health_")
    assert "RAY_health_check_period_ms" not in found.sentence


def test_the_head_of_our_example_lacks_nothing() -> None:
    example = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    started = example["head_start_ray_commands"][-1].split()
    assert lacking_at_head([each.partition("=")[0] for each in started]) == []


def test_a_variable_that_looks_like_a_setting_is_told_once_for_all_nodes() -> None:
    told = "there is no setting RILLFLOW_EXECUTION_ACTOR; did you mean RILLFLOW_EXECUTION_ACTORS?"
    mistyped = {**WELL, "unknown": [told]}
    nodes = [NodeReport("10.0.0.1", mistyped), NodeReport("10.0.0.2", mistyped)]
    assert list(findings(nodes, LOOPBACK)) == [Finding(told, is_error=False)]


def test_a_deployment_that_the_application_does_not_have_is_an_error() -> None:
    application = {"name": "rillflow", "import_path": "serve.app:app"}
    deployments = [{"name": "rillflow-ap"}, {"name": "rillflow-api"}]
    schema = ServeApplicationSchema.model_validate({**application, "deployments": deployments})
    [found] = misnamed(schema)
    assert found.is_error
    assert found.sentence == (
        "the application rillflow has no deployment rillflow-ap: its name is rillflow-api"
    )


def test_a_node_tells_what_is_mistyped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RILLFLOW_EXECUTION_ACTOR", "2")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    facts = probe("serve.app:app")
    assert "did you mean RILLFLOW_EXECUTION_ACTORS?" in " ".join(facts["unknown"])
    assert facts["health_checks"] == ["RAY_health_check_period_ms"]
    problem = "import_path serve.app:ap: serve.app has no ap; that of Rillflow is serve.app:app"
    assert probe("serve.app:ap")["problem"] == problem


def test_a_store_that_nobody_answers_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = f"127.0.0.1:{closed_port()}/flows"
    monkeypatch.setenv("RILLFLOW_STORE", f"postgresql://somebody:s3cret@{place}")
    problem = probe("serve.app:app")["problem"]
    assert problem.startswith("the store cannot be used (RILLFLOW_STORE): PostgreSQL: ")
    step = f"; see that something answers at postgresql://somebody:***@{place} from this node"
    assert problem.endswith(f"{step}, or correct RILLFLOW_STORE")


def test_an_address_for_callbacks_that_does_not_answer_is_told_with_the_nodes() -> None:
    silent = {"silent": "http://flows:8080"}
    nodes = [NodeReport("10.0.0.1", silent), NodeReport("10.0.0.2", {})]
    nodes.append(NodeReport("10.0.0.3", silent))
    [found] = callback_findings(nodes)
    assert not found.is_error
    assert "http://flows:8080 does not answer from node 10.0.0.1, 10.0.0.3" in found.sentence


def test_a_node_tells_whether_callbacks_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert silent_callbacks(0.1) == {}
    url = f"http://{LOOPBACK}:{closed_port()}"
    monkeypatch.setenv("RILLFLOW_SERVER_HOST", url)
    assert silent_callbacks(0.1) == {"silent": url}
    with stand_in(**{"flow__trigger.json": (400, {})}) as (server, _):
        monkeypatch.setenv("RILLFLOW_SERVER_HOST", server)
        assert silent_callbacks(10) == {}


def test_a_node_with_a_release_that_cannot_tell_everything_is_no_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RILLFLOW_EXECUTION_ACTOR", "2")
    for later in ("rillflow.unknown_settings", "rillflow.stores.urls"):
        monkeypatch.setitem(sys.modules, later, None)
    facts = probe("serve.app:app")
    assert "problem" not in facts
    assert facts["unknown"] == []
    monkeypatch.setenv("RILLFLOW_STORE", f"postgresql://a:s3cret@127.0.0.1:{closed_port()}/flows")
    problem = probe("serve.app:app")["problem"]
    assert "the store cannot be used (RILLFLOW_STORE): PostgreSQL: " in problem
    assert "s3cret" not in problem
