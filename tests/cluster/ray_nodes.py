"""A Ray of several nodes on one machine, each with a raylet of its own, without Serve."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from rillflow.ray_certificates import variables
from serve.listening import free_port
from tests.cluster.driving import ANSWER
from tests.cluster.processes import LOOK_S, ROOT, descendants, kill, wait_until_gone

RAY: Final = str(Path(sys.executable).with_name("ray"))
DRIVER: Final = Path(__file__).with_name("node_driver.py")
START_S: Final = 240.0
STARTED: Final = "--block"
BIN: Final = Path(sys.executable).parent
# What a machine of its own has, and a part of a test has not: Ray's idle workers, and its reports.
FOR_TESTS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}
# As cluster.yaml: a node that has died is taken for dead after some 3 s, a silent one after 9 s.
IMPATIENT: Final = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
CERTIFICATES: Final = frozenset(variables(Path()))
# Ray notices the death of a node within the hours after a test.
DEAF: Final = IMPATIENT | {"RAY_health_check_failure_threshold": "10000"}


def of_cluster_file(commands: str = "head_start_ray_commands") -> dict[str, str]:
    """Return the variables with which ``cluster.yaml`` has machines start Ray.

    Those of certificates are left out: tests that need certificates make some.
    """
    content = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    words = re.findall(r"(RAY_\w+)=(\S+)", content[commands][-1])
    pairs = {name: value.replace("$PWD/.venv/bin", str(BIN)) for name, value in words}
    return {name: value for name, value in pairs.items() if name not in CERTIFICATES}


def variables_of_nodes(health: Mapping[str, str] = IMPATIENT) -> dict[str, str]:
    """Return the variables of the nodes of tests: those of ``cluster.yaml``, with other checks."""
    own = {name: value for name, value in of_cluster_file().items() if name not in IMPATIENT}
    return {**own, **FOR_TESTS, **health}


class RayNode:
    """One node as ``ray start`` in a folder makes it: a raylet and all processes below it."""

    def __init__(
        self, log: Path, environment: Mapping[str, str], *options: str, cwd: Path = ROOT
    ) -> None:
        command = [
            *(RAY, "start", "--block", "--num-cpus=2"),
            *(f"--object-store-memory={80 * 1024 * 1024}", "--min-worker-port=0"),
            *("--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}"),
            *options,
        ]
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=cwd, env=environment
            )
        self._wait_until_started()

    @property
    def pids(self) -> list[int]:
        """All processes of the node."""
        return [self._process.pid, *descendants(self._process.pid)]

    def kill(self) -> None:
        """Kill the whole node, as a power cut would."""
        pids = self.pids
        kill(*pids)
        self._process.wait()
        wait_until_gone(*pids)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the node."""
        for pid in self.pids:
            os.kill(pid, number)

    def _wait_until_started(self) -> None:
        give_up = time.monotonic() + START_S
        while STARTED not in (words := self._log.read_text(encoding="utf-8", errors="replace")):
            assert self._process.poll() is None, words
            assert time.monotonic() < give_up, words
            time.sleep(LOOK_S)


class RayNodes:
    """A head, a driver on it, and other nodes.

    Args:
        folder: Where everything is kept; its path must be short.
        store: URL of the store of the executions.
        others: How many nodes beside the head there are at first.
        driver: The script that joins and carries out what it is asked.
        told: More that it is told by its command line.
        health: How soon Ray notices that a node has died.
    """

    def __init__(
        self,
        folder: Path,
        store: str,
        *,
        others: int = 1,
        driver: Path = DRIVER,
        told: Sequence[str] = (),
        health: Mapping[str, str] = IMPATIENT,
    ) -> None:
        token = folder / "token"
        token.write_text(secrets.token_hex(32), encoding="ascii")
        self._folder = folder
        self._others = others
        self._script = str(driver)
        self._told = store, *told
        self._clusters = 0
        self._started = 0
        self._address = ""
        self._environment = {
            **os.environ,
            **variables_of_nodes(health),
            "RAY_AUTH_TOKEN_PATH": str(token),
            "PYTHONPATH": str(ROOT),
        }
        self._nodes: list[RayNode] = []
        self._driver: subprocess.Popen[str] | None = None
        try:
            self.begin_cluster()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """Where drivers join."""
        return self._address

    @property
    def environment(self) -> dict[str, str]:
        """What drivers need to be let in."""
        return self._environment

    @property
    def other(self) -> RayNode:
        """The node beside the head."""
        return self._nodes[-1]

    @property
    def others(self) -> Sequence[RayNode]:
        """The nodes beside the head of the first cluster."""
        return self._nodes[1:]

    def replace(self, node: RayNode) -> None:
        """Start another node in the place of one that was killed."""
        self._nodes.remove(node)
        self.add()

    def begin_cluster(self) -> None:
        """Start a head, a driver and other nodes, which know of no earlier ones."""
        self._clusters += 1
        port = free_port()
        self._address = f"127.0.0.1:{port}"
        self._nodes.append(self._head(port))
        # The driver joins while its cluster has no other node on this machine.
        self._driver = self._started_driver()
        for _ in range(self._others):
            self.add()

    def add(self) -> None:
        """Start another node."""
        self._started += 1
        log = self._log(f"node{self._started}-")
        self._nodes.append(RayNode(log, self._environment, f"--address={self._address}"))

    def kill_head(self) -> None:
        """Kill the head of the cluster and the driver on it, as a power cut would."""
        self._nodes[-2].kill()
        self._kill_driver()

    def ask(self, command: str) -> Any:
        """Have the driver carry out a command, see its script."""
        assert self._driver is not None
        assert self._driver.stdin is not None
        self._driver.stdin.write(command + "\n")
        self._driver.stdin.flush()
        return self._answer(self._driver)

    def stop(self) -> None:
        """End everything."""
        self._kill_driver()
        for node in reversed(self._nodes):
            node.kill()

    def _kill_driver(self) -> None:
        if self._driver is not None:
            self._driver.kill()
            self._driver.communicate()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}{self._clusters}.log"

    def _head(self, port: int) -> RayNode:
        return RayNode(
            self._log("head"),
            self._environment,
            *("--head", f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"),
            f"--temp-dir={self._folder / f'ray{self._clusters}'}",
        )

    def _started_driver(self) -> subprocess.Popen[str]:
        with self._log("driver").open("wb") as log:
            driver = subprocess.Popen(
                [sys.executable, self._script, self._address, *self._told],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=self._environment,
            )
        assert self._answer(driver) == "joined"
        return driver

    def _answer(self, driver: subprocess.Popen[str]) -> Any:
        assert driver.stdout is not None
        for line in driver.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        raise AssertionError(self._log("driver").read_text(encoding="utf-8"))
