"""A mapped input becomes query, headers and body of an HTTP request (spec 4.1 to 4.3)."""

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from rillflow.errors import GatewayError
from rillflow.gateways.http.requests import build_request, call_timeout_s, encode_body
from rillflow.gateways.outbound.egress import EgressRules
from rillflow.gateways.outbound.exchange import HttpCall
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.gateway import DispatchRequest
from tests.spec.notation import fn, scenario

EXECUTION = "business1:feature_c_0190f3a2-0000-7000-8000-000000000000"
TASK = "testFunctionRequestParams"
URL = "http://127.0.0.1:9000/work"
NOW_MS = 1_700_000_000_123
SETTINGS = HttpSettings(server_host="http://127.0.0.1:8080")
FORM = {"header": {"Content-Type": "application/x-www-form-urlencoded"}}


def attempt(inputs: dict[str, Any] | None = None, **changes: Any) -> DispatchRequest:
    fields: dict[str, Any] = {
        "execution_id": EXECUTION,
        "task": TASK,
        "attempt": 1,
        "pattern": "task_sync",
        "resource_name": URL,
        "input": encode_json(inputs or {}),
    }
    return DispatchRequest(**(fields | changes))


def built(
    inputs: dict[str, Any] | None = None, settings: HttpSettings = SETTINGS, **changes: Any
) -> HttpCall:
    return build_request(attempt(inputs, **changes), settings, now_ms=NOW_MS)


def headers_of(call: HttpCall) -> dict[str, str]:
    return {name.lower(): value for name, value in call.headers}


def query_of(call: HttpCall) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(call.url).query, keep_blank_values=True))


def body_of(call: HttpCall) -> Any:
    assert call.body is not None
    return decode_json(call.body)


# --- where input fields go ----------------------------------------------------


@pytest.mark.case("HT-01")
def test_plain_fields_go_into_the_body() -> None:
    call = built({"input_num": 10})
    assert body_of(call) == {"execution_id": EXECUTION, "input_num": 10}
    assert query_of(call) == {"execution_id": EXECUTION, "name": TASK}


@pytest.mark.case("HT-02")
def test_the_map_called_body_is_merged_into_the_body() -> None:
    call = built({"body": {"input_num": 10}})
    assert body_of(call) == {"execution_id": EXECUTION, "input_num": 10}
    assert query_of(call) == {"execution_id": EXECUTION, "name": TASK}


@pytest.mark.case("HT-03")
def test_the_map_called_query_is_merged_into_the_query() -> None:
    call = built({"query": {"input_num": 10}})
    assert body_of(call) == {"execution_id": EXECUTION}
    assert query_of(call) == {"execution_id": EXECUTION, "input_num": "10", "name": TASK}


def test_prefixed_maps_are_merged_like_their_short_names() -> None:
    call = built(
        {
            "request_config_a": {"b1": 1},
            "query_params_b": {"q1": "qv"},
            "request_header_c": {"X-My-A": "hv"},
        }
    )
    assert body_of(call) == {"execution_id": EXECUTION, "b1": 1}
    assert query_of(call) == {"execution_id": EXECUTION, "q1": "qv", "name": TASK}
    assert headers_of(call)["x-my-a"] == "hv"


def test_request_callback_maps_are_never_sent() -> None:
    assert body_of(built({"request_callback_x": {"a": 1}})) == {"execution_id": EXECUTION}


@pytest.mark.parametrize(
    "key",
    [
        "body",
        "request_config_x",
        "query",
        "query_params_x",
        "header",
        "request_header_x",
        "request_callback_x",
    ],
)
def test_a_special_name_whose_value_is_no_map_is_a_body_field(key: str) -> None:
    assert body_of(built({key: "flat"})) == {"execution_id": EXECUTION, key: "flat"}


def test_later_fields_win_over_earlier_ones_of_the_same_name() -> None:
    assert body_of(built({"body": {"a": 1}, "a": 2}))["a"] == 2
    assert body_of(built({"a": 2, "body": {"a": 1}}))["a"] == 1


