"""A callback keeps its result, whatever it is made of (spec 10.3, 5.2)."""

import base64
import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillflow.errors import RequestError, TooLargeError
from rillflow.gateways.callbacks.arrivals import MESSAGE_BYTES, Callback, read_callback, read_finish
from rillflow.jsontypes import MAX_DEPTH, decode_json, encode_json

NAMES = {"execution_id": "b:f_c_1", "task_name": "A"}
LIMIT = 1_000_000
PNG = b"\x89PNG\r\n\x1a\n\x00\x00"


def trigger(
    body: bytes | dict[str, Any] = b"", headers: dict[str, str] | None = None, **query: str
) -> Callback:
    raw = body if isinstance(body, bytes) else encode_json(body)
    return read_callback(query=NAMES | query, headers=headers or {}, body=raw, max_body_bytes=LIMIT)


def finish(body: bytes | dict[str, Any], **query: str) -> Callback:
    raw = body if isinstance(body, bytes) else encode_json(body)
    return read_finish(query=NAMES | query, headers={}, body=raw, max_body_bytes=LIMIT)


def output_of(callback: Callback) -> Any:
    return decode_json(callback.output)


# --- the output ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"[1, 2]", {"data": [1, 2]}),
        (b"5", {"data": 5}),
        (b'"text"', {"data": "text"}),
        (b"null", {"data": None}),
        (b"", {}),
        (b"\xef\xbb\xbf{}", {}),
        ("söme text".encode(), {"body": "söme text"}),
        (b'{"a": NaN}', {"body": '{"a": NaN}'}),
        (b"[" * 100_000, {"body": "[" * 100_000}),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, {"body": "[" * MAX_DEPTH + "]" * MAX_DEPTH}),
    ],
)
def test_the_body_is_read_as_json_whatever_its_content_type(body: bytes, output: Any) -> None:
    for content_type in ("application/json", "text/plain", "image/png", ""):
        assert output_of(trigger(body, {"Content-Type": content_type})) == output


def test_binary_bodies_are_kept_in_base64() -> None:
    callback = trigger(PNG, {"content-type": "image/png"})
    encoded = base64.b64encode(PNG).decode()
    assert output_of(callback) == {"body_base64": encoded, "content_type": "image/png"}
    assert callback.succeeded is True


def test_text_in_a_declared_charset_is_text() -> None:
    headers = {"Content-Type": "text/plain; charset=iso-8859-1"}
    assert output_of(trigger("é".encode("latin-1"), headers)) == {"body": "é"}


@pytest.mark.parametrize("charset", ["utf-16", "utf-32", "utf-16-le", "GB18030", "Big5"])
def test_json_in_a_declared_charset_is_json(charset: str) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    assert output_of(trigger('{"a": "你"}'.encode(charset), headers)) == {"a": "你"}
    finished = read_finish(
        query=NAMES, headers=headers, body='{"a": "你"}'.encode(charset), max_body_bytes=LIMIT
    )
    assert output_of(finished) == {"a": "你"}


def test_what_is_utf_8_stays_whatever_charset_the_gateway_copied() -> None:
    headers = {"Content-Type": "text/plain; charset=iso-8859-1"}
    assert output_of(trigger("é".encode(), headers)) == {"body": "é"}


def test_binary_that_is_called_text_is_kept_as_it_came() -> None:
    callback = trigger(PNG, {"Content-Type": "text/plain; charset=iso-8859-1"})
    assert output_of(callback)["body_base64"] == base64.b64encode(PNG).decode()


def test_integers_of_any_size_stay_exact() -> None:
    assert output_of(trigger(b'{"n": 123456789012345678901234567890}')) == {
        "n": 123456789012345678901234567890
    }


# --- compression --------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b'{"a":1}', mtime=0)),
        ("X-GZIP", gzip.compress(b'{"a":1}', mtime=0)),
        ("deflate", zlib.compress(b'{"a":1}')),
        ("deflate", zlib.compress(b'{"a":1}', wbits=-15)),
        ("deflate, gzip", gzip.compress(zlib.compress(b'{"a":1}'), mtime=0)),
        ("identity", b'{"a":1}'),
        ("gzip", b'{"a":1}'),
        ("br", b'{"a":1}'),
    ],
)
def test_compression_is_undone_and_a_false_claim_of_it_harms_nothing(
    encoding: str, body: bytes
) -> None:
    assert output_of(trigger(body, {"Content-Encoding": encoding})) == {"a": 1}


