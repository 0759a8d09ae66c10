"""What runs is shown beside what is wanted, without anything of secrets."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from rillflow.ids import new_execution_id
from rillflow.ports.cluster import ControllerReport, decode_description, encode_description
from rillflow.ports.deployment import PROTOCOL
from rillflow.ports.readiness import Reason
from tests.api.serving import Api, OneActor


def cluster_of(api: Api) -> OneActor:
    assert isinstance(api.stack.cluster, OneActor)
    return api.stack.cluster


async def shown(api: Api) -> dict[str, Any]:
    body: dict[str, Any] = await api.get("/flow/cluster.json")
    return body


async def test_an_actor_shows_what_it_was_started_with_and_owns(api: Api) -> None:
    body = await shown(api)
    assert body["converged"] is True
    assert body["wanted"] == {
        "settings_version": 3,
        "settings_digest": "d",
        "code_version": "1/1",
        "partition_map": 2,
        "execution_actors": 1,
        "dispatchers": 1,
    }
    assert body["actors"] == [
        {
            "name": "rillflow:execution:0",
            "node": "n",
            "address": "10.0.0.1 (one)",
            "pid": 7,
            "ready": True,
            "current": True,
            "settings_version": 3,
            "settings_digest": "d",
            "code_version": "1/1",
            "partition_map": 2,
            "partitions": 256,
            "epoch": 9,
            "hot": 0,
            "calls": 0,
        }
    ]
    assert "controller" not in body


async def test_nothing_is_converged_on_a_cluster_without_a_controller(api: Api) -> None:
    cluster = cluster_of(api)
    cluster.is_controlled = True
    assert (await shown(api))["converged"] is False


async def test_the_digest_of_secrets_is_not_shown(api: Api) -> None:
    response = await api.client.get("/flow/cluster.json")
    assert "never shown" not in response.text


async def test_an_actor_of_other_settings_or_other_code_is_not_current(api: Api) -> None:
    cluster = cluster_of(api)
    for other in ({"version": 2}, {"code_version": "0/1"}):
        cluster.actor = replace(cluster.actor, deployment=replace(cluster.wanted, **other))
        body = await shown(api)
        assert (body["converged"], body["actors"][0]["current"]) == (False, False)


async def test_an_actor_on_a_node_with_other_code_is_not_current(api: Api) -> None:
    cluster = cluster_of(api)
    cluster.actor = replace(cluster.actor, code_version="0/1")
    body = await shown(api)
    assert (body["converged"], body["actors"][0]["current"]) == (False, False)
    assert body["actors"][0]["code_version"] == "0/1"


async def test_an_actor_that_tells_no_version_is_not_current(api: Api) -> None:
    cluster = cluster_of(api)
    cluster.actor = replace(cluster.actor, deployment=None)
    [actor] = (await shown(api))["actors"]
    assert actor["current"] is False
    assert "settings_version" not in actor


async def test_a_silent_actor_is_named_and_nothing_is_converged(api: Api) -> None:
    cluster_of(api).silent = ["rillflow:dispatcher:0"]
    body = await shown(api)
    assert (body["converged"], body["silent"]) == (False, ["rillflow:dispatcher:0"])


async def test_the_controller_tells_its_reasons_and_the_restarts_it_has_seen(api: Api) -> None:
    cluster = cluster_of(api)
    cluster.controller = ControllerReport(
        node="n",
        pid=8,
        wanted=cluster.wanted,
        reasons=[Reason("not_converged", "it starts")],
        causes=["no such hook"],
        warnings=["Ray was started without a token"],
        steps=4,
        restarts={"rillflow:execution:0": 5},
        fencings={"rillflow:execution:0": 4},
    )
    body = await shown(api)
    assert body["converged"] is False
    assert body["controller"] == {
        "node": "n",
        "pid": 8,
        "settings_version": 3,
        "steps": 4,
        "reasons": [{"code": "not_converged", "message": "it starts"}],
        "causes": ["no such hook"],
        "warnings": ["Ray was started without a token"],
    }
    [actor] = body["actors"]
    assert (actor["restarts"], actor["fencings"]) == (5, 4)
    told = (await api.client.get("/metrics")).text
    assert 'rillflow_actor_restarts_total{actor="rillflow:execution:0",process="stack"} 5' in told
    assert 'rillflow_actor_fencings_total{actor="rillflow:execution:0",process="stack"} 4' in told


async def test_it_tells_what_each_actor_is_at_and_how_long_appends_take(api: Api) -> None:
    cluster = cluster_of(api)
    cluster.unfinished = 12
    cluster.stored = {cluster.actor.name: 11}
    described = decode_description(encode_description(cluster.actor, queue=3, append_ms=1.25))
    cluster.descriptions = {cluster.actor.name: described}
    body = await shown(api)
    assert body["unfinished_executions"] == 12
    [actor] = body["actors"]
    assert actor["stored"] == 11
    assert (actor["protocol"], actor["queue"], actor["append_ms"]) == (PROTOCOL, 3, 1.25)
    assert actor["address"] == "10.0.0.1 (one)"


async def test_it_tells_which_actor_and_node_hold_an_execution(api: Api) -> None:
    ids = [new_execution_id("b", "f", at_ms=n, entropy=bytes(16)) for n in range(2)]
    query = {"execution_ids": ",".join(ids)}
    body = (await api.client.get("/flow/cluster.json", params=query)).json()
    holder = {"actor": "rillflow:execution:0", "node": "n", "address": "10.0.0.1 (one)"}
    assert body["holders"] == dict.fromkeys(ids, holder)


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ("nothing", "executionId:nothing format error"),
        (",".join(["b:f_c_1"] * 101), "execution_ids has 101 ids; ask for 100 at most"),
    ],
)
async def test_what_is_no_execution_or_too_many_is_refused(api: Api, ids: str, told: str) -> None:
    response = await api.client.get("/flow/cluster.json", params={"execution_ids": ids})
    assert response.status_code == 400
    assert told in response.json()["error"]


def test_a_description_of_another_release_keeps_what_both_know() -> None:
    report = OneActor().actor
    later = msgspec.msgpack.decode(encode_description(report)) | {"of_a_later_release": 1}
    assert decode_description(msgspec.msgpack.encode(later)).report == report