def test_an_input_may_replace_the_execution_id() -> None:
    call = built({"query": {"execution_id": "mine"}, "execution_id": "mine"})
    assert query_of(call)["execution_id"] == "mine"
    assert body_of(call) == {"execution_id": "mine"}


def test_name_is_always_the_instance_and_comes_last() -> None:
    call = built({"query": {"name": "other", "z": "1"}})
    assert call.url.endswith(f"&z=1&name={TASK}")


# --- the address --------------------------------------------------------------


def test_the_own_query_of_the_address_stays_and_is_encoded_anew() -> None:
    call = built(resource_name="http://h:1/p?a=b%20c&flag&x=~*")
    assert call.url.startswith("http://h:1/p?a=b+c&flag&x=%7E*&execution_id=")


def test_query_values_of_any_type_travel_as_text() -> None:
    call = built({"query": {"s": "a b&c", "n": 2.5, "b": True, "o": {"k": [1]}, "x": None}})
    assert "s=a+b%26c" in call.url
    wanted = {"s": "a b&c", "n": "2.5", "b": "true", "o": '{"k":[1]}', "x": "null"}
    assert wanted.items() <= query_of(call).items()


def test_a_name_without_a_scheme_gets_the_one_of_its_protocol() -> None:
    call = built(resource_name="my-host/x", resource_protocol="http")
    assert call.url.startswith("http://my-host/x?")


def test_an_address_keeps_its_path_and_loses_its_fragment() -> None:
    call = built(resource_name="https://h/a/%7Eb/./ü#part")
    assert call.url.startswith("https://h/a/%7Eb/./%C3%BC?execution_id=")


@pytest.mark.parametrize(
    "name",
    [
        "http://h/a b",
        "http://",
        "http://h:x/",
        "http://h/%zz",
        "http:///p",
        "http://[::1/",
        "http://h/{id}",
        "http://h\n/",
    ],
)
def test_a_name_that_is_no_uri_is_refused(name: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        built(resource_name=name)
    assert str(refusal.value) == f"originalUrl value:{name} not http format"


@pytest.mark.case("E2E-29")
@pytest.mark.parametrize(("name", "protocol"), [("function://x", None), ("http://h/x", "function")])
def test_only_http_and_https_can_be_called(name: str, protocol: str | None) -> None:
    with pytest.raises(GatewayError) as refusal:
        built(resource_name=name, resource_protocol=protocol)
    assert str(refusal.value) == "scheme protocol:function unsupported"


# --- the method ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_type", "method"),
    [(None, "POST"), ("post", "POST"), ("Get", "GET"), ("fetch", "POST"), ("", "POST")]
    + [(verb, verb.upper()) for verb in ("put", "patch", "delete", "head", "options")],
)
def test_the_verb_is_the_one_asked_for_and_post_otherwise(
    request_type: str | None, method: str
) -> None:
    assert built(request_type=request_type).method == method


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE", "POST"])
def test_writing_verbs_send_the_body(verb: str) -> None:
    assert body_of(built({"a": 1}, request_type=verb))["a"] == 1


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
def test_reading_verbs_send_neither_body_nor_content_type(verb: str) -> None:
    call = built({"a": 1, "query": {"user": "Bob"}}, request_type=verb)
    assert call.body is None
    assert "content-type" not in headers_of(call)
    assert query_of(call)["user"] == "Bob"


# --- the body -----------------------------------------------------------------


@pytest.mark.case("HE-02")
def test_get_has_no_body() -> None:
    assert encode_body("GET", "", {}) is None


@pytest.mark.case("HE-03")
def test_post_of_nothing_is_an_empty_object() -> None:
    assert encode_body("POST", "", {}) == b"{}"


@pytest.mark.case("HE-04", "HE-05")
@pytest.mark.parametrize("content_type", ["", "application/json"])
def test_post_is_json_by_default(content_type: str) -> None:
    body = encode_body("POST", content_type, {"k": "v", "user": {"name": "Bob"}})
    assert body == b'{"k":"v","user":{"name":"Bob"}}'


