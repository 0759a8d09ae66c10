"""A webhook of a definition starts executions through Serve, once for each signed delivery."""

import hashlib
import hmac
from typing import Final

import httpx
import pytest

from tests.cluster.api import Api
from tests.cluster.functions import CHAT_KEY

pytestmark = pytest.mark.cluster

PUSHED: Final = """
workspace: mission
dagName: pushed
type: flow
triggers:
  - name: push
    webhook:
      signature: github
      secret: ${secret:CHAT}
      mapping: { branch: "$.body.ref", event: "$.headers['x-github-event']" }
tasks:
  - name: note
    category: pass
    inputMappings: [{ source: $.context.branch, target: $.input.branch }]
"""
BODY: Final = b'{"ref": "main"}'


def push(api: Api, path: str, key: str, delivery: str) -> httpx.Response:
    mac = hmac.new(key.encode(), BODY, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": f"sha256={mac}",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": delivery,
    }
    return api.http.post(path, content=BODY, headers=headers)


def test_a_signed_delivery_starts_one_execution_however_often_it_comes(other_api: Api) -> None:
    api = other_api
    api.add(PUSHED)
    trigger = "mission:pushed:release/push"
    shown = api.ask("GET", "/flow/triggers/show.json", trigger_id=trigger).body
    path = shown["path"]
    assert path == "/flow/hooks/mission:pushed:release:push"
    refused = push(api, path, f"{CHAT_KEY}x", "d1")
    assert refused.status_code == 401, refused.text
    answers = [push(api, path, CHAT_KEY, "d1") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {202}
    [execution] = {answer.json()["execution_id"] for answer in answers}
    ended = api.end(execution)
    assert (ended.status, ended.context["branch"], ended.context["event"]) == (
        *("SUCCEED", "main"),
        "push",
    )
    assert push(api, path, CHAT_KEY, "d2").json()["execution_id"] != execution
    assert push(api, f"{path}s", CHAT_KEY, "d3").status_code == 404
