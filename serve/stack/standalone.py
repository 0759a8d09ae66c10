"""A complete stack on one machine: what ``rillflow up`` runs.

This module imports no Ray, because Ray reads the environment at import.
"""

import asyncio
import importlib
import logging
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import httpx

from rillflow.errors import StackError, StoreError
from rillflow.exchange_limits.connections import with_limits
from rillflow.exchange_limits.limit import ExchangeLimit
from rillflow.gateways.plugins.loading import named_plugins
from rillflow.ports.deployment import Deployment
from rillflow.private_apis.haproxy.start import haproxy_binary
from rillflow.runtime.crashes.crash_history import remove_records
from rillflow.runtime.process.log_lines import write_lines
from rillflow.runtime.supervision.deployed import record
from rillflow.runtime.supervision.store_lease import StoreLease
from rillflow.settings import Settings
from rillflow.stores import open_store, sqlite_file
from rillflow.stores.sqlite.file_use import close_after_kill
from serve.listening import free_port, free_ports, refuse_exposed, refuse_taken_port
from serve.stack.data_folder import DataFolder, refuse_unwritable
from serve.stack.few_files import begin_with_few_files
from serve.stack.lease_thread import LeaseThread, holder_of
from serve.stack.ray_environment import INGRESS_PORTS, PREFERENCES, front_program, own_places
from serve.stack.ray_tls import RayTls
from serve.stack.reaper import MARK
from serve.stack.tls import refuse_unusable

LOOK_S: Final = 0.05
CHECK_S: Final = 0.5
ANSWER_S: Final = 5.0
START_S: Final = 120.0
OWN_FILES_ONLY: Final = 0o077
"""The umask of every process of a stack: its files are for its owner only."""
LEFTOVERS_S: Final = 15.0
"""How long the HTTP server of a killed stack may take to end."""


log = logging.getLogger("rillflow.standalone")