@pytest.mark.case("HE-06")
@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "application/x-www-form-urlencoded;charset=utf-8"],
)
def test_post_is_a_form_when_the_content_type_says_so(content_type: str) -> None:
    assert encode_body("POST", content_type, {"k": "v", "name": "Bob"}) == b"k=v&name=Bob"


def test_a_form_carries_maps_and_lists_as_json_and_the_rest_as_text() -> None:
    call = built({**FORM, "o": {"deep": [1, None]}, "n": 1.5, "b": False, "t": "a b/ü"})
    assert call.body is not None
    fields = dict(parse_qsl(call.body.decode(), keep_blank_values=True))
    assert fields == {
        "execution_id": EXECUTION,
        "o": '{"deep":[1,null]}',
        "n": "1.5",
        "b": "false",
        "t": "a b/ü",
    }
    assert headers_of(call)["content-type"] == "application/x-www-form-urlencoded"


def test_a_null_in_a_form_is_refused() -> None:
    with pytest.raises(GatewayError, match="form field 'gone' is null"):
        built({**FORM, "gone": None})


def test_the_values_of_a_form_lose_null_entries_of_maps_and_keep_nulls_in_lists() -> None:
    call = built({**FORM, "o": {"a": None, "b": [None, {"c": None}]}, "l": [None, {"d": None}]})
    assert call.body is not None
    fields = dict(parse_qsl(call.body.decode()))
    assert (fields["o"], fields["l"]) == ('{"b":[null,{}]}', "[null,{}]")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_json_keeps_null_entries_of_maps_at_every_level(method: str) -> None:
    fields: Any = {"a": None, "b": {"c": None, "d": [None, {"e": None}]}, "f": "null"}
    assert json.loads(encode_body(method, "", fields) or b"") == fields
    call = built(fields)
    assert body_of(call) == {"execution_id": EXECUTION, **fields}
    call = built({"body": {"a": None, "b": {"c": None}}})
    assert body_of(call) == {"execution_id": EXECUTION, "a": None, "b": {"c": None}}


def test_json_is_announced_unless_the_input_announces_something_else() -> None:
    assert headers_of(built({}))["content-type"] == "application/json"
    given = built({"header": {"content-TYPE": "application/vnd.api+json"}})
    assert headers_of(given)["content-type"] == "application/vnd.api+json"
    assert body_of(given) == {"execution_id": EXECUTION}


# --- headers ------------------------------------------------------------------


@pytest.mark.case("AU-06")
def test_only_asynchronous_tasks_say_so_and_all_get_a_callback_address() -> None:
    for pattern in ("task_async", "task_scheduler"):
        headers = headers_of(built(pattern=pattern))
        assert headers["x-mode"] == "async"
        assert {"x-callback-url", "x-flow-server"} <= headers.keys()
    headers = headers_of(built(pattern="task_sync"))
    assert "x-mode" not in headers
    assert headers["x-flow-server"] == "http://127.0.0.1:8080"
    assert "x-callback-url" in headers


def test_a_gateway_that_queues_calls_itself_is_not_told_async() -> None:
    url = "http://gw:8080/async-function/render/x?a=1"
    headers = headers_of(built(pattern="task_async", resource_name=url))
    assert "x-mode" not in headers
    assert "x-callback-url" in headers
    elsewhere = "http://gw/function/render?next=/async-function/"
    assert headers_of(built(pattern="task_async", resource_name=elsewhere))["x-mode"] == "async"


def test_the_callback_address_is_sorted_and_encoded_to_the_byte() -> None:
    call = built(task="A_0-b~c*d e/f")
    assert headers_of(call)["x-callback-url"] == (
        "http://127.0.0.1:8080/flow/trigger.json"
        f"?execution_id={EXECUTION.replace(':', '%3A')}"
        f"&task_name=A_0-b%7Ec%2Ad%20e%2Ff&ts={NOW_MS}"
    )


