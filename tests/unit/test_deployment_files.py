"""The deployment files are ones that Ray takes, and say what the documents promise."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve._private import constants
from ray.serve.schema import ServeDeploySchema

ROOT: Final = Path(__file__).parents[2]
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
    ):
        assert f" {setting} " in start
        assert hasattr(constants, setting.partition("=")[0]), "Ray Serve knows this setting"


@pytest.mark.parametrize("commands", START_COMMANDS)
def test_every_machine_asks_for_the_token(cluster: dict[str, Any], commands: str) -> None:
    assert " RAY_AUTH_MODE=token " in cluster[commands][-1]


def test_serve_takes_the_deployment_file() -> None:
    content = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text(encoding="utf-8"))
    deployment = ServeDeploySchema.model_validate(content)
    assert [app.import_path for app in deployment.applications] == ["serve.app:app"]
    assert deployment.http_options.host == "127.0.0.1"
    assert deployment.http_options.port == 8080
