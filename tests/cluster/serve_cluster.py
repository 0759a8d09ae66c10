"""A Ray with one node on which ``serve deploy`` puts Rillflow, and what the API says of it."""

import json
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from serve.listening import free_port
from tests.cluster.processes import ROOT
from tests.cluster.ray_head import RayHead

DEPLOY: Final = "serve deploy serve/config.yaml"


class ServeCluster:
    """A Ray with one node, on which Rillflow is deployed on SQLite with some settings."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.head = RayHead(folder, RILLFLOW_DATA_DIR=str(folder / "data"), **environment)
        (folder / "serve").mkdir()

    def deploy(self, **variables: str) -> None:
        """Deploy with these environment variables."""
        self.write(**variables)
        self.head.run(DEPLOY, self.folder)

    def control(self, command: str) -> str:
        """Run a subcommand of ``rillflow cluster``; return what it wrote."""
        return self.head.run(f"rillflow cluster {command}", self.folder)

    def write(self, working_dir: str = "", **variables: str) -> None:
        """Write the deployment file with these environment variables.

        Ray brings the code in ``working_dir`` to the nodes, where one is named.
        """
        text = (ROOT / "serve" / "config.yaml").read_text(encoding="utf-8")
        config = yaml.safe_load(text.replace("8080", str(self.port)))
        environment = {"working_dir": working_dir} if working_dir else {}
        config["applications"][0]["runtime_env"] = {"env_vars": variables, **environment}
        # Rolled out at once: a replica that waits for its processors would wait for the old one.
        deployment = config["applications"][0]["deployments"][0]
        deployment["ray_actor_options"] = {"num_cpus": 0}
        deployment["max_surge_percent"] = 100
        path = self.folder / "serve" / "config.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def status(self) -> str:
        """Return what Serve says of the application."""
        return self.head.run("serve status", self.folder)

    def cluster(self) -> Any:
        """Return what the API says of the actors, None while it does not."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/flow/cluster.json", timeout=5)
            return answer.json() if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, json.JSONDecodeError):
            return None
