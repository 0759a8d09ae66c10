"""Statuses, bodies and redirects mean what spec 4.4 and 9.2 say."""

import gzip
from typing import Final
from urllib.parse import urljoin

import pytest
from aiohttp import web
from msgspec.structs import replace

from rillflow.errors import GatewayError
from rillflow.gateways.http.requests import build_request
from rillflow.gateways.http.responses import redirected
from rillflow.gateways.http_client.request_head import origin_of
from rillflow.gateways.http_client.tls import name_of
from rillflow.gateways.outbound.exchange import Reply
from rillflow.gateways.outbound.settings import HttpSettings, TlsFiles
from rillflow.jsontypes import decode_json, encode_json
from tests.loopback import (
    FAILS,
    attempt,
    call,
    echo,
    moved,
    responding,
    web_server,
)

# --- statuses and bodies ------------------------------------------------------


@pytest.mark.case("HT-10")
async def test_a_status_of_400_or_more_fails_the_attempt() -> None:
    calls = 0

    async def slow(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=504, text="upstream timed out")

    async with web_server(slow=slow) as url:
        answer = await call(f"{url}/slow")
    assert answer.error == f"{FAILS}504 Gateway Timeout: upstream timed out"
    assert answer.http_status == 504
    assert answer.body is None
    assert calls == 1


async def test_a_json_object_in_a_failed_answer_is_kept() -> None:
    body = encode_json({"error_code": 7, "error_msg": "busy"})
    async with web_server(f=responding(status=500, body=body)) as url:
        answer = await call(f"{url}/f")
    assert answer.body == body
    assert answer.error is not None
    assert answer.error.startswith(f"{FAILS}500 Internal Server Error: ")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2000 22:13:30 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 400, 86400.0),
    ],
)
async def test_the_wish_to_be_called_later_is_read(value: str, seconds: float | None) -> None:
    async with web_server(f=responding(status=429, headers={"Retry-After": value})) as url:
        answer = await call(f"{url}/f")
    assert answer.retry_after_s == seconds
    assert answer.error == f"{FAILS}429 Too Many Requests"


async def test_an_empty_body_is_none() -> None:
    async with web_server(f=responding(body=b"")) as url:
        answer = await call(f"{url}/f")
    assert (answer.body, answer.error, answer.http_status) == (None, None, 200)


@pytest.mark.parametrize(
    ("content_type", "raw", "text"),
    [
        ("application/json", "ä".encode(), "ä"),
        ("text/plain; charset=iso-8859-1", "ä".encode("latin-1"), "ä"),
        ('text/plain; charset="utf-16"', "ä".encode("utf-16"), "ä"),
        ("text/plain; charset=nonsense", "ä".encode(), "ä"),
        ("application/json", b"\xef\xbb\xbf{}", "{}"),
        ("application/json", "{}".encode("utf-16"), "{}"),
        ("text/plain; charset=punycode", b"a-b9c", "a-b9c"),
    ],
)
async def test_the_text_is_decoded_as_declared(content_type: str, raw: bytes, text: str) -> None:
    handler = responding(body=raw, headers={"Content-Type": content_type})
    async with web_server(f=handler) as url:
        answer = await call(f"{url}/f")
    assert answer.body == text.encode()