def test_a_broken_off_archive_is_kept_as_it_is() -> None:
    broken = gzip.compress(b"x" * 1000)[:-6]
    output = output_of(trigger(broken, {"Content-Encoding": "gzip"}))
    assert base64.b64decode(output["body_base64"]) == broken


def test_a_body_over_the_limit_is_refused_also_when_it_only_unpacks_to_that() -> None:
    bomb = gzip.compress(b" " * (LIMIT + 1))
    for body, headers in ((b"x" * (LIMIT + 1), {}), (bomb, {"Content-Encoding": "gzip"})):
        with pytest.raises(TooLargeError, match=r"^context size nonsupport$") as refusal:
            trigger(body, headers)
        assert refusal.value.http_status == 413
    assert output_of(trigger(b"x" * LIMIT)) == {"body": "x" * LIMIT}


# --- the outcome --------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "function_status", "result_type", "succeeded"),
    [
        (None, None, None, True),
        (None, None, "SUCCESS", True),
        (None, None, "success", True),
        (None, None, "FAILED", False),
        (None, "200", "FAILED", True),
        (None, "204", None, True),
        (None, "302", None, False),
        (None, "500", "SUCCESS", False),
        (None, "nonsense", "FAILED", False),
        ("success", "500", "FAILED", True),
        ("SUCCESS", None, None, True),
        ("failed", "200", "SUCCESS", False),
        ("nonsense", None, None, False),
        ("", None, "FAILED", False),
        ("", None, None, True),
    ],
)
def test_the_query_decides_then_the_gateway_then_the_body(
    status: str | None, function_status: str | None, result_type: str | None, *, succeeded: bool
) -> None:
    callback = trigger(
        {} if result_type is None else {"result_type": result_type},
        {} if function_status is None else {"X-Function-Status": function_status},
        **({} if status is None else {"status": status}),
    )
    assert callback.succeeded is succeeded


@pytest.mark.case("E2E-13")
def test_a_callback_can_say_failed() -> None:
    callback = trigger(status="failed")
    assert callback.succeeded is False
    assert callback.message == "callback status failed"


