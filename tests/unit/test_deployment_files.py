"""The deployment files are ones that Ray takes, and say what the documents promise."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve._private import constants
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from rillflow.private_apis import serve_start
from rillflow.ray_certificates import variables
from rillflow.settings import Settings
from serve.app import app
from serve.stack.deployment_file import read_deployment_file
from serve.stack.ray_environment import PREFERENCES
from tests.cluster.ray_head import RayHead
from tests.cluster.ray_nodes import (
    BIN,
    FOR_TESTS,
    IMPATIENT,
    of_cluster_file,
    variables_of_nodes,
)

ROOT: Final = Path(__file__).parents[2]
OF_MACHINE: Final = variables(Path("$HOME") / ".ray" / "tls")
"""The variables of certificates, which each machine has of its own."""
START_COMMANDS: Final = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(name="cluster", scope="module")
def _cluster() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    return content


def test_the_cluster_launcher_takes_the_cluster_file(cluster: dict[str, Any]) -> None:
    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["cluster_name"] == "rillflow"


@pytest.mark.parametrize("commands", START_COMMANDS)
def test_every_machine_starts_with_the_fast_front(cluster: dict[str, Any], commands: str) -> None:
    start = cluster[commands][-1]
    for setting in (
        "RAY_SERVE_ENABLE_HA_PROXY=1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED=1",
        "RAY_SERVE_HAPROXY_NBTHREAD=1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED=0",
        "RAY_SERVE_HAPROXY_BINARY_PATH=$PWD/.venv/bin/rillflow-haproxy",
        f"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH={serve_start.__name__}:middlewares",
    ):
        assert f" {setting} " in start
        assert hasattr(constants, setting.partition("=")[0]), "Ray Serve knows this setting"


@pytest.mark.parametrize("commands", START_COMMANDS)
def test_a_replica_that_ends_does_not_wait_for_half_a_minute(
    cluster: dict[str, Any], commands: str
) -> None:
    name = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
    assert f" {name}=2 " in cluster[commands][-1]
    assert getattr(constants, name) > 2, "what Serve has without it"


@pytest.mark.parametrize("commands", START_COMMANDS)
def test_every_machine_asks_for_the_token(cluster: dict[str, Any], commands: str) -> None:
    assert " RAY_AUTH_MODE=token " in cluster[commands][-1]
    assert " RAY_enable_metrics_collection=0 " in cluster[commands][-1]


@pytest.mark.parametrize("commands", START_COMMANDS)
def test_no_machine_has_its_workers_give_way_to_others(
    cluster: dict[str, Any], commands: str
) -> None:
    assert " RAY_worker_niceness=0 " in cluster[commands][-1]


@pytest.mark.parametrize("commands", START_COMMANDS)
def test_ray_forgets_actors_that_ended_long_ago(cluster: dict[str, Any], commands: str) -> None:
    name = "RAY_maximum_gcs_destroyed_actor_cached_count"
    assert f" {name}={PREFERENCES[name]} " in cluster[commands][-1]
    # Ray takes a name that it does not know without a word.
    program = Path(ray.__file__).parent / "core" / "src" / "ray" / "gcs" / "gcs_server"
    assert name.encode() in program.read_bytes()


@pytest.mark.parametrize("commands", START_COMMANDS)
def test_the_nodes_of_tests_start_with_the_variables_of_the_cluster_file(
    cluster: dict[str, Any], commands: str
) -> None:
    start = cluster[commands][-1].replace("$PWD/.venv/bin", str(BIN))
    found = {name: value for name, value in variables_of_nodes().items() if name not in FOR_TESTS}
    assert len(found) > 15
    # A worker is not asked how often the head looks after nodes.
    missing = [name for name, value in found.items() if f" {name}={value} " not in start]
    assert missing == ([] if "--head" in start else list(IMPATIENT))
    assert all(f" {name}={value} " in start for name, value in OF_MACHINE.items())
    assert len(re.findall(r" RAY_\w+=", start)) == len(found) - len(missing) + len(OF_MACHINE)


def test_the_head_of_tests_with_serve_starts_with_the_variables_of_the_cluster_file(
    tmp_path: Path,
) -> None:
    told = RayHead(tmp_path).environment
    wanted = of_cluster_file()
    assert len(wanted) > 15
    assert {name: told.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("commands", START_COMMANDS)
def test_every_machine_makes_its_certificate_before_it_starts_ray(
    cluster: dict[str, Any], commands: str
) -> None:
    *before, _ = cluster[commands]
    assert before[-1].endswith("rillflow cluster certificates")
    assert cluster["file_mounts"]["~/.ray/authority"] == "~/.ray/authority"


@pytest.fixture(name="deployment", scope="module")
def _deployment() -> ServeDeploySchema:
    content = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text(encoding="utf-8"))
    return ServeDeploySchema.model_validate(content)


@pytest.fixture(name="cloud", scope="module")
def _cloud(cluster: dict[str, Any]) -> dict[str, Any]:
    """The cluster file with its commented part for a cloud in the place of the machines."""
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    commented = text[text.index("# provider:") : text.index("# The token opens")]
    part = yaml.safe_load(re.sub("(?m)^# ?", "", commented))
    return {**cluster, **part}


def test_the_cluster_launcher_takes_the_part_for_a_cloud(cloud: dict[str, Any]) -> None:
    validate_config(prepare_config(cloud))
    assert cloud["head_node_type"] in cloud["available_node_types"]
    assert cloud["max_workers"] == cloud["available_node_types"]["worker"]["max_workers"]


def test_there_is_a_machine_for_every_replica(
    deployment: ServeDeploySchema, cloud: dict[str, Any]
) -> None:
    [replicas] = deployment.applications[0].deployments
    scaling = replicas.autoscaling_config
    assert replicas.name == app._bound_deployment.name
    assert scaling["max_replicas"] == cloud["max_workers"] + 1
    assert replicas.ray_actor_options.num_cpus > 0, "or no machine is ever asked for"


def test_replicas_are_added_before_requests_are_refused(deployment: ServeDeploySchema) -> None:
    [replicas] = deployment.applications[0].deployments
    scaling = AutoscalingConfig(**replicas.autoscaling_config)
    most = app._bound_deployment._deployment_config.max_ongoing_requests
    assert scaling.target_ongoing_requests < most / 2


def test_the_settings_that_the_deployment_file_names_exist() -> None:
    text = (ROOT / "serve" / "config.yaml").read_text(encoding="utf-8")
    named = dict(re.findall(r'#   RILLFLOW_(\w+): "?([^"\s]+)', text))
    settings = Settings(**{name.lower(): value for name, value in named.items()})
    assert settings.actor_nodes == "reserved"
    assert settings.execution_actors == settings.dispatcher_actors == 5


def test_serve_takes_the_deployment_file(deployment: ServeDeploySchema) -> None:
    assert [app.import_path for app in deployment.applications] == ["serve.app:app"]
    assert deployment.http_options.host == "127.0.0.1"
    assert deployment.http_options.port == 8080


def _service() -> dict[str, Any]:
    text = (ROOT / "kuberay" / "rayservice.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    spec: dict[str, Any] = content["spec"]
    return spec


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    config = spec["rayClusterConfig"]
    groups = [config["headGroupSpec"], *config["workerGroupSpecs"]]
    return [each for group in groups for each in group["template"]["spec"]["containers"]]


def test_serve_takes_what_the_kubernetes_file_has_it_deploy(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(_service()["serveConfigV2"], encoding="utf-8")
    [application] = read_deployment_file(path).applications
    assert application.import_path == "serve.app:app"
    for name in application.runtime_env["env_vars"]:
        assert name.removeprefix("RILLFLOW_").lower() in Settings.model_fields


def test_pods_start_as_machines_of_the_cluster_file_do(cluster: dict[str, Any]) -> None:
    words = cluster["head_start_ray_commands"][-1].split()
    pairs = dict(word.partition("=")[::2] for word in words if word.startswith("RAY_"))
    given = {name: Path(value).name for name, value in pairs.items() if name not in OF_MACHINE}
    for container in _containers(_service()):
        variables = {each["name"]: each.get("value", "") for each in container["env"]}
        assert {name: Path(variables[name]).name for name in given} == given
        secrets = {each["name"] for each in container["env"] if "valueFrom" in each}
        assert secrets == {"RILLFLOW_STORE", "RILLFLOW_API_KEY", "RAY_AUTH_TOKEN"}


def test_pods_run_the_ray_that_this_release_is_locked_to() -> None:
    spec = _service()
    assert spec["rayClusterConfig"]["rayVersion"] == version("ray")
    assert {each["image"] for each in _containers(spec)} == {
        "registry.example.com/rillflow:" + version("rillflow")
    }
    assert spec["upgradeStrategy"] == {"type": "None"}


def test_a_dead_machine_is_noticed_as_in_the_tests_of_dead_nodes(cluster: dict[str, Any]) -> None:
    start = cluster["head_start_ray_commands"][-1]
    for name, value in IMPATIENT.items():
        assert f" {name}={value} " in start
