"""Deploys on a Ray cluster, upgrades what runs there, and stops it, telling each step.

It sends the file as ``serve deploy`` does, so that both lead to the same. Around that it checks
first, has Serve roll to code that changed under the same file, and waits until all is as wanted.

Used by `rillflow/cli/commands/cluster.py`, which imports it when the command runs.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, ServeDeploySchema

from rillflow.actors.monitoring.callback_address import name_of_application
from rillflow.actors.names import CONTROLLER_ACTOR
from rillflow.errors import StackError
from rillflow.ports.cluster import ControllerReport
from rillflow.ports.deployment import UNSAID, protocol_of, refuse_distant
from serve.stack.cluster_check import DEPLOYMENT, examine, joined, unreached_callbacks
from serve.stack.deployment_file import is_ours, read_deployment_file, text_to_send

DASHBOARD: Final = "RAY_DASHBOARD_ADDRESS"
LOOK_S: Final = 0.5
STEADY_LOOKS: Final = 3
"""So many looks in turn must find everything as wanted; Serve takes a moment to begin."""
PATIENCE_S: Final = 900.0
ANSWER_S: Final = 30.0
STOP_S: Final = 180.0
OTHER_CODE: Final = "the replicas have deployed code"
OTHER_CODE_S: Final = 20.0
"""After so long with other code, and nothing else to do, replicas do not find the wanted one."""
SHADOWED: Final = (
    "A task in the same runtime environment finds the latter: Serve looks first into the folder in"
    " which `ray start` was called, so call it where no other copy of Rillflow is"
)
FAILED: Final = ("DEPLOY_FAILED", "UNHEALTHY")
SENDING: Final = (sys.executable, "-m", "ray.serve.scripts", "deploy")

Tell: TypeAlias = Callable[[str], None]


def deploy(path: Path, address: str | None, tell: Tell, *, is_upgrade: bool = False) -> None:
    """Have a cluster run what a file asks for, and wait until it does.

    Args:
        path: The file for ``serve deploy``.
        address: The cluster; None is that of RAY_ADDRESS, or of this machine.
        tell: Called with each step, in words.
        is_upgrade: Whether something must run already; its code and the new one are told.

    Raises:
        StackError: Something keeps it from running; the message says what.
        ProtocolError: What runs is of a release too far from the code on the nodes.
    """
    schema = read_deployment_file(path)
    with joined(address) as dashboard:
        examined = examine(path)
        for each in examined.found:
            tell(f"{'error  ' if each.is_error else 'warning'}  {each.sentence}")
        if any(each.is_error for each in examined.found):
            raise StackError("nothing was deployed, for the errors above")
        running = _code_that_runs(examined.namespace)
        if is_upgrade and not running:
            raise StackError(
                f"nothing runs in the namespace {examined.namespace}: `rillflow cluster deploy`"
                " is for that"
            )
        if running:
            ours = protocol_of(examined.code)
            who = f"the code on the nodes ({examined.code})"
            refuse_distant(protocol_of(running), f"what runs ({running})", ours, who)
        tell(f"from code {running} to {examined.code}" if running else f"code {examined.code}")
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        _send(text_to_send(path, examined.code, nodes), path, dashboard)
        _wait_until_rolled(schema, examined.namespace, examined.code, tell)
        for each in unreached_callbacks(schema):
            tell(f"warning  {each.sentence}")


def stop(address: str | None, namespace: str, tell: Tell, *, drains: bool = True) -> None:
    """End everything that Rillflow has started on a cluster, Serve too if nothing else needs it.

    Args:
        address: The cluster; None is that of RAY_ADDRESS, or of this machine.
        namespace: That of the actors.
        tell: Called with each step, in words.
        drains: Whether calls under way may finish, for some seconds.

    Raises:
        StackError: Nothing runs there, or it does not end.
    """
    with joined(address):
        controller = _controller(namespace)
        names = own_applications(_running_applications(), namespace)
        running = _code_that_runs(namespace)
        if running and protocol_of(running) <= UNSAID:
            raise StackError(
                f"what runs ({running}) is of a release that cannot be stopped so: deploy this"
                " release first, or end it with `serve shutdown` and `ray stop`"
            )
        if controller is None and not names:
            raise StackError(f"nothing of Rillflow runs in the namespace {namespace}")
        for name in names:
            tell(f"the application {name} of Serve ends")
            serve.delete(name)
        if controller is not None:
            tell("actors finish what they are at, and end" if drains else "actors end")
            try:
                left = ray.get(controller.stop.remote(drains=drains), timeout=STOP_S)
            except ray.exceptions.RayError as error:
                raise StackError(
                    f"the controller could not end all: {_last_line(error)}"
                ) from error
            for each in left:
                tell(f"not finished: {each}; the next deployment on this store goes on with it")
        if names and not serve.status().applications:
            tell("Serve ends, which has no other application")
            serve.shutdown()


def _code_that_runs(namespace: str) -> str:
    """Return the version of the code that the controller has deployed; nothing without one."""
    controller = _controller(namespace)
    if controller is None:
        return ""
    try:
        return str(ray.get(controller.deployment.remote(), timeout=ANSWER_S).code_version)
    except ray.exceptions.RayError:
        return ""


def _controller(namespace: str) -> Any:
    try:
        return ray.get_actor(CONTROLLER_ACTOR, namespace=namespace)
    except ValueError:
        return None


def _running_applications() -> Mapping[str, ApplicationStatusOverview]:
    try:
        applications: Mapping[str, ApplicationStatusOverview] = serve.status().applications
    except (ray.exceptions.RayError, RuntimeError):
        return {}
    return applications


def own_applications(
    applications: Mapping[str, ApplicationStatusOverview], namespace: str
) -> list[str]:
    """Return the names of what Serve runs for Rillflow: its API, and what tells of an address."""
    told = name_of_application(namespace)
    return [
        name
        for name, each in applications.items()
        if DEPLOYMENT in each.deployments or name == told
    ]


def _send(text: str, path: Path, dashboard: str) -> None:
    """Send what a file has Serve deploy.

    Raises:
        StackError: Serve does not take it.
    """
    where = os.environ.get(DASHBOARD) or f"http://{dashboard}"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        command = [*SENDING, file.name, "--address", where]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    if ended.returncode != 0:
        raise StackError(f"Serve has not taken {path}: {_last_line(ended.stderr or ended.stdout)}")


def _wait_until_rolled(schema: ServeDeploySchema, namespace: str, code: str, tell: Tell) -> None:
    """Wait until the applications and the actors are as wanted.

    Raises:
        StackError: They do not become so.
    """
    names = [each.name for each in schema.applications if is_ours(each.import_path)]
    begun_s = time.monotonic()
    told, steady, other_s = "", 0, 0.0
    while steady < STEADY_LOOKS:
        left = "; ".join(_left_to_do(names, namespace, code))
        steady = 0 if left else steady + 1
        now_s = time.monotonic() - begun_s
        if left and left != told:
            tell(f"{now_s:5.1f} s  {left}")
            told = left
        other_s = other_s + LOOK_S if left.startswith(OTHER_CODE) else 0.0
        if other_s > OTHER_CODE_S:
            raise StackError(f"{left}. {SHADOWED}")
        if now_s > PATIENCE_S:
            raise StackError(f"not as wanted after {PATIENCE_S:g} s: {left}")
        time.sleep(LOOK_S)
    tell(f"{time.monotonic() - begun_s:5.1f} s  everything runs as wanted")


def _left_to_do(names: list[str], namespace: str, code: str) -> Iterator[str]:
    """Yield what is not as wanted yet, in words.

    Raises:
        StackError: Serve has given an application up.
    """
    applications = serve.status().applications
    for name in names:
        application = applications.get(name)
        if application is None or application.status != ApplicationStatus.RUNNING:
            yield not_running(name, application)
        if application is not None and application.status in FAILED:
            raise StackError(f"the application {name} does not start: {_why(application)}")
    controller = _controller(namespace)
    if controller is None:
        yield "no controller runs yet"
        return
    try:
        report: ControllerReport = ray.get(controller.report.remote(), timeout=ANSWER_S)
    except ray.exceptions.RayError:
        yield "the controller is being replaced"
        return
    if report.wanted.code_version != code:
        yield f"{OTHER_CODE} {report.wanted.code_version}, and not {code}"
    yield from (each.message for each in report.reasons)
    yield from report.causes


def not_running(name: str, application: ApplicationStatusOverview | None) -> str:
    """Say what Serve tells of an application in the place of that it runs."""
    return f"the application {name} is {application.status.value if application else 'missing'}"


def _why(application: ApplicationStatusOverview) -> str:
    """Return the last line of what Serve says of an application, which is the error itself."""
    said = [application.message, *(each.message for each in application.deployments.values())]
    return _last_line("\n".join(each for each in said if each))


def _last_line(said: object) -> str:
    lines = [each.strip() for each in str(said).strip().splitlines() if each.strip()]
    return lines[-1] if lines else type(said).__name__
