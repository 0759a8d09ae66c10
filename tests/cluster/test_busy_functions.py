"""What one owner of executions hears of a busy function, all owners know.

The stack has two owners; a key and a hint must mean the same whichever takes a submission.
"""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Final

import pytest

from rillflow.actors.names import owner_index
from tests.cluster.api import Api

pytestmark = pytest.mark.cluster

SUBMIT: Final = "/flow/submit.json"
HINT_S: Final = 600


def calls(gateway: str, name: str) -> str:
    return f"""
workspace: busy
dagName: {name}
type: flow
tasks:
  - name: A
    category: function
    resourceName: {gateway}/function/say?{name}
    pattern: task_sync
    inputMappings: [{{ source: $.context.say, target: $.input.say }}]
"""


def test_a_hint_keeps_submissions_away_from_every_owner(
    other_api: Api, gateway: SimpleNamespace
) -> None:
    hint = {"say": {"json": {"error_detail": {"retry_interval_seconds": HINT_S}}}}
    other_api.run(calls(gateway.url, "hinted"), hint)
    answers = [other_api.ask("POST", SUBMIT, descriptor_id="busy:hinted") for _ in range(16)]
    assert {answer.status for answer in answers} == {400}
    assert {answer.body["error_code"] for answer in answers} == {30201}

    skipping = {"descriptor_id": "busy:hinted", "resource_check": '{"check_type":"skip"}'}
    ids = [other_api.ask("POST", SUBMIT, **skipping).body["execution_id"] for _ in range(16)]
    assert {owner_index(execution_id, 2) for execution_id in ids} == {0, 1}
    for execution_id in ids:
        assert other_api.get(execution_id)["tasks"]["A"]["status"] == "RUNNING"

    shown = other_api.ask(
        "GET", "/flow/runtime_dependent_resources.json", service_ids="busy:hinted"
    )
    [entry] = shown.body["busy:hinted"]["task_name_order"]["A"].values()
    assert entry["resource_limited_time"] > shown.body["current_time"]

    cleared = other_api.ask(
        "POST", "/flow/clear_runtime_resources.json", service_id="busy:hinted", clear_all=True
    )
    assert cleared.body == {"ret": True}
    assert {other_api.end(execution_id).status for execution_id in ids} == {"SUCCEED"}


def test_submissions_of_one_key_at_once_give_one_execution(
    other_api: Api, gateway: SimpleNamespace
) -> None:
    other_api.add(calls(gateway.url, "keyed"))

    def submit(_: int) -> str:
        return other_api.submit("busy:keyed", {"n": 1}, idempotency_key="one")

    with ThreadPoolExecutor(16) as threads:
        ids = set(threads.map(submit, range(32)))
    assert len(ids) == 1
    other = other_api.ask(
        "POST", SUBMIT, body={"n": 2}, descriptor_id="busy:keyed", idempotency_key="one"
    )
    assert (other.status, other.body["error_code"]) == (409, 30109)


def test_a_rule_chooses_the_function(other_api: Api, gateway: SimpleNamespace) -> None:
    path = "/flow/bg/manage/descriptor/modify_function_ab.json"
    rule = {"business_id": "busy", "config_key": "chosen", "add": True}
    for name, condition in (("third", "default"), ("say", "input.loud")):
        url = f"{gateway.url}/function/{name}"
        set_rule = other_api.ask("POST", path, resource_name=url, ab_rule=condition, **rule)
        assert set_rule.body == {"ret": True}
    text = calls(gateway.url, "ruled").replace(f"{gateway.url}/function/say?ruled", "ab://chosen")
    ended = other_api.run(text, {"loud": True, "say": {"json": {"x": 1}}})
    assert ended.status == "SUCCEED"
    ext = ended.task("A")["invoke_msg"]["ext"]
    assert ext == {"calculated_resource_name": f"{gateway.url}/function/say"}
