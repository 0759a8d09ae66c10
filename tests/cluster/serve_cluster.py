"""A Ray with one node on which ``serve deploy`` puts Rillflow, and what the API says of it."""

import json
import time
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from serve.listening import free_port
from tests.cluster.processes import ROOT
from tests.cluster.ray_head import RayHead

DEPLOY: Final = "serve deploy serve/config.yaml"
LONG_S: Final = 180
LOOK_S: Final = 0.5


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

    def applications(self) -> Any:
        """Return what ``serve status`` reads; the command takes seconds of a processor."""
        return json.loads(self.head.ask("/api/serve/applications/"))["applications"]

    def until_told(self, words: str) -> str:
        """Wait until ``serve status`` says these words of an application; return all it says."""
        give_up = time.monotonic() + LONG_S
        while True:
            if words in _words_of(self.applications()) and words in (told := self.status()):
                return told
            assert time.monotonic() < give_up, self.status()
            time.sleep(LOOK_S)

    def cluster(self) -> Any:
        """Return what the API says of the actors, None while it does not."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/flow/cluster.json", timeout=5)
            return answer.json() if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, json.JSONDecodeError):
            return None


def _words_of(applications: Any) -> str:
    """Return status and messages of applications, as ``serve status`` has them."""
    of_all = applications.values()
    deployments = [each for one in of_all for each in one["deployments"].values()]
    return "\n".join(
        f"status: {each['status']} {each['message']}" for each in [*of_all, *deployments]
    )
