"""What surrounds an execution: where it starts from, who is told of its end, who is left alone."""

import json
import time
from typing import Any, Final

import pytest

from tests.cluster.api import LOOK_S, WAIT_S, Api, Functions

pytestmark = pytest.mark.cluster

TOLD: Final = """
workspace: around
dagName: told
type: flow
callback:
  resourceName: FUNCTIONS/answer/definition
  fullContext: true
  inputMappings: [{ source: $.context.n, target: $.input.number }]
tasks:
  - { name: only, category: pass, outputMappings: [{ source: "5", target: $.context.n }] }
"""
FAILS: Final = """\
  - name: fails
    category: function
    pattern: task_sync
    resourceName: FUNCTIONS/answer
    parameters: { replies: [{ status: 500 }] }
"""


@pytest.mark.case("E2E-25")
def test_a_definition_may_ask_to_be_told_of_the_end(api: Api, functions: Functions) -> None:
    ended = api.run(TOLD.replace("FUNCTIONS", functions.url))
    [call] = functions.calls(ended.execution_id, 1)
    assert (call["method"], call["path"]) == ("POST", "/answer/definition")
    body = json.loads(call["body"])
    assert body["execution_id"] == ended.execution_id
    assert body["dag_status"] == "succeed"
    assert body["number"] == 5
    assert body["data"] == ended.context


@pytest.mark.parametrize("plain", [True, False], ids=["url", "config"])
@pytest.mark.case("E2E-26")
def test_whoever_submits_may_be_told_instead(
    api: Api, functions: Functions, *, plain: bool
) -> None:
    url = functions.url + "/answer/submission"
    callback = url if plain else json.dumps({"resourceName": url})
    ended = api.run(TOLD.replace("FUNCTIONS", functions.url), callback=callback)
    [call] = functions.calls(ended.execution_id, 1)
    assert call["path"] == "/answer/submission"


def test_a_failure_is_told_with_its_reason(api: Api, functions: Functions) -> None:
    ended = api.run((TOLD + FAILS).replace("FUNCTIONS", functions.url))
    assert ended.status == "FAILED"
    notice = functions.calls(ended.execution_id, 2)[1]
    body: dict[str, Any] = json.loads(notice["body"])
    assert body["dag_status"] == "failed"
    assert set(body["error_info"]["failed_tasks_invoke_info"]) == {"fails"}
    assert body["error_info"]["dag_invoke_info"]["msg"] == ended.shown["dag_invoke_msg"]["msg"]


@pytest.mark.case("E2E-27")
def test_the_context_starts_with_the_defaults_and_what_is_submitted(api: Api) -> None:
    ended = api.run(
        """
workspace: around
dagName: defaults
type: flow
defaultContext: { n: "5", o: '{"k":1}', t: '"text"' }
tasks:
  - { name: only, category: pass }
""",
        {"n": 7},
    )
    assert ended.context == {
        "n": 7,
        "o": {"k": 1},
        "t": '"text"',
        "flow_execution_id": ended.execution_id,
    }


BUSY: Final = """
workspace: around
dagName: busy
type: flow
tasks:
  - name: ask
    category: function
    pattern: task_sync
    resourceName: FUNCTIONS/answer/busy
    parameters: { replies: [{ json: { error_detail: { retry_interval_seconds: 2 } } }] }
"""


@pytest.mark.case("E2E-21")
def test_a_function_that_wants_to_be_left_alone_is(api: Api, functions: Functions) -> None:
    text = BUSY.replace("FUNCTIONS", functions.url)
    assert api.run(text).status == "SUCCEED"
    refused = api.ask("POST", "/flow/submit.json", descriptor_id="around:busy")
    assert (refused.status, refused.body["error_code"]) == (400, 30201)
    assert refused.body["error"] == f"resource limit resources: {functions.url}/answer/busy"
    taken = api.submit("around:busy", resource_check='{"check_type": "skip"}')
    give_up = time.monotonic() + WAIT_S
    while api.ask("POST", "/flow/submit.json", descriptor_id="around:busy").status != 200:
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)
    assert api.end(taken).status == "SUCCEED"
