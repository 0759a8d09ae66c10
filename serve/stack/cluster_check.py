"""Checks whether a deployment file fits the Ray cluster that it is for, before it is deployed.

Used by `serve/stack/cluster_control.py`, and by `rillflow/cli/commands/cluster.py`, which imports
it when the command runs.
"""

import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import ray
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rillflow.client.ray_transport.encryption import use_certificate
from rillflow.errors import StackError, UnreachableError
from rillflow.private_apis.ray_core.joining import address_from_environment, is_locked_out
from rillflow.ray_tasks.exports import remote_function
from rillflow.runtime.process.environment_findings import Finding, lacking_at_head
from rillflow.settings import is_loopback
from serve.stack import node_probe
from serve.stack.deployment_file import is_ours, read_deployment_file
from serve.stack.http_options import unchangeable

ANSWER_S: Final = 90.0
"""How long the nodes may take, which set up the runtime environment meanwhile."""
CALLBACKS_S: Final = 5.0
"""How long the address for callbacks may take to answer where all runs."""
STARTED: Final = "start Ray first, as cluster.yaml does, and say where with RAY_ADDRESS"
START_IT: Final = STARTED[0].upper() + STARTED[1:]

HEAD: Final = "node:__internal_head__"
"""The resource by which Ray tells the head from other nodes."""
DEPLOYMENT: Final = "rillflow-api"
"""The deployment of Serve that every application of Rillflow has."""

LOCKED_OUT: Final = (
    "something listens there and does not let this command in. Give it the token of the cluster:"
    " RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN, or ~/.ray/auth_token), as"
    " `ray start` has them; or name another cluster with RAY_ADDRESS"
)
LISTENS_S: Final = 5.0
_NAMED: Final = re.compile(r"(?:ray://)?\[?(?P<host>[^\s\]/]+?)\]?:(?P<port>\d{1,5})")
_ADDRESS: Final = re.compile(
    r"connect to Ray cluster at \[?(?P<host>[^\s\]]+?)\]?:(?P<port>\d{1,5})\b"
)


class NodeReport(NamedTuple):
    """What ``node_probe`` says of a node, or why it says nothing, as its ``problem``."""

    node: str
    facts: Mapping[str, Any]


class Checked(NamedTuple):
    """What ``examine`` has found, errors first.

    ``code`` is the version of the code of the first node that has some, and ``namespace`` that of
    the actors.
    """

    found: list[Finding]
    code: str = ""
    namespace: str = ""


def check(path: Path, address: str | None = None) -> list[Finding]:
    """Return what is wrong with a deployment file, and with the cluster for it; errors first.

    Args:
        path: The file for ``serve deploy``.
        address: The cluster; None is that of RAY_ADDRESS, or of this machine.
    """
    try:
        read_deployment_file(path)  # a cluster may take a minute to tell that it is not there
        with joined(address):
            return examine(path).found
    except StackError as error:
        return [Finding(str(error), is_error=True)]


def examine(path: Path) -> Checked:
    """Find out what the nodes of the cluster that this process has joined are like for a file.

    Raises:
        StackError: The file cannot be read, or is none for Serve.
    """
    schema = read_deployment_file(path)
    ours = [each for each in schema.applications if is_ours(each.import_path)]
    if not ours:
        return Checked([Finding(f"{path} deploys no application of Rillflow", is_error=True)])
    nodes = [_ask_nodes(each, node_probe.probe, each.import_path) for each in ours]
    found = [each for asked in nodes for each in findings(asked, schema.http_options.host)]
    found += [each for application in ours for each in misnamed(application)]
    found += unchangeable(schema)
    told = next((each.facts for asked in nodes for each in asked if "code" in each.facts), {})
    return Checked(
        sorted(dict.fromkeys(found), key=lambda each: not each.is_error),
        code=told.get("code", ""),
        namespace=told.get("namespace", ""),
    )


def findings(nodes: Sequence[NodeReport], host: str) -> Iterator[Finding]:
    """Yield what is wrong with nodes on which Serve is to listen on an address."""
    for node, facts in nodes:
        for sentence, is_error in _of_node(facts):
            yield Finding(f"node {node}: {sentence}", is_error)
    able = [each for each in nodes if "code" in each.facts]
    if len({facts["code"] for _, facts in able}) > 1:
        told = ", ".join(f"{node} has {facts['code']}" for node, facts in able)
        same = "install the same on every node, or ship it by runtime_env"
        yield Finding(f"the code of nodes differs ({told}): {same}", is_error=True)
    hosts = {facts.get("host", node) for node, facts in nodes}
    if len(hosts) > 1 and any(facts["is_file"] for _, facts in able):
        sentence = (
            f"the store is an SQLite file of one machine, and this cluster has {len(hosts)}: set"
            " RILLFLOW_STORE=postgresql://..."
        )
        yield Finding(sentence, is_error=True)
    if not is_loopback(host) and any(facts["exposed"] for _, facts in able):
        sentence = (
            f"http_options.host is {host}, and there is no RILLFLOW_API_KEY, so the API would be"
            " open to everybody: set a key, listen on 127.0.0.1, or set RILLFLOW_INSECURE=true"
        )
        yield Finding(sentence, is_error=True)
    for told in _told(able, "guessable"):
        yield Finding(told, is_error=not is_loopback(host))
    for told in (*_told(able, "unknown"), *_told(able, "upgrade")):
        yield Finding(told, is_error=False)


