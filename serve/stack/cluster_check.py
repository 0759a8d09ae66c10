"""Checks whether a deployment file fits the Ray cluster that it is for, before it is deployed.

Used by `rillflow/cli/commands/cluster.py`, which knows this module by its name only.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import ray
from ray.serve.schema import ServeApplicationSchema
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rillflow.errors import StackError
from rillflow.settings import is_loopback
from serve.stack import node_probe
from serve.stack.deployment_file import read_deployment_file

ANSWER_S: Final = 90.0
"""How long the nodes may take, which set up the runtime environment meanwhile."""
STARTED: Final = "start Ray first, as cluster.yaml does, and say where with RAY_ADDRESS"


class Finding(NamedTuple):
    """Something that is wrong; a warning costs something, an error keeps it from running."""

    is_error: bool
    sentence: str


class NodeFacts(NamedTuple):
    """What ``node_probe`` says of a node, or why it says nothing, as its ``problem``."""

    node: str
    facts: Mapping[str, Any]


def check(path: Path, address: str | None = None) -> list[Finding]:
    """Return what is wrong with a deployment file, and with the cluster for it; errors first.

    Args:
        path: The file for ``serve deploy``.
        address: The cluster; None is that of RAY_ADDRESS, or of this machine.
    """
    try:
        schema = read_deployment_file(path)
        nodes = [
            (each, _ask_nodes(each, address))
            for each in schema.applications
            if each.import_path.startswith("serve.")
        ]
    except StackError as error:
        return [Finding(is_error=True, sentence=str(error))]
    if not nodes:
        return [Finding(is_error=True, sentence=f"{path} deploys no application of Rillflow")]
    found = [each for _, asked in nodes for each in findings(asked, schema.http_options.host)]
    return sorted(dict.fromkeys(found), key=lambda each: not each.is_error)


def findings(nodes: Sequence[NodeFacts], host: str) -> Iterator[Finding]:
    """Yield what is wrong with nodes on which Serve is to listen on an address."""
    for node, facts in nodes:
        if "problem" in facts:
            yield Finding(is_error=True, sentence=f"node {node}: {facts['problem']}")
        for sentence, is_error in facts.get("lacks", ()):
            yield Finding(is_error, f"node {node}: {sentence}")
    able = [each for each in nodes if "code" in each.facts]
    if len({facts["code"] for _, facts in able}) > 1:
        told = ", ".join(f"{node} has {facts['code']}" for node, facts in able)
        same = "install the same on every node, or ship it by runtime_env"
        yield Finding(is_error=True, sentence=f"the code of nodes differs ({told}): {same}")
    hosts = {facts.get("host", node) for node, facts in nodes}
    if len(hosts) > 1 and any(facts["is_file"] for _, facts in able):
        sentence = (
            f"the store is an SQLite file of one machine, and this cluster has {len(hosts)}: set"
            " RILLFLOW_STORE=postgresql://..."
        )
        yield Finding(is_error=True, sentence=sentence)
    if not is_loopback(host) and any(facts["exposed"] for _, facts in able):
        sentence = (
            f"http_options.host is {host}, and there is no RILLFLOW_API_KEY, so the API would be"
            " open to everybody: set a key, listen on 127.0.0.1, or set RILLFLOW_INSECURE=true"
        )
        yield Finding(is_error=True, sentence=sentence)


def _ask_nodes(application: ServeApplicationSchema, address: str | None) -> list[NodeFacts]:
    """Run the probe on every node.

    Raises:
        StackError: There is no cluster, or it does not let this process in.
    """
    try:
        ray.init(address=address or "auto", log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        reason = " ".join(str(error).split())
        raise StackError(f"no Ray cluster can be joined: {STARTED} ({reason})") from error
    try:
        ray.cloudpickle.register_pickle_by_value(node_probe)
        asked = {
            node["NodeManagerAddress"]: _probe(application, node["NodeID"])
            for node in ray.nodes()
            if node["Alive"]
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)
        return [NodeFacts(node, _facts_of(answer)) for node, answer in asked.items()]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[node_probe.__name__])
        ray.shutdown()


def _probe(application: ServeApplicationSchema, node: str) -> Any:
    task = ray.remote(node_probe.probe).options(
        num_cpus=0,
        max_retries=0,
        runtime_env=dict(application.runtime_env),
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    return task.remote(application.import_path)


def _facts_of(answer: Any) -> Mapping[str, Any]:
    try:
        facts: Mapping[str, Any] = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return {"problem": f"it has not set up the runtime environment within {ANSWER_S:g} s"}
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1].strip()
        return {"problem": f"it runs no task of the deployment: {last}"}
    return facts