def test_a_failure_says_the_first_four_kilobytes_of_its_body() -> None:
    headers = {"X-Function-Status": "500", "Content-Type": "application/json"}
    assert trigger(b"exit status 1", headers).message == "exit status 1"
    long = trigger("é".encode() * MESSAGE_BYTES, headers).message
    assert long == "é" * (MESSAGE_BYTES // 2)
    cut_inside = trigger(b"x" + "é".encode() * MESSAGE_BYTES, headers).message
    assert cut_inside is not None
    assert len(cut_inside.encode()) == MESSAGE_BYTES - 1


def test_a_failure_that_explains_itself_in_json_is_quoted() -> None:
    body = {"result_type": "FAILED", "error_msg": "no ink", "error_code": 7}
    callback = trigger(body | {"error_detail": {"retry_interval_seconds": 9}})
    assert (callback.message, callback.code) == ("no ink", "7")
    assert callback.retry_interval_s == 9
    assert output_of(callback)["error_msg"] == "no ink"


def test_a_success_has_neither_message_nor_code() -> None:
    callback = trigger({"msg": "fine", "code": "print(1)"})
    assert (callback.message, callback.code) == (None, None)


def test_a_failure_without_words_names_its_status() -> None:
    assert trigger(b"", {"X-Function-Status": "503"}).message == (
        "the function failed with status 503"
    )
    assert trigger(PNG, {"X-Function-Status": "500"}).message == (
        "the function failed with a binary answer"
    )


@pytest.mark.parametrize(
    ("status", "retry", "most", "will_retry"),
    [
        ("500", "0", "3", True),
        ("500", "3", "3", False),
        ("200", "0", "3", False),
        ("500", "x", "3", False),
        ("500", None, None, False),
    ],
)
def test_a_failure_that_the_gateway_repeats_is_marked(
    status: str, retry: str | None, most: str | None, *, will_retry: bool
) -> None:
    given_headers = {"X-Function-Status": status, "X-Retry": retry, "X-Retry-Max": most}
    headers = {name: value for name, value in given_headers.items() if value is not None}
    assert trigger(b"", headers).will_retry is will_retry


def test_what_the_gateway_says_about_the_call_is_kept() -> None:
    callback = trigger(
        b"{}",
        {
            "X-Function-Status": "200",
            "X-Duration-Seconds": "0.125",
            "X-Function-Name": "render",
            "X-Call-Id": "c-1",
            "X-Retry": "1",
            "X-Retry-Max": "2",
        },
    )
    assert callback.facts == {
        "status": 200,
        "duration_s": 0.125,
        "function": "render",
        "call_id": "c-1",
        "retry": 1,
        "retry_max": 2,
    }


def test_odd_words_of_the_gateway_are_left_out() -> None:
    headers = {"X-Function-Status": "9" * 50, "X-Duration-Seconds": "inf", "X-Function-Name": ""}
    assert trigger(b"{}", headers).facts == {}


# --- the query ----------------------------------------------------------------


@pytest.mark.case("E2E-11")
def test_a_callback_by_get_carries_its_result_in_the_query() -> None:
    callback = trigger(status="success", context='{"a":1}')
    assert callback.succeeded is True
    assert output_of(callback) == {"a": 1}


@pytest.mark.case("E2E-12")
def test_the_querys_context_wins_over_the_body_key_by_key() -> None:
    assert output_of(trigger({"a": 1, "b": 2}, context='{"a":9}')) == {"a": 9, "b": 2}


@pytest.mark.parametrize("context", ["", "{", "[1]", "5", "\ud800"])
def test_a_context_that_is_no_object_is_ignored(context: str) -> None:
    assert output_of(trigger({"a": 1}, context=context)) == {"a": 1}


@pytest.mark.parametrize("missing", ["execution_id", "task_name"])
def test_a_callback_for_nobody_is_refused(missing: str) -> None:
    query = {name: value for name, value in NAMES.items() if name != missing}
    with pytest.raises(RequestError) as refusal:
        read_callback(query=query, headers={}, body=b"", max_body_bytes=LIMIT)
    assert str(refusal.value) == f"Required request parameter '{missing}' is not present"
    assert (refusal.value.http_status, refusal.value.wire_code) == (422, 30109)


# --- CloudEvents --------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "output"),
    [
        ({"data": {"a": 1}}, {"a": 1}),
        ({"data": [1]}, {"data": [1]}),
        ({"data": "hi", "datacontenttype": "text/plain"}, {"body": "hi"}),
        ({"data": "hi"}, {"data": "hi"}),
        ({"data_base64": base64.b64encode(b'{"a":1}').decode()}, {"a": 1}),
        ({}, {}),
    ],
)
def test_a_structured_cloud_event_stands_for_its_data(event: dict[str, Any], output: Any) -> None:
    envelope = {"specversion": "1.0", "id": "1", "type": "done", "source": "/f"}
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    assert output_of(trigger(envelope | event, headers)) == output


@pytest.mark.parametrize("body", [b'{"data": 1}', b'{"specversion":"1","data_base64":"?"}', b"x"])
def test_a_broken_cloud_event_is_an_ordinary_body(body: bytes) -> None:
    plain = output_of(trigger(body))
    assert output_of(trigger(body, {"Content-Type": "application/cloudevents+json"})) == plain


def test_a_binary_cloud_event_is_its_body() -> None:
    headers = {"ce-id": "e-1", "ce-type": "done", "ce-specversion": "1.0"}
    callback = trigger({"a": 1}, headers)
    assert output_of(callback) == {"a": 1}
    assert callback.facts == {"event_id": "e-1", "event_type": "done"}


# --- finish.json --------------------------------------------------------------