async def test_a_compressed_answer_is_unpacked_within_the_cap() -> None:
    small = responding(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    bomb = gzip.compress(b"0" * 50_000_000)
    large = responding(body=bomb, headers={"Content-Encoding": "gzip"})
    async with web_server(small=small, large=large) as url:
        cap = {"max_response_bytes": 100_000, "call_timeout_s": 5.0}
        assert (await call(f"{url}/small", cap)).body == b"{}"
        answer = await call(f"{url}/large", cap)
    assert answer.error == f"{FAILS}the answer is larger than 100000 bytes"


async def test_an_answer_over_the_cap_is_not_read() -> None:
    async with web_server(f=responding(body=b"x" * 1001)) as url:
        answer = await call(f"{url}/f", {"max_response_bytes": 1000})
        assert answer.error == f"{FAILS}the answer is larger than 1000 bytes"
        assert (await call(f"{url}/f", {"max_response_bytes": 1001})).error is None


async def test_head_has_no_body_whatever_its_length_says() -> None:
    async with web_server(f=responding(body=b"x" * 5000)) as url:
        answer = await call(f"{url}/f", {"max_response_bytes": 10}, request_type="HEAD")
    assert (answer.body, answer.error) == (None, None)


async def test_a_large_body_is_sent_whole() -> None:
    async def size(request: web.Request) -> web.Response:
        total = 0
        async for chunk in request.content.iter_any():
            total += len(chunk)
        return web.json_response({"length": request.content_length, "read": total})

    text = "x" * 2_000_000
    async with web_server(size=size) as url:
        answer = await call(f"{url}/size", {"call_timeout_s": 5.0}, input=encode_json({"t": text}))
    length = len(encode_json({"execution_id": "b:f_c_1", "t": text}))
    assert decode_json(answer.body or b"") == {"length": length, "read": length}


# --- accepted for later -------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "headers", "poll"),
    [
        ("f", b"", {"Location": "/status/1"}, "{url}/status/1"),
        ("f", b'{"statusQueryGetUri":"http://az/1"}', {}, "http://az/1"),
        ("f", b'{"activationId":"a1"}', {}, None),
        ("f", b"{}", {}, None),
        ("f", b"", {"Location": "http://[bad"}, None),
    ],
)
async def test_an_accepted_call_notes_where_to_ask(
    path: str, body: bytes, headers: dict[str, str], poll: str | None
) -> None:
    async with web_server(f=responding(status=202, body=body, headers=headers)) as url:
        answer = await call(f"{url}/{path}")
    assert answer.error is None
    assert answer.http_status == 202
    assert answer.poll_url == (poll and poll.format(url=url))


async def test_an_openwhisk_activation_is_asked_for_beside_its_action() -> None:
    async def action(_: web.Request) -> web.Response:
        return web.json_response({"activationId": "a1"}, status=202)

    app_path = "ns/actions/hello"
    async with web_server(**{app_path: action}) as url:
        answer = await call(f"{url}/{app_path}?blocking=false")
    assert answer.poll_url == f"{url}/ns/activations/a1"


# --- redirects ----------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_post_that_is_moved_goes_on_as_get_without_a_body(status: int) -> None:
    async with web_server(f=moved(status), echo=echo) as url:
        answer = await call(f"{url}/f", input=b'{"a":1}')
    assert answer.body == encode_json({"method": "GET", "body": "", "type": None, "secret": None})


@pytest.mark.parametrize("status", [307, 308])
async def test_a_temporary_redirect_repeats_the_request(status: int) -> None:
    async with web_server(f=moved(status), echo=echo) as url:
        answer = await call(f"{url}/f", input=b'{"a":1}')
    assert answer.body is not None
    assert b'"method":"POST"' in answer.body
    assert b'\\"a\\":1' in answer.body


async def test_credentials_do_not_follow_to_another_origin() -> None:
    inputs = encode_json({"header": {"Authorization": "Bearer 1"}})
    async with (
        web_server(echo=echo) as other,
        web_server(here=moved(307), away=moved(307, f"{other}/echo"), echo=echo) as url,
    ):
        assert b"Bearer 1" in ((await call(f"{url}/here", input=inputs)).body or b"")
        assert b"Bearer 1" not in ((await call(f"{url}/away", input=inputs)).body or b"Bearer 1")


HELD_BACK = ("X-Callback-Url", "X-Flow-Server", "Idempotency-Key", "X-Api-Key", "X-Signature")


@pytest.mark.parametrize("status", [302, 303, 307, 308])
async def test_keys_signatures_and_the_callback_address_do_not_follow_to_another_origin(
    status: int,
) -> None:
    inputs = encode_json({"header": {"X-Api-Key": "k", "X-Signature": "s", "Cookie": "c"}})
    seen: list[set[str]] = []

    async def look(request: web.Request) -> web.Response:
        seen.append(set(request.headers))
        return web.Response(text="{}")

    async with (
        web_server(look=look) as other,
        web_server(
            here=moved(status, "/look"), away=moved(status, f"{other}/look"), look=look
        ) as url,
    ):
        await call(f"{url}/here", input=inputs)
        await call(f"{url}/away", input=inputs)
    here, away = seen
    assert {*HELD_BACK, "Cookie"} <= here
    assert not {*HELD_BACK, "Cookie"} & away
    assert "X-Call-Id" in away