def test_the_callback_host_can_differ_from_the_server_host() -> None:
    settings = HttpSettings(server_host="http://in:1", callback_host="https://out/base/")
    headers = headers_of(built(settings=settings))
    assert headers["x-flow-server"] == "http://in:1"
    assert headers["x-callback-url"].startswith("https://out/base/flow/trigger.json?")


def test_an_attempt_carries_the_same_keys_whenever_it_is_repeated() -> None:
    first, again = (headers_of(built(attempt=2)) for _ in range(2))
    assert first == again
    assert first["x-rillflow-attempt"] == "2"
    assert first["idempotency-key"] == f"{EXECUTION}/{TASK}/2"
    assert first["x-call-id"] != headers_of(built(attempt=3))["x-call-id"]
    assert len(first["x-call-id"]) == 36
    assert first["accept-encoding"] == "identity"


def test_headers_of_the_input_replace_ours_whatever_their_case() -> None:
    call = built(
        {"header": {"x-MODE": "sync", "X-Callback-Url": "http://me"}}, pattern="task_async"
    )
    names = [name.lower() for name, _ in call.headers]
    assert len(names) == len(set(names))
    assert headers_of(call)["x-mode"] == "sync"
    assert headers_of(call)["x-callback-url"] == "http://me"


def test_header_values_that_are_not_text_travel_as_their_text() -> None:
    call = built({"header": {"A": 1, "B": True, "C": {"k": 1}, "D": None}})
    headers = headers_of(call)
    assert [headers[name] for name in "abcd"] == ["1", "true", '{"k":1}', "null"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nEvil: 1"), ("X", "a\n"), ("X", "\0"), ("X\r\nEvil", "1"), ("", "1"), ("a b", "1")],
)
def test_a_header_that_would_break_the_request_is_refused(name: str, value: str) -> None:
    with pytest.raises(GatewayError, match=r"^dispatchTask http fails due to header"):
        built({"header": {name: value}})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Expect"])
def test_headers_that_belong_to_the_transport_are_not_taken_from_the_input(name: str) -> None:
    assert name.lower() not in headers_of(built({"header": {name: "5"}}))


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP"]
)
def test_an_author_does_not_say_for_whom_a_proxy_calls(name: str) -> None:
    assert name.lower() not in headers_of(built({"header": {name: "192.0.2.1"}}))


DENYING = EgressRules(
    deny_hosts=("admin.internal", ".secret.example"), deny_networks=("10.0.0.0/8",)
)
ALLOWING = EgressRules(allow_hosts=("api.example", ".cdn.example"))


@pytest.mark.parametrize(
    ("rules", "url", "host", "is_sent"),
    [
        (EgressRules(), URL, "any.example", True),
        (EgressRules(), URL, "169.254.169.254", False),
        (EgressRules(), URL, "[::ffff:169.254.169.254]:80", False),
        (EgressRules(private=False), "http://api.example/", "127.0.0.1:8265", False),
        (DENYING, URL, "shop.internal:8080", True),
        (DENYING, URL, "Admin.Internal", False),
        (DENYING, URL, "admin.internal.:8080", False),
        (DENYING, URL, "a.secret.example", False),
        (DENYING, URL, "10.1.2.3", False),
        (ALLOWING, "http://api.example/", "API.example:80", True),
        (ALLOWING, "http://api.example/", "a.cdn.example", True),
        (ALLOWING, "http://a.cdn.example/", "a.cdn.example", True),
        (ALLOWING, "http://api.example/", "admin.example", False),
        (ALLOWING, "http://api.example/", "10.1.2.3", False),
        (EgressRules(allow_networks=("127.0.0.0/8",)), URL, "any.example", True),
    ],
)
@pytest.mark.parametrize("header", ["Host", "hOST"])
def test_the_host_of_an_author_is_judged_like_the_host_of_an_address(
    rules: EgressRules, url: str, host: str, header: str, *, is_sent: bool
) -> None:
    settings = HttpSettings(egress=rules)
    given = {"request_header_1": {header: host}}
    if is_sent:
        assert headers_of(built(given, settings, resource_name=url))["host"] == host
        return
    with pytest.raises(GatewayError, match=r"^egress to .* is not allowed$"):
        built(given, settings, resource_name=url)


