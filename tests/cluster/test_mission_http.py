"""An HTTP task sends exactly the request that its input describes (spec 4.2, 4.3)."""

import json
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from tests.cluster.api import Api, Ended, Functions, Json

pytestmark = pytest.mark.cluster


def _call(api: Api, url: str, data: Json, **task: Json) -> Ended:
    """Run one synchronous task whose input is ``data``; ``/echo`` then answers what it was sent."""
    definition = {
        "workspace": "mission",
        "dagName": "calling",
        "type": "flow",
        "tasks": [
            {
                "name": "call",
                "category": "function",
                "pattern": "task_sync",
                "resourceName": url,
                "inputMappings": [
                    {"source": f"$.context.{key}", "target": f"$.input.{key}"} for key in data
                ],
                "outputMappings": [{"source": "$.output", "target": "$.context.sent"}],
                **task,
            }
        ],
    }
    return api.run(json.dumps(definition) + "\n", data)


SPLIT: Final = {
    "query": {"q": 1},
    "query_params_more": {"r": "a b&c"},
    "header": {"X-One": "1"},
    "request_header_more": {"X-Two": 2},
    "body": {"deep": {"list": [1, None, {"x": None, "y": 2}]}},
    "request_config_more": {"extra": True},
    "request_callback_no": {"never": "sent"},
    "plain": "text",
    "user": "Bob",
}


def test_the_input_is_split_into_query_headers_and_body(api: Api, functions: Functions) -> None:
    ended = _call(api, functions.url + "/echo/here?own=1", SPLIT)
    sent = ended.context["sent"]
    assert (sent["method"], sent["path"]) == ("POST", "/echo/here")
    assert sent["query"] == {
        "own": "1",
        "q": "1",
        "r": "a b&c",
        "execution_id": ended.execution_id,
        "name": "call",
    }
    assert (sent["headers"]["x-one"], sent["headers"]["x-two"]) == ("1", "2")
    assert sent["headers"]["content-type"] == "application/json"
    assert json.loads(sent["body"]) == {
        "deep": {"list": [1, None, {"y": 2}]},
        "extra": True,
        "plain": "text",
        "user": "Bob",
        "execution_id": ended.execution_id,
    }


def test_what_should_be_a_map_but_is_not_travels_in_the_body(
    api: Api, functions: Functions
) -> None:
    data = {"query": "q", "header": 5, "body": [1]}
    ended = _call(api, functions.url + "/echo", data)
    assert json.loads(ended.context["sent"]["body"]) == {
        **data,
        "execution_id": ended.execution_id,
    }


def test_a_get_has_a_query_and_no_body(api: Api, functions: Functions) -> None:
    data = {"query": {"user": "Bob"}, "title": "t"}
    ended = _call(api, functions.url + "/echo", data, requestType="get")
    sent = ended.context["sent"]
    assert (sent["method"], sent["body"]) == ("GET", "")
    assert "content-type" not in sent["headers"]
    assert sent["query"] == {"user": "Bob", "execution_id": ended.execution_id, "name": "call"}


def test_the_form_content_type_makes_the_body_a_form(api: Api, functions: Functions) -> None:
    data = {
        "header": {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"},
        "query": {"user": "Bob"},
        "title": "a b",
        "nested": {"k": [1]},
    }
    ended = _call(api, functions.url + "/echo", data)
    sent = ended.context["sent"]
    assert sent["query"]["user"] == "Bob"
    assert parse_qs(sent["body"]) == {
        "title": ["a b"],
        "nested": ['{"k":[1]}'],
        "execution_id": [ended.execution_id],
    }


@pytest.mark.parametrize(
    ("verb", "method", "has_body"),
    [
        (None, "POST", True),
        ("strange", "POST", True),
        ("put", "PUT", True),
        ("PATCH", "PATCH", True),
        ("delete", "DELETE", True),
    ],
)
def test_the_request_type_is_the_verb_and_post_where_there_is_none(
    api: Api, functions: Functions, verb: str | None, method: str, *, has_body: bool
) -> None:
    ended = _call(api, functions.url + "/echo", {"a": 1}, **({"requestType": verb} if verb else {}))
    sent = ended.context["sent"]
    assert sent["method"] == method
    assert bool(sent["body"]) == has_body


def test_every_request_tells_where_it_came_from_and_where_a_result_may_go(
    api: Api, functions: Functions
) -> None:
    ended = _call(api, functions.url + "/echo", {})
    headers = ended.context["sent"]["headers"]
    assert headers["x-flow-server"] == api.base_url
    assert headers["accept-encoding"] == "identity"
    assert "x-mode" not in headers
    address = headers["x-callback-url"]
    assert address.startswith(f"{api.base_url}/flow/trigger.json?")
    query = urlsplit(address).query
    assert [name for name, _ in parse_qsl(query)] == ["execution_id", "task_name", "ts"]
    assert dict(parse_qsl(query))["execution_id"] == ended.execution_id
    assert "%3A" in query
    assert headers["x-call-id"]
    assert headers["x-rillflow-attempt"] == "1"
    assert headers["idempotency-key"]


def test_headers_of_the_input_replace_those_of_the_house(api: Api, functions: Functions) -> None:
    data = {"header": {"x-flow-server": "elsewhere", "X-Callback-Url": "http://mine/"}}
    headers = _call(api, functions.url + "/echo", data).context["sent"]["headers"]
    assert (headers["x-flow-server"], headers["x-callback-url"]) == ("elsewhere", "http://mine/")


def test_parameters_fill_in_what_the_input_lacks(api: Api, functions: Functions) -> None:
    parameters = {"a": "given", "b": 5, "query": {"z": "26"}}
    ended = _call(api, functions.url + "/echo", {"a": "mapped"}, parameters=parameters)
    sent = ended.context["sent"]
    assert sent["query"]["z"] == "26"
    assert json.loads(sent["body"]) == {
        "a": "mapped",
        "b": 5,
        "execution_id": ended.execution_id,
    }


def test_a_protocol_of_its_own_lets_the_address_do_without_a_scheme(
    api: Api, functions: Functions
) -> None:
    address = functions.url.removeprefix("http://") + "/echo"
    ended = _call(api, address, {"a": 1}, resourceProtocol="http")
    assert (ended.status, ended.context["sent"]["path"]) == ("SUCCEED", "/echo")


def test_a_redirect_of_a_post_is_followed_with_a_get(api: Api, functions: Functions) -> None:
    replies = [{"status": 302, "headers": {"Location": "/echo/there"}}]
    ended = _call(api, functions.url + "/answer", {"replies": replies})
    sent = ended.context["sent"]
    assert (sent["method"], sent["path"], sent["body"]) == ("GET", "/echo/there", "")


def test_hot_requests_go_around_what_serve_does_for_every_request(api: Api) -> None:
    """Serve gives a request an id and tells it in the answer."""
    hot = api.http.get("/flow/get.json", params={"execution_id": "nobody"})
    other = api.http.get("/flow/bg/get_business_ids.json")
    assert hot.status_code == 200
    assert "x-request-id" in other.headers
    assert "x-request-id" not in hot.headers