@pytest.mark.parametrize(
    ("there", "follows"),
    [
        ("https://gw/x", True),
        ("https://gw:443/x", True),
        ("https://gw:8443/x", False),
        ("http://gw:81/x", False),
        ("https://gw.evil/x", False),
        ("http://gw@evil/x", False),
    ],
)
def test_the_change_to_https_is_no_other_origin(there: str, *, follows: bool) -> None:
    sent = build_request(attempt("http://gw/f"), HttpSettings(), now_ms=0)
    following = redirected(sent, Reply(307, "", {"location": there}, b""))
    assert following is not None
    assert ("X-Callback-Url" in dict(following.headers)) is follows


CERTIFIED: Final = {
    "gw.example": TlsFiles(certificate="/c.pem", key="/k.pem"),
    "gw443.example:443": TlsFiles(certificate="/c.pem"),
    "pinned.example": TlsFiles(ca="/ca.pem"),
}


@pytest.mark.parametrize(
    ("there", "is_refused"),
    [
        ("https://gw.example/admin", True),
        ("https://gw.example./admin", True),
        ("https://GW.example:8443/admin", True),
        ("http://gw.example/admin", True),
        ("http://gw.example:81/admin", True),
        ("http://gw443.example/admin", True),
        ("https://gw443.example:444/admin", False),
        ("https://pinned.example/x", False),
        ("https://other.example/x", False),
        ("/x", False),
    ],
)
def test_no_function_has_a_certificate_of_this_server_shown(
    there: str, *, is_refused: bool
) -> None:
    settings = HttpSettings(tls_by_host=CERTIFIED)
    sent = build_request(attempt("https://fn.example/f"), settings, now_ms=0)
    reply = Reply(307, "", {"location": there}, b"")
    asked = replace(
        attempt(urljoin("https://fn.example/f", there)),
        pattern="poll",
        called=("https://fn.example/f", None),
    )
    if is_refused:
        with pytest.raises(GatewayError, match="gateway_tls has a certificate"):
            redirected(sent, reply, settings.tls_by_host)
        with pytest.raises(GatewayError, match="gateway_tls has a certificate"):
            build_request(asked, settings, now_ms=0)
    else:
        assert redirected(sent, reply, settings.tls_by_host) is not None
        assert build_request(asked, settings, now_ms=0).url


def test_a_definition_calls_a_host_with_the_certificate_that_is_for_it() -> None:
    settings = HttpSettings(tls_by_host=CERTIFIED)
    sent = build_request(attempt("https://gw.example/f"), settings, now_ms=0)
    following = redirected(sent, Reply(307, "", {"location": "/g"}, b""), settings.tls_by_host)
    assert following is not None
    for host in ("gw.example", "gw.example."):
        assert name_of(CERTIFIED, origin_of(f"https://{host}")) == "gw.example"


def test_user_info_stays_with_its_origin_and_out_of_the_url() -> None:
    sent = build_request(attempt("http://u:p@gw/f"), HttpSettings(), now_ms=0)
    assert "u:p" not in sent.url
    assert sent.address.startswith("http://u:p@gw/f?")
    for there, user_info in [("/g", "u:p"), ("http://v:q@gw/g", "v:q"), ("http://other/g", "")]:
        following = redirected(sent, Reply(307, "", {"location": there}, b""))
        assert following is not None
        assert following.user_info == user_info


async def test_redirects_in_a_circle_end() -> None:
    async with web_server(f=moved(302, "/f")) as url:
        answer = await call(f"{url}/f")
    assert answer.error == f"{FAILS}more than 5 redirects"


@pytest.mark.parametrize(
    "location", ["ftp://h/x", "http://h/a b", "file:///etc/passwd", "http://[x"]
)
async def test_a_redirect_out_of_http_fails_the_attempt(location: str) -> None:
    async with web_server(f=moved(302, location)) as url:
        answer = await call(f"{url}/f")
    assert answer.error == f"{FAILS}a redirect to an address that is not HTTP"


async def test_a_redirect_without_a_location_is_an_answer() -> None:
    async with web_server(f=responding(status=302, text="{}")) as url:
        answer = await call(f"{url}/f")
    assert (answer.body, answer.error) == (b"{}", None)