@pytest.mark.case("E2E-15")
@pytest.mark.parametrize(
    ("result_type", "succeeded"),
    [
        ("SUCCESS", True),
        ("success", True),
        ("FAIL", False),
        ("FAILED", False),
        (5, False),
        (None, True),
        ("", False),
    ],
)
def test_finish_succeeds_unless_the_result_type_says_otherwise(
    result_type: object, *, succeeded: bool
) -> None:
    callback = finish({"result_type": result_type, "a": 1})
    assert callback.succeeded is succeeded
    assert output_of(callback) == {"result_type": result_type, "a": 1}


def test_finish_takes_both_spellings_of_its_parameters() -> None:
    query = {"executionId": "b:f_c_2", "taskName": "B"}
    callback = read_finish(query=query, headers={}, body=b"{}", max_body_bytes=LIMIT)
    assert (callback.execution_id, callback.task_name) == ("b:f_c_2", "B")
    assert callback.succeeded is True


def test_the_documented_shape_has_its_output_in_the_response() -> None:
    body = {
        "result_type": "FAIL",
        "passthrough": {"task_name": "B"},
        "response": {"a": 1, "error_msg": "no", "error_code": 3},
        "error_detail": {"retry_interval_seconds": 4},
    }
    callback = finish(body)
    assert callback.task_name == "A"
    assert output_of(callback) == body["response"]
    assert (callback.succeeded, callback.message, callback.code) == (False, "no", "3")
    assert callback.retry_interval_s == 4
    unnamed = read_finish(
        query={"execution_id": "b:f_c_1"},
        headers={},
        body=encode_json(body),
        max_body_bytes=LIMIT,
    )
    assert unnamed.task_name == "B"


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": 7, "error_msg": "m", "invoke_id": 9},
        {"code": 7, "msg": "m", "invoke_id": "9"},
        {"code": 1, "msg": "outer", "data": {"error_code": 7, "error_msg": "m", "invoke_id": 9}},
    ],
)
def test_finish_takes_code_message_and_invoke_id_out_of_the_body(body: dict[str, Any]) -> None:
    callback = finish(body)
    assert (callback.code, callback.message, callback.invoke_id) == ("7", "m", "9")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Required request body is missing"),
        (b" \n", "Required request body is missing"),
        (b"{", "request body is not JSON"),
        (b"[]", "request body is not a JSON object"),
        (b"null", "request body is not a JSON object"),
    ],
)
def test_finish_needs_a_json_object(body: bytes, message: str) -> None:
    with pytest.raises(RequestError) as refusal:
        finish(body)
    assert str(refusal.value) == message
    assert (refusal.value.http_status, refusal.value.wire_code) == (422, 30109)


# --- the law ------------------------------------------------------------------

_texts = st.text(max_size=20)
_wild_texts = st.text(st.characters(exclude_categories=()), max_size=20)
_queries = st.dictionaries(
    st.sampled_from(["execution_id", "task_name", "status", "context", "executionId", "x"]),
    st.one_of(_wild_texts, st.sampled_from(["{}", '{"a":1}', "[]", "failed", "success"])),
)
_headers = st.dictionaries(
    st.sampled_from(
        [
            "Content-Type",
            "content-encoding",
            "X-Function-Status",
            "X-Retry",
            "X-Retry-Max",
            "X-Duration-Seconds",
            "X-Call-Id",
            "ce-id",
            "X-Function-Name",
        ]
    ),
    st.one_of(
        _wild_texts,
        st.sampled_from(["gzip", "deflate,gzip", "application/cloudevents+json", "500", "1"]),
        st.just("text/plain; charset=utf-16"),
    ),
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _texts),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(_texts, inner)),
    max_leaves=8,
)
_fields = ["result_type", "data", "passthrough", "response", "specversion", "data_base64", "code"]
_objects = st.dictionaries(st.one_of(st.sampled_from(_fields), _texts), _json)
_bodies = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(gzip.compress),
    _objects.map(encode_json),
)


@given(query=_queries, headers=_headers, body=_bodies)
def test_whatever_arrives_is_read_or_refused_as_a_request(
    query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    for read in (read_callback, read_finish):
        try:
            callback = read(query=query, headers=headers, body=body, max_body_bytes=1000)
        except RequestError:
            continue
        assert isinstance(decode_json(callback.output), dict)
        encode_json(callback.facts)
        encode_json([callback.task_name, callback.message, callback.code])