class Standalone:
    """A stack on this machine; it ends with this process.

    Args:
        settings: What to run, and where.
        dashboard: Whether to start Ray's dashboard; it costs memory and time.
        tell: Called with each step of the start, when it begins.
    """

    def __init__(
        self, settings: Settings, *, dashboard: bool = False, tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._dashboard = dashboard
        self._tell = tell
        self._folder = DataFolder(settings.data_dir)
        self._ray: Any = None
        self._ray_tls: RayTls
        self._reaper: subprocess.Popen[bytes] | None = None
        self._lease: LeaseThread | None = None
        self._umask: int | None = None
        self._deployed: Deployment

    def start(self) -> Mapping[str, str]:
        """Start everything; return the addresses once the first request is answered.

        Raises:
            StackError: It cannot be started here.
            StoreError: The store cannot be opened, or another deployment holds it.
            GatewayError: A plugin cannot be loaded.
        """
        write_lines(self._settings.log_format, "rillflow up")
        self._umask = os.umask(OWN_FILES_ONLY)
        settings = self._settings
        refuse_exposed(settings, settings.host)
        refuse_unusable(settings)
        if settings.archive_dir is not None:
            refuse_unwritable(settings.archive_dir)
        killed = self._folder.lock()
        refuse_taken_port(settings.host, settings.port, patience_s=LEFTOVERS_S if killed else 0)
        self._folder.note(url=settings.base_url)
        self._deployed = asyncio.run(_record_in_store(settings))
        self._lease = LeaseThread(settings)
        self._prepare()
        list(named_plugins(settings.plugins))  # fails here, instead of in every actor
        self._tell("ray")
        local_ray = importlib.import_module("serve.stack.local_ray")
        loading = threading.Thread(target=_front, name="import", daemon=True)
        loading.start()
        self._ray = local_ray.LocalRay(
            self._folder.run_dir,
            self._folder.logs_dir,
            agent_port=free_port(),
            dashboard=self._dashboard,
        )
        self._ray_tls.wait()
        self._ray.start(settings.namespace)
        self._tell_reaper(self._folder.logs_dir)
        facts = self._noted_facts()
        self._tell("serve")
        loading.join()
        front = _front()
        front.start_front(settings, self._deployed)
        self._tell("api")
        front.deploy(settings)
        self._wait_for_answer(front)
        self._ray.close_folders()
        return facts

    def _noted_facts(self) -> Mapping[str, str]:
        """Return where everything is, and note it, with the variables for Ray's own programs."""
        facts = {
            "url": self._settings.base_url,
            "ray_address": self._ray.address,
            "dashboard_url": self._ray.dashboard_url,
            "logs_dir": self.logs_dir,
        }
        self._folder.note(**facts, ray_environment=self._ray_tls.environment(self._ray.address))
        return facts

    def _prepare(self) -> None:
        """Set the environment before Ray is imported, even by a plugin."""
        begin_with_few_files()
        run_dir = self._folder.run_dir
        os.environ[MARK] = str(run_dir)
        self._reaper = _start_reaper(run_dir)
        self._ray_tls = RayTls(self._settings, run_dir)
        haproxy = front_program(run_dir, haproxy_binary(), self._settings)
        for name, value in PREFERENCES.items():
            os.environ.setdefault(name, value)
        os.environ.update(own_places(run_dir, free_port(), free_ports(INGRESS_PORTS), haproxy))

    def _tell_reaper(self, logs_dir: Path) -> None:
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.write(f"{logs_dir}\n".encode())
            self._reaper.stdin.flush()

    def _wait_for_answer(self, front: ModuleType) -> None:
        began = time.monotonic()
        check_at = began + CHECK_S
        is_tls = self._settings.tls_cert is not None
        while not is_ready(self._settings.host, self._settings.port, is_tls=is_tls):
            self._look_after_ray()
            now = time.monotonic()
            if now > check_at:
                front.refuse_failed()
                check_at = now + CHECK_S
            if now > began + START_S:
                raise StackError(f"no answer after {START_S:g} s; the logs are in {self.logs_dir}")
            time.sleep(LOOK_S)

    @property
    def logs_dir(self) -> str:
        """Where the processes write their logs."""
        return str(self._folder.logs_dir)

    def run_until(self, stopped: threading.Event) -> None:
        """Serve until told to stop.

        Raises:
            StackError: Ray itself has ended, or another deployment takes the store over.
        """
        actors = threading.Thread(target=self._keep_actors, args=(stopped,), name="actors")
        actors.daemon = True  # it may wait for a Ray that has ended
        actors.start()
        try:
            while not stopped.wait(CHECK_S):
                self._look_after_ray()
                if self._lease is not None and self._lease.loses:
                    raise StackError(f"this stack ends: {self._lease.loses}")
        finally:
            # A call of a Ray that has been left ends the process before it has said why.
            stopped.set()
            actors.join(ANSWER_S)

    def _look_after_ray(self) -> None:
        """Do the repeated work for Ray's processes.

        Raises:
            StackError: A process has ended that Ray needs and nothing restarts.
        """
        self._ray.tend()
        lost = self._ray.lost()
        if lost:
            log.error("ray_process_ended", extra={"ended": lost})
            raise StackError(
                f"Ray's {lost} has ended, and this stack with it; what was accepted goes on at the"
                f" next start. Its logs are in {self.logs_dir}"
            )

    def _keep_actors(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                _front().keep_actors(self._settings, self._deployed, stopped)
            except Exception:
                log.exception("actors_not_looked_for")
                stopped.wait(CHECK_S)

    def stop(self, exit_code: int = 1) -> None:
        """End everything at once; accepted executions continue at the next start.

        Args:
            exit_code: With which this process ends where Ray cannot be left in order.
        """
        try:
            if self._ray is not None:
                self._ray.stop(exit_code)
                self._ray = None
        finally:
            if self._reaper is not None:
                self._reaper.communicate()
            if self._lease is not None:
                self._lease.stop()
            if self._reaper is not None:
                _close_store(self._settings)
                remove_records(self._settings.store_url, self._settings.namespace)
            self._folder.release()
            if self._umask is not None:
                os.umask(self._umask)


async def _record_in_store(settings: Settings) -> Deployment:
    """Record what should run, so that a store that fails is reported here and not by actors."""
    if settings.store_url == "memory:":
        raise StackError("the store memory: is for one process, and a stack has several")
    store = open_store(settings.store_url)
    await store.open()
    try:
        await StoreLease(store, holder_of(settings)).acquire(settings.take_over)
        return await record(settings, store)
    finally:
        await store.close()


def _close_store(settings: Settings) -> None:
    """Close the embedded store for the processes that were killed, so that its file is complete."""
    path = sqlite_file(settings.store_url)
    if path is not None:
        try:
            close_after_kill(path)
        except StoreError as error:
            # Nothing is lost: the commits stay in the -wal file, and the next start reads them.
            log.warning("store_not_closed", extra={"reason": str(error)})


def _front() -> ModuleType:
    """Import the front, which takes a second, while Ray starts."""
    return importlib.import_module("serve.stack.front")


def _start_reaper(run_dir: Path) -> subprocess.Popen[bytes]:
    """Start the reaper in a session of its own, so that Ctrl-C does not end it."""
    program = str(Path(__file__).with_name("reaper.py"))
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-ISE", program, str(run_dir)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def is_ready(host: str, port: int, *, is_tls: bool = False, answer_s: float = ANSWER_S) -> bool:
    """Tell whether the HTTP API answers that it is ready, within a time."""
    shown = _reachable(host)
    authority = f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
    url = f"{'https' if is_tls else 'http'}://{authority}/readyz"
    try:
        with (
            with_limits(
                httpx.Client(timeout=answer_s, trust_env=False, verify=_unchecked())
            ) as http,
            ExchangeLimit(answer_s),
            http.stream("GET", url) as response,
        ):
            return response.status_code == 200
    except httpx.HTTPError:
        return False


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the name is that of another address than loopback
    context.verify_mode = ssl.CERT_NONE
    return context


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