def _of_node(facts: Mapping[str, Any]) -> Iterator[Finding]:
    if "problem" in facts:
        yield Finding(facts["problem"], is_error=True)
    yield from (Finding(*each) for each in facts.get("lacks", ()))
    if facts.get("is_head") and "health_checks" in facts:
        yield from lacking_at_head(facts["health_checks"])


def _told(nodes: Iterable[NodeReport], fact: str) -> list[str]:
    return sorted({told for _, facts in nodes for told in facts.get(fact, ())})


def misnamed(application: ServeApplicationSchema) -> Iterator[Finding]:
    """Yield what a file says of deployments that Rillflow's application does not have."""
    for deployment in application.deployments:
        if deployment.name != DEPLOYMENT:
            sentence = (
                f"the application {application.name} has no deployment {deployment.name}: its name"
                f" is {DEPLOYMENT}"
            )
            yield Finding(sentence, is_error=True)


@contextmanager
def joined(address: str | None) -> Iterator[str]:
    """Be a driver on a cluster, which is left afterwards; the address of its dashboard.

    Raises:
        StackError: There is no cluster, or it does not let this process in.
    """
    _use_certificate(address)
    if address is not None:
        _refuse_closed(address)
    try:
        here = ray.init(address=address or "auto", log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise StackError(not_joined(str(error))) from error
    try:
        yield str(here.dashboard_url or "")
    finally:
        ray.shutdown()


def _use_certificate(address: str | None) -> None:
    """Have Ray encrypt, or not, as the cluster needs it.

    Raises:
        StackError: It encrypts, and there is no certificate for it here.
    """
    try:
        use_certificate(address or address_from_environment("auto"))
    except ConnectionError:
        return  # Ray says what is missing.
    except UnreachableError as error:
        raise StackError(f"no Ray cluster can be joined: {error}. {error.hint}") from error


def _refuse_closed(address: str) -> None:
    """Refuse an address at which nobody lets this process in: Ray tries it again for long.

    Raises:
        StackError: Nothing listens there, or the token is not that of the cluster. What is no host
            and port is left to Ray.
    """
    at = _NAMED.fullmatch(address)
    if at is None:
        return
    hosts = [at["host"]]
    if is_loopback(at["host"]):
        hosts.append(ray.util.get_node_ip_address())  # where Ray looks for it
    if not any(_listens(host, int(at["port"])) for host in hosts):
        raise StackError(f"no Ray cluster can be joined: nothing listens at {address}. {START_IT}")
    if any(is_locked_out(f"{host}:{at['port']}") for host in hosts):
        raise StackError(f"no Ray cluster can be joined: {LOCKED_OUT} (at {address})")


def not_joined(error: str) -> str:
    """Say what to do where Ray says that it cannot connect; only then it names an address."""
    reason = " ".join(error.split())
    at = _ADDRESS.search(reason)
    is_there = at is not None and _listens(at["host"], int(at["port"]))
    return f"no Ray cluster can be joined: {LOCKED_OUT if is_there else STARTED} ({reason})"


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=LISTENS_S).close()
    except OSError:
        return False
    return True


def callback_findings(nodes: Sequence[NodeReport]) -> Iterator[Finding]:
    """Yield the addresses for callbacks that do not answer from nodes that could be asked."""
    for url in sorted({facts["silent"] for _, facts in nodes if facts.get("silent")}):
        told = ", ".join(node for node, facts in nodes if facts.get("silent") == url)
        sentence = (
            f"the address for callbacks {url} does not answer from node {told}, so results of"
            " asynchronous functions do not arrive: correct RILLFLOW_SERVER_HOST or"
            " RILLFLOW_CALLBACK_HOST, or see that it leads to this deployment"
        )
        yield Finding(sentence, is_error=False)


def unreached_callbacks(schema: ServeDeploySchema) -> list[Finding]:
    """Ask the nodes of a deployment that runs whether callbacks arrive."""
    ours = (each for each in schema.applications if is_ours(each.import_path))
    asked = (_ask_nodes(each, node_probe.silent_callbacks, CALLBACKS_S) for each in ours)
    return [each for nodes in asked for each in callback_findings(nodes)]


def _ask_nodes(
    application: ServeApplicationSchema, question: Callable[..., Any], told: object
) -> list[NodeReport]:
    """Ask every node a question of the probe, in the environment of an application."""
    try:
        ray.cloudpickle.register_pickle_by_value(node_probe)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        asked = [_task(application, node["NodeID"], question).remote(told) for node in nodes]
        ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
        named = [f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})" for node in nodes]
        answers = [
            {**_facts_of(answer), "is_head": HEAD in node["Resources"]}
            for node, answer in zip(nodes, asked, strict=True)
        ]
        return [NodeReport(*each) for each in zip(named, answers, strict=True)]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[node_probe.__name__])


def _task(application: ServeApplicationSchema, node: str, question: Callable[..., Any]) -> Any:
    return remote_function(question).options(
        num_cpus=0,
        runtime_env=dict(application.runtime_env),
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )


def _facts_of(answer: Any) -> Mapping[str, Any]:
    try:
        facts: Mapping[str, Any] = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return {"problem": f"it has not set up the runtime environment within {ANSWER_S:g} s"}
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1].strip()
        return {"problem": f"it runs no task of the deployment: {last}"}
    return facts
