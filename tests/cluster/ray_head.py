"""A Ray of one machine, as ``cluster.yaml`` has its head start, that shares nothing with others."""

import http.client
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import httpx

from serve.listening import free_port, free_ports
from serve.stack.ray_environment import INGRESS_PORTS, own_places
from tests.cluster.processes import LOOK_S, ROOT, descendants, kill, wait_until_gone
from tests.cluster.ray_nodes import BIN, CERTIFICATES, variables_of_nodes

BASH: Final = "/bin/bash"
FRONT: Final = BIN / "rillflow-haproxy"
START_S: Final = 240.0


class RayHead:
    """The head, and commands that find it as they would find the only one on a machine.

    Args:
        folder: Where everything is kept; its path must be short.
        environment: For the head and the commands.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        token = folder / "token"
        self._token = secrets.token_hex(32)
        token.write_text(self._token, encoding="ascii")
        places = own_places(folder, free_port(), free_ports(INGRESS_PORTS), FRONT)
        self._gcs, self._dashboard = free_port(), free_port()
        self._folder = folder
        self.log = folder / "head.log"
        self._environment = {
            **os.environ,
            **variables_of_nodes(),
            **places,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Id of the process that was started."""
        assert self._process is not None
        return self._process.pid

    def start(self, cwd: Path = ROOT, *, num_gpus: int = 0) -> None:
        """Start it and wait until its dashboard takes commands.

        Serve imports what is in the folder in which it is started before all else.

        Args:
            cwd: The folder in which it is started.
            num_gpus: How many GPUs Ray counts, whether or not there are any.
        """
        command = [
            *("ray", "start", "--head", "--block", "--disable-usage-stats"),
            f"--port={self._gcs}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self._dashboard}",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--ray-client-server-port={free_port()}",
            f"--temp-dir={self._folder / 'ray'}",
            f"--object-store-memory={100 * 1024 * 1024}",
            f"--num-gpus={num_gpus}",
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, cwd=cwd
            )
        self._wait(self._process, self._dashboard, "/api/version", wanted=(200, 401))

    def set_by(self, commands: str) -> None:
        """Have the head, and commands after this, have what shell commands export."""
        told = self.run(f"{commands}\nenv -0", self._folder)
        pairs = (line.partition("=") for line in told.split("\0"))
        self._environment |= {name: text for name, _, text in pairs if name in CERTIFICATES}

    def run(self, command: str, folder: Path = ROOT) -> str:
        """Run a shell command to its end; return what it wrote."""
        ended = subprocess.run(
            [BASH, "-euo", "pipefail", "-c", command],
            capture_output=True,
            text=True,
            cwd=folder,
            env=self.environment,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def ask(self, path: str) -> str:
        """Return what the dashboard answers."""
        url = f"http://127.0.0.1:{self._dashboard}{path}"
        answer = httpx.get(url, headers={"Authorization": f"Bearer {self._token}"}, timeout=60)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.text

    def run_until_ready(self, command: str, port: int) -> None:
        """Run a shell command until a stack answers at a port, and end it with Ctrl-C."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [BASH, "-euo", "pipefail", "-c", f"{command}\n"],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self.environment,
                start_new_session=True,
            )
        try:
            self._wait(process, port, "/readyz")
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(START_S)

    def wait_until_ready(self, port: int) -> None:
        """Wait until a stack answers at a port."""
        assert self._process is not None
        self._wait(self._process, port, "/readyz")

    def kill(self) -> None:
        """End the head and everything that it has started."""
        if self._process is not None:
            others = descendants(self._process.pid)
            kill(self._process.pid, *others)
            self._process.wait()
            wait_until_gone(*others)

    @property
    def address(self) -> str:
        """Where nodes and drivers join."""
        return f"127.0.0.1:{self._gcs}"

    @property
    def environment(self) -> dict[str, str]:
        """What other nodes, and commands, need."""
        return self._environment | {
            "RAY_ADDRESS": self.address,
            "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{self._dashboard}",
        }

    def _wait(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        path: str,
        wanted: tuple[int, ...] = (200,),
    ) -> None:
        give_up = time.monotonic() + START_S
        while _status(port, path) not in wanted:
            words = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
            assert process.poll() is None, words
            assert time.monotonic() < give_up, words
            time.sleep(LOOK_S)


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