@pytest.mark.parametrize(
    "host", ["", "a b", "a,b", "user@a", "a/b", "http://a", "a:b", "a:123456", "[::1", "é", ["a"]]
)
def test_a_host_of_an_author_is_a_name_or_an_address(host: Any) -> None:
    with pytest.raises(GatewayError, match="header 'Host' is no name or address"):
        built({"header": {"Host": host}})


# --- signed callback addresses ------------------------------------------------

SIGNING = HttpSettings(auth_secret="123", auth_businesses=frozenset({"business1"}))


def sign_in(call: HttpCall) -> str | None:
    url = headers_of(call)["x-callback-url"]
    return dict(parse_qsl(urlsplit(url).query)).get("sign")


@pytest.mark.case("AU-01")
def test_without_an_execution_nothing_is_signed() -> None:
    assert sign_in(built(settings=SIGNING, execution_id="")) is None


@pytest.mark.case("AU-02")
def test_a_business_that_is_not_listed_gets_no_signature() -> None:
    other = EXECUTION.replace("business1", "business2")
    assert sign_in(built(settings=SIGNING, execution_id=other)) is None


@pytest.mark.case("AU-03")
def test_a_listed_business_gets_a_signature_over_the_sorted_query() -> None:
    call = built(settings=SIGNING)
    url = headers_of(call)["x-callback-url"]
    encoded = EXECUTION.replace(":", "%3A")
    message = f"execution_id={encoded}&task_name={TASK}&ts={NOW_MS}".encode()
    digest = hmac.digest(b"123", message, hashlib.sha1)
    assert sign_in(call) == base64.b64encode(digest).decode()
    assert url.index("execution_id=") < url.index("&sign=") < url.index("&task_name=")


@pytest.mark.parametrize("flag", [1, True, "1", "true", "TRUE"])
def test_an_input_can_ask_for_a_signature_and_does_not_send_the_question(flag: object) -> None:
    call = built({"generate_auth": flag, "a": 1}, execution_id="other:f_c_1")
    assert sign_in(call) is not None
    assert body_of(call) == {"execution_id": "other:f_c_1", "a": 1}


@pytest.mark.parametrize("flag", [0, False, "no", None, {"a": 1}, 2])
def test_any_other_flag_asks_for_nothing(flag: object) -> None:
    assert sign_in(built({"generate_auth": flag}, execution_id="other:f_c_1")) is None


# --- the rest -----------------------------------------------------------------


def test_the_notice_that_an_execution_has_ended_names_no_task() -> None:
    call = built({"dag_status": "succeed"}, task="", pattern="completion")
    assert query_of(call) == {"execution_id": EXECUTION}
    assert "task_name" not in headers_of(call)["x-callback-url"]


@pytest.mark.parametrize("text", [b"[1]", b"nonsense", b"null"])
def test_an_input_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(GatewayError, match=r"^handle fails: the input"):
        built(input=text)


def test_a_tasks_own_time_limit_bounds_its_synchronous_call() -> None:
    assert call_timeout_s(attempt(timeout_s=60.0), SETTINGS) == 60
    assert call_timeout_s(attempt(timeout_s=None), SETTINGS) == 30
    asynchronous = attempt(timeout_s=86_400.0, pattern="task_async")
    assert call_timeout_s(asynchronous, SETTINGS) == 30


def test_generate_auth_among_parameters_neither_signs_nor_is_sent() -> None:
    run = scenario(fn("A", "sync", parameters={"generate_auth": "true", "a": "1"}))
    run.submit()
    (call,) = run.dispatched
    assert call.input == {"a": "1"}
    run = scenario(
        fn("A", "sync", parameters={"generate_auth": "false"}, ins="generate_auth<=generate_auth")
    )
    run.submit({"generate_auth": "1"})
    (call,) = run.dispatched
    assert call.input == {"generate_auth": "1"}
