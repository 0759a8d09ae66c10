"""A protocol of one's own is served by a plugin, installed or named in the settings."""

from typing import Final

import pytest

from tests.cluster.api import Api, Ended, Json

pytestmark = pytest.mark.cluster


def _run(
    api: Api, resource: str, data: Json, *, pattern: str = "task_sync", more: str = ""
) -> Ended:
    mappings = "".join(
        f"\n      - {{ source: $.context.{key}, target: $.input.{key} }}" for key in data
    )
    text = f"""
workspace: mission
dagName: plugged
type: flow
tasks:
  - name: call
    category: function
    pattern: {pattern}
    resourceName: {resource}{more}
    inputMappings:{mappings}
    outputMappings: [{{ source: $.output, target: $.context.output }}]
"""
    return api.run(text, data)


def test_an_installed_package_announces_its_plugin_by_an_entry_point(other_api: Api) -> None:
    ended = _run(other_api, "echo://greeting", {"a": [1, {"b": 2}]})
    assert ended.status == "SUCCEED"
    assert ended.context["output"] == {"echo": {"a": [1, {"b": 2}]}, "value": "greeting"}


def test_a_module_named_in_the_settings_is_a_plugin_too(other_api: Api) -> None:
    ended = _run(other_api, "shout://bob", {"text": "hello"})
    assert ended.context["output"] == {"text": "HELLO", "to": "bob"}


def test_a_protocol_of_the_task_chooses_the_plugin_over_the_scheme(other_api: Api) -> None:
    ended = _run(other_api, "x://bob", {"text": "hello"}, more="\n    resourceProtocol: shout")
    assert ended.context["output"] == {"text": "HELLO", "to": "bob"}


@pytest.mark.parametrize(
    ("resource", "data", "message"),
    [
        ("echo://x", {"fail": "no echo here"}, "handle fails: no echo here"),
        ("shout://x", {"text": "nothing"}, "handle fails: there is nothing to say"),
    ],
)
def test_what_a_plugin_raises_is_the_failure_of_its_task(
    other_api: Api, resource: str, data: Json, message: str
) -> None:
    ended = _run(other_api, resource, data)
    assert ended.status == "FAILED"
    assert ended.task("call")["invoke_msg"]["msg"] == message


TRANSLATION: Final = """
workspace: mission
dagName: translation
type: flow
tasks:
  - name: translate
    category: function
    pattern: PATTERN
    resourceName: PROTOCOL://model
    inputMappings:
      - { source: "${secret:CHAT}", target: $.input.apikey }
      - { source: "Please translate into Chinese: ", target: $.input.prompt_prefix }
      - { source: $.context.message, target: $.input.prompt }
    outputMappings: [{ source: $.output.result, target: $.context.gpt_response }]
    next: read
  - name: read
    category: pass
    inputMappings: [{ source: $.context.gpt_response, target: $.input.answer }]
    outputMappings:
      - { source: "$.output.answer.choices[0].message.content", target: $.context.text }
"""


@pytest.mark.case("E2E-08")
@pytest.mark.parametrize(
    ("protocol", "pattern"),
    [("chatgpt", "task_async"), ("chatgpt", "task_sync"), ("chat", "task_async")],
)
def test_a_model_answers_and_so_may_a_plugin_by_callback(
    other_api: Api, protocol: str, pattern: str
) -> None:
    text = TRANSLATION.replace("PROTOCOL", protocol).replace("PATTERN", pattern)
    ended = other_api.run(text, {"message": 'good "day"'})
    content = '<Please translate into Chinese: good "day">'
    assert ended.context["gpt_response"]["choices"][0]["message"]["content"] == content
    assert ended.context["text"] == content


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_a_model_that_refuses_the_key_fails_the_task_without_showing_it(
    other_api: Api, pattern: str
) -> None:
    data = {"apikey": "sk-of-somebody-else", "prompt": "hello"}
    ended = _run(other_api, "chatgpt://model", data, pattern=pattern)
    assert ended.status == "FAILED"
    message = ended.task("call")["invoke_msg"]["msg"]
    assert "401 Unauthorized" in message
    assert data["apikey"] not in str(ended.task("call"))


@pytest.mark.case("E2E-28")
def test_a_protocol_that_nobody_serves_fails_its_task(other_api: Api) -> None:
    ended = _run(other_api, "foo://x", {})
    assert ended.status == "FAILED"
    message = ended.task("call")["invoke_msg"]["msg"]
    assert message == "handle functionPattern protocol: foodo not support"


@pytest.mark.case("E2E-29")
def test_function_is_a_protocol_that_needs_an_address_of_its_own(other_api: Api) -> None:
    ended = _run(other_api, "function://x", {})
    assert ended.status == "FAILED"
    assert "scheme protocol:function unsupported" in ended.task("call")["invoke_msg"]["msg"]
