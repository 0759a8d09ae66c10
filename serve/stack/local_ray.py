"""Ray on this machine for one stack, without processes that the stack does not need.

`serve/stack/standalone.py` imports it by its name. Import it only after the environment is set,
because Ray reads it at import.
"""

import atexit
import logging
import os
import sys
import time
from pathlib import Path
from typing import Final

import ray

from rillflow.client.ray_transport.addresses import reachable
from rillflow.errors import StackError
from rillflow.private_apis.forking.start import FORKS, WORKER_PROGRAM
from rillflow.private_apis.ray_core.folders import close_below, keep_closed
from rillflow.private_apis.ray_core.node import (
    ForkingNode,
    LeanNode,
    RayParams,
    join_no_other,
    write_token,
)
from rillflow.stores.private_files import close_to_others
from serve.listening import free_port
from serve.stack.few_files import allow_many_files, begin_with_few_files
from serve.stack.foreign_connections import ForeignConnections
from serve.stack.log_bounds import LOOK_S, bound_logs
from serve.stack.machine_connections import why_not
from serve.stack.serve_servers import ServeServers

LOOPBACK: Final = "127.0.0.1"
"""The address on which Ray listens; parts with another address listen on every interface."""
DASHBOARD_PORT: Final = 8265
OBJECT_STORE_BYTES: Final = 80 * 1024 * 1024

log = logging.getLogger("rillflow.local_ray")


class LocalRay:
    """A Ray head that ends with this process, however that ends.

    Args:
        run_dir: Folder for sockets and other files of the stack; its path must be short.
        logs_dir: Existing folder for the logs; they remain after the stack.
        agent_port: A free port.
        dashboard: Whether to start Ray's dashboard.
    """

    def __init__(self, run_dir: Path, logs_dir: Path, *, agent_port: int, dashboard: bool) -> None:
        self._run_dir = run_dir
        self._logs_dir = logs_dir
        self._agent_port = agent_port
        self._dashboard = dashboard
        self._node: ForkingNode | None = None
        self._foreign: ForeignConnections | None = None
        self._has_joined = False
        self._bounds_logs_at_s = 0.0

    def start(self, namespace: str) -> None:
        """Start Ray and join it as a driver.

        Raises:
            StackError: It does not start.
        """
        for name in ("ray", "ray.serve"):
            logging.getLogger(name).setLevel(logging.WARNING)
        parameters = RayParams(
            node_ip_address=LOOPBACK,
            temp_dir=str(self._run_dir / "ray"),
            session_name=self._logs_dir.name,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=self._dashboard,
            include_log_monitor=self._dashboard,
            no_monitor=not self._dashboard,
            dashboard_agent_listen_port=self._agent_port,
            dashboard_port=free_port(DASHBOARD_PORT),
            worker_path=WORKER_PROGRAM if FORKS else None,
        )
        kind = ForkingNode if self._dashboard else LeanNode
        try:
            _ensure_token()
            self._lead_logs_away()
            keep_closed()
            self._node = kind(parameters, self._run_dir)
            self._end_foreign_connections(self._node.servers())
            ray.init(
                address=self.address,
                namespace=namespace,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
            self._has_joined = True
            begin_with_few_files()  # ray.init has asked for all that there may be
            if self._foreign is not None:
                allow_many_files(os.getpid())  # it needs some itself to end what takes them
        except StackError:
            raise
        except Exception as error:  # Ray raises nothing narrower
            last_words = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise StackError(f"Ray does not start: {last_words}") from error

    def _end_foreign_connections(self, servers: tuple[int, int]) -> None:
        """Let the servers have more files than other users can use up before that is noticed."""
        reason = next(filter(None, map(why_not, servers)), "")
        if reason:
            log.warning("foreign_connections_stay", extra={"reason": reason})
            return
        of_serve = ServeServers()
        self._foreign = ForeignConnections(lambda: (os.getpid(), *servers, *of_serve()))
        self._foreign.start()
        for server in servers:
            allow_many_files(server)

    def _lead_logs_away(self) -> None:
        """Have Ray write its logs where they remain when the folder of the stack is removed."""
        session = self._run_dir / "ray" / self._logs_dir.name
        session.mkdir(parents=True)
        (session / "logs").symlink_to(self._logs_dir)

    @property
    def address(self) -> str:
        """The address for drivers."""
        return "" if self._node is None else reachable(str(self._node.gcs_address))

    @property
    def dashboard_url(self) -> str:
        """The address of Ray's dashboard, empty without one."""
        url = "" if self._node is None else self._node.webui_url
        return f"http://{url}" if url else ""

    def lost(self) -> str:
        """Return the name of a Ray process that has ended by itself; empty while all run."""
        dead = [] if self._node is None else self._node.dead_processes()
        return dead[0][0] if dead else ""

    def close_folders(self) -> None:
        """Restrict to this user the files that Ray's agents created at their start."""
        close_below(self._run_dir, self._logs_dir)

    def tend(self) -> None:
        """Do the repeated work that Ray does not do itself."""
        now_s = time.monotonic()
        if now_s >= self._bounds_logs_at_s:
            self._bounds_logs_at_s = now_s + LOOK_S
            bound_logs(self._logs_dir)
        if self._node is not None and self._node.fork_server is not None:
            self._node.fork_server.tend()

    def stop(self, exit_code: int = 1) -> None:
        """End every process of Ray; those of a node that did not start are left to the reaper.

        Args:
            exit_code: With which this process ends where Ray cannot be left in order.
        """
        join_no_other()  # other threads may be about to call this one
        if self._foreign is not None:
            self._foreign.stop()
        is_whole = self._has_joined and not self.lost()
        node, self._node = self._node, None
        if is_whole:
            ray.shutdown()
        else:
            # Leaving a Ray that has stopped, or has not started, takes seconds or does not end,
            # and not leaving it crashes at the end of the process.
            atexit.unregister(ray.shutdown)
            atexit.register(end_at_once, exit_code)
        if node is not None:
            node.kill_all_processes(check_alive=False, allow_graceful=is_whole, wait=True)
            if node.fork_server is not None:
                node.fork_server.stop()


def _ensure_token() -> None:
    """Write the token with which Ray's processes authenticate, if there is none.

    It is the user's own, in ``~/.ray`` unless ``RAY_AUTH_TOKEN_PATH`` names another place, so that
    the user's other drivers may join. Nobody else may read it.

    Raises:
        StackError: It cannot be written.
    """
    umask = os.umask(0o077)
    try:
        close_to_others([write_token()])
    except OSError as error:
        raise StackError(
            f"Ray's token cannot be written ({error}): set HOME to a folder that can be written,"
            " or RAY_AUTH_TOKEN to a secret of your own"
        ) from error
    finally:
        os.umask(umask)


def end_at_once(exit_code: int) -> None:
    """End this process, which has told the reason, without exit handlers and waiting threads."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
