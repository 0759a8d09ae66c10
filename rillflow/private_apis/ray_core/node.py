"""A Ray head inside this process, with only the processes that a stack needs.

``ray start`` starts three more processes, and forks no worker. Import it only after the environment
is set, because Ray reads it at import.

Used by `serve/stack/local_ray.py`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ray._private import auto_init_hook
from ray._private.authentication import authentication_token_setup
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET

from rillflow.private_apis.assumption import (
    Assumption,
    missing,
    not_in_source,
    other_parameters,
)
from rillflow.private_apis.forking.start import FORKS, ForkServer

__all__ = ["ForkingNode", "LeanNode", "RayParams", "join_no_other", "write_token"]

FORK_LOG: Final = "fork_server.err"
PARAMETERS: Final = (
    *("node_ip_address", "temp_dir", "session_name", "object_store_memory", "include_dashboard"),
    *("include_log_monitor", "no_monitor", "dashboard_agent_listen_port", "dashboard_port"),
    "worker_path",
)
"""What ``serve.stack.local_ray`` sets of ``RayParams``."""


class ForkingNode(Node):  # type: ignore[misc] # Ray has no types
    """A head whose workers are copies of a process that has imported what they need."""

    def __init__(self, parameters: RayParams, run_dir: Path) -> None:
        self.fork_server: ForkServer | None = None
        self._run_dir = run_dir
        super().__init__(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)

    def start_raylet(self, *arguments: Any, **options: Any) -> None:
        """Start the process that starts workers, and the one from which they are forked."""
        super().start_raylet(*arguments, **options)
        if FORKS:
            raylet = self._pid(PROCESS_TYPE_RAYLET)
            log = Path(self.get_logs_dir_path(), FORK_LOG)
            self.fork_server = ForkServer(self._run_dir, raylet, log)
            self.fork_server.start()

    def servers(self) -> tuple[int, int]:
        """Return the process ids of the two servers that all others call: GCS and raylet."""
        return self._pid(PROCESS_TYPE_GCS_SERVER), self._pid(PROCESS_TYPE_RAYLET)

    def _pid(self, kind: str) -> int:
        return int(self.all_processes[kind][0].process.pid)


class LeanNode(ForkingNode):
    """A head without Ray's API server, which serves only what a dashboard shows."""

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        """Start nothing."""
        del include_dashboard, raise_on_failure
        self._webui_url = ""


def write_token() -> Path:
    """Write the token with which the processes of Ray know each other, where there is none.

    Returns:
        The file that holds it.

    Raises:
        OSError: It cannot be written.
    """
    authentication_token_setup.ensure_token_if_auth_enabled()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else authentication_token_setup._get_default_token_path()  # noqa: SLF001 - see RELIES_ON


def join_no_other() -> None:
    """Have no later call of Ray in this process start a Ray of its own."""
    auto_init_hook.enable_auto_connect = False


def _differences_of_joining() -> Iterator[str]:
    yield from missing(auto_init_hook, "enable_auto_connect")


def _differences() -> Iterator[str]:
    yield from other_parameters(Node.__init__, "head", "shutdown_at_exit", "spawn_reaper")
    yield from missing(Node, "gcs_address", "webui_url", "get_logs_dir_path", "dead_processes")
    yield from missing(Node, "start_raylet")
    yield from not_in_source(Node.__init__, "self.all_processes")
    yield from not_in_source(Node, "self._webui_url")
    yield from other_parameters(Node.start_api_server, "include_dashboard", "raise_on_failure")
    yield from other_parameters(Node.kill_all_processes, "check_alive", "allow_graceful", "wait")
    yield from other_parameters(RayParams.__init__, *PARAMETERS)


def _differences_of_tokens() -> Iterator[str]:
    yield from missing(authentication_token_setup, "_get_default_token_path")
    yield from missing(authentication_token_setup, "ensure_token_if_auth_enabled")


RELIES_ON: Final = (
    Assumption(
        library="ray",
        relies_on="a call of a process that has joined no Ray starts one while"
        " ray._private.auto_init_hook.enable_auto_connect is set",
        seen_with="2.60.0",
        if_it_changes="silent: a stack that ends may start another Ray, which nobody ends",
        differences=_differences_of_joining,
    ),
    Assumption(
        library="ray",
        relies_on="ray._private.node.Node starts the processes of a head, one method for each, and"
        " knows which of them have ended",
        seen_with="2.60.0",
        if_it_changes="loud: rillflow up does not start; silent where start_api_server is not what"
        " starts the dashboard: there is a process more",
        differences=_differences,
    ),
    Assumption(
        library="ray",
        relies_on="ensure_token_if_auth_enabled writes the token to RAY_AUTH_TOKEN_PATH or to"
        " _get_default_token_path()",
        seen_with="2.60.0",
        if_it_changes="loud: rillflow up does not start",
        differences=_differences_of_tokens,
    ),
)
