"""``rillflow cluster check`` asks the nodes of a real cluster, in the environment of the file."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster.processes import ROOT
from tests.cluster.ray_nodes import IMPATIENT, RayNodes
from tests.loopback import closed_port
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.cluster, pytest.mark.long]

DRIVER: Final = Path(__file__).with_name("deploying_driver.py")
COMMAND: Final = (sys.executable, "-m", "rillflow.cli", "cluster", "check")
WELL: Final = "nothing keeps this deployment from running"

DELAY: Final = "RAY_health_check_initial_delay_ms"


@pytest.fixture(name="nodes", scope="module")
def _nodes(server: PostgresServer) -> Iterator[RayNodes]:
    with tempfile.TemporaryDirectory(prefix="rfc-", dir="/tmp") as folder:
        health = {name: value for name, value in IMPATIENT.items() if name != DELAY}
        nodes = RayNodes(Path(folder), server.new_database(), driver=DRIVER, health=health)
        try:
            yield nodes
        finally:
            nodes.stop()


def _file(folder: Path, variables: dict[str, str], **changes: Any) -> Path:
    config = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text(encoding="utf-8"))
    config["applications"][0]["runtime_env"] = {"env_vars": variables}
    config["applications"][0].update(changes)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _check(nodes: RayNodes, path: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [*COMMAND, str(path), "--address", nodes.address],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=nodes.environment,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_a_deployment_that_fits_is_told_so(
    nodes: RayNodes, server: PostgresServer, tmp_path: Path
) -> None:
    path = _file(tmp_path, {"RILLFLOW_STORE": server.new_database()})
    code, lines = _check(nodes, path)
    assert (code, lines[-1]) == (0, WELL)
    assert {line.partition(" ")[0] for line in lines[:-1]} == {"warning"}
    lacks = ("RAY_SERVE_HAPROXY_BINARY_PATH", DELAY, "RAY_USE_TLS=1")
    assert all(any(name in line for name in lacks) for line in lines[:-1])
    assert sum(DELAY in line for line in lines[:-1]) == 1, "only the head is asked for them"


def test_a_store_that_cannot_be_reached_is_told_of_every_node(
    nodes: RayNodes, tmp_path: Path
) -> None:
    url = f"postgresql://somebody:s3cret@127.0.0.1:{closed_port()}/none"
    code, lines = _check(nodes, _file(tmp_path, {"RILLFLOW_STORE": url}))
    assert code == 1
    assert "the store cannot be used (RILLFLOW_STORE): PostgreSQL: " in lines[0]
    assert url.replace("s3cret", "***") in lines[0]
    assert "s3cret" not in str(lines)


def test_a_wrong_setting_is_told(nodes: RayNodes, tmp_path: Path) -> None:
    code, lines = _check(nodes, _file(tmp_path, {"RILLFLOW_EXECUTION_ACTORS": "many"}))
    assert code == 1
    assert "the setting execution_actors is wrong" in lines[0]


def test_a_mistyped_setting_is_told_and_a_mistyped_name_keeps_it_from_running(
    nodes: RayNodes, server: PostgresServer, tmp_path: Path
) -> None:
    variables = {"RILLFLOW_STORE": server.new_database(), "RILLFLOW_EXECUTION_ACTOR": "2"}
    code, lines = _check(nodes, _file(tmp_path, variables, deployments=[{"name": "rillflow-ap"}]))
    assert code == 1
    assert "has no deployment rillflow-ap" in lines[0]
    assert [line for line in lines if "did you mean RILLFLOW_EXECUTION_ACTORS?" in line]


def test_a_package_that_a_node_lacks_is_named(nodes: RayNodes, tmp_path: Path) -> None:
    path = _file(tmp_path, {"RILLFLOW_DATA_DIR": str(tmp_path)}, import_path="serve.gone:app")
    code, lines = _check(nodes, path)
    assert code == 1
    assert "the Python package serve.gone is missing: install it there, or ship it by" in lines[0]


def test_a_mistyped_file_is_told_before_anybody_is_asked(nodes: RayNodes, tmp_path: Path) -> None:
    text = _file(tmp_path, {}).read_text(encoding="utf-8")
    path = tmp_path / "mistyped.yaml"
    path.write_text(text.replace("http_options:", "http_option:"), encoding="utf-8")
    code, lines = _check(nodes, path)
    assert (code, len(lines)) == (1, 1)
    assert "there is no field http_option, did you mean http_options?" in lines[0]


ASK: Final = """
import sys
from pathlib import Path
from serve.stack.cluster_check import joined, unreached_callbacks
from serve.stack.deployment_file import read_deployment_file
with joined(sys.argv[1]):
    for each in unreached_callbacks(read_deployment_file(Path(sys.argv[2]))):
        print(each.sentence)
"""


def test_an_address_for_callbacks_that_nobody_answers_is_told_with_each_node(
    nodes: RayNodes, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    path = _file(tmp_path, {"RILLFLOW_SERVER_HOST": url, "RILLFLOW_DATA_DIR": str(tmp_path)})
    done = subprocess.run(
        [sys.executable, "-c", ASK, nodes.address, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=nodes.environment,
        check=True,
    )
    [line] = done.stdout.splitlines()
    assert line.startswith(f"the address for callbacks {url} does not answer from node ")
    assert line.partition(", so results")[0].count(", ") == 1, "there are two nodes"
