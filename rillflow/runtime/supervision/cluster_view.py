"""A deployment as JSON shows it: no digest of secrets, and no execution.

Used by `client/ray_transport/driver.py` and `serve/routes/monitoring/cluster.py`.
"""

from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.ports.cluster import ActorReport, ClusterState, ControllerReport
from rillflow.ports.deployment import Deployment


def cluster_view(state: ClusterState) -> JsonObject:
    """Return what is wanted beside what runs."""
    wanted, controller = state.wanted, state.controller
    is_converged = (
        not state.silent
        and (controller is not None or not state.is_controlled)
        and (controller is None or not controller.reasons)
        and all(_is_current(actor, wanted) for actor in state.actors)
    )
    view: JsonObject = {"converged": wanted is not None and is_converged}
    if wanted is not None:
        counts: JsonObject = {
            "execution_actors": wanted.execution_actors,
            "dispatchers": wanted.dispatcher_actors,
        }
        view["wanted"] = _deployment(wanted) | counts
    if controller is not None:
        view["controller"] = _controller(controller)
    view["actors"] = [_actor(each, state) for each in state.actors]
    view["silent"] = list[JsonValue](state.silent)
    if state.unfinished is not None:
        view["unfinished_executions"] = state.unfinished
    if state.holders:
        nodes = {actor.name: actor.node for actor in state.actors}
        view["holders"] = {
            execution_id: {"actor": name, **_place(nodes.get(name, ""), state)}
            for execution_id, name in state.holders.items()
        }
    return view


def _place(node: str, state: ClusterState) -> JsonObject:
    if not node:
        return {}
    address = state.addresses.get(node)
    return {"node": node} if address is None else {"node": node, "address": address}


def _deployment(deployment: Deployment) -> JsonObject:
    return {
        "settings_version": deployment.version,
        "settings_digest": deployment.settings_digest,
        "code_version": deployment.code_version,
        "partition_map": deployment.partition_map,
    }


def _controller(controller: ControllerReport) -> JsonObject:
    return {
        "node": controller.node,
        "pid": controller.pid,
        "settings_version": controller.wanted.version,
        "steps": controller.steps,
        "reasons": [{"code": each.code, "message": each.message} for each in controller.reasons],
        "causes": list[JsonValue](controller.causes),
        "warnings": list[JsonValue](controller.warnings),
    }


def _is_current(actor: ActorReport, wanted: Deployment | None) -> bool:
    deployed = actor.deployment
    return (
        deployed is not None
        and wanted is not None
        and (deployed.version, deployed.settings_digest, deployed.code_version)
        == (wanted.version, wanted.settings_digest, wanted.code_version)
        and actor.code_version in ("", wanted.code_version)
    )


def _actor(actor: ActorReport, state: ClusterState) -> JsonObject:
    view: JsonObject = {
        "name": actor.name,
        "node": actor.node,
        **_place(actor.node, state),
        "pid": actor.pid,
        "ready": actor.is_ready,
        "current": _is_current(actor, state.wanted),
    }
    if actor.deployment is not None:
        view |= _deployment(actor.deployment)
    if actor.code_version:
        view["code_version"] = actor.code_version
    view |= {
        "partitions": actor.partitions,
        "epoch": actor.epoch,
        "hot": actor.hot,
        "calls": actor.calls,
    }
    if actor.name in state.stored:
        view["stored"] = state.stored[actor.name]
    if (described := state.descriptions.get(actor.name)) is not None:
        view |= {
            "protocol": described.protocol,
            "queue": described.queue,
            "append_ms": described.append_ms,
        }
        if described.unreachable:
            view["unreachable_callbacks"] = described.unreachable
    if state.controller is not None:
        view["restarts"] = state.controller.restarts.get(actor.name, 0)
        view["fencings"] = state.controller.fencings.get(actor.name, 0)
    return view
