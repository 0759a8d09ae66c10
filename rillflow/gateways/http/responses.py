"""Interpreting an HTTP response as the answer of an attempt (spec 4.4, 9.2).

Used by `gateways/http/gateway.py` and `gateways/registry.py`.
"""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from rillflow.errors import GatewayError
from rillflow.gateways.http.foreign_origins import (
    foreign_headers,
    is_same_origin,
    redirected_headers,
    refuse_certificate,
)
from rillflow.gateways.outbound.charsets import in_utf8
from rillflow.gateways.outbound.exchange import FAILS, HttpCall, Reply
from rillflow.gateways.outbound.hints import retry_after_s
from rillflow.gateways.outbound.settings import TlsFiles
from rillflow.gateways.outbound.targets import parse_http_url
from rillflow.jsontypes import (
    NEVER_TOO_MUCH_BYTES,
    JsonObject,
    decode_untrusted_json,
    why_too_much,
)
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.url_parts import join_url

LONGEST_ERROR: Final = 1_024
"""Limit of the characters of an error that are kept with an attempt."""
_SHOWN_BYTES: Final = 1 << 20
"""Secrets are masked in this much of the text of an error, before it is cut."""
_JSON_STARTS: Final = (b"{", b"[")
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BODY_HEADERS: Final = frozenset({"content-type", "content-encoding"})


def answered(request: DispatchRequest, reply: Reply, *, url: str, now_ms: int) -> DispatchAnswer:
    """Turn a response into the attempt's answer.

    A status of 400 or more is a failure that keeps its body if that is a JSON object; every other
    status is the answer, whatever its body.

    Args:
        request: The attempt.
        reply: The last response, after redirects.
        url: Its address, for relative poll addresses.
        now_ms: Milliseconds since the epoch, for ``Retry-After`` dates.
    """
    body = _text(reply) or None
    error = None
    if reply.status >= 400:
        error = f"{FAILS}{_status_text(reply, body)}"
        body = body if _json_object(body) is not None else None
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=body,
        error=error,
        http_status=reply.status,
        retry_after_s=retry_after_s(reply.headers.get("retry-after"), now_ms=now_ms),
        poll_url=poll_url(reply, url) if reply.status == 202 else None,
    )


def bounded(answer: DispatchAnswer) -> DispatchAnswer:
    """Fail an attempt whose answer is JSON with too many values to handle in time.

    Text that is not JSON has no values, however many commas it contains.
    """
    body = answer.body
    if body is None or len(body) <= NEVER_TOO_MUCH_BYTES:
        return answer
    reason = why_too_much(body)
    if reason is None or body.lstrip()[:1] not in _JSON_STARTS:
        return answer
    return replace(answer, body=None, error=answer.error or f"{FAILS}of the answer, {reason}")


def cut(answer: DispatchAnswer) -> DispatchAnswer:
    """Shorten the error of an answer; secrets are masked before.

    If a secret were cut before it is masked, its beginning would remain.
    """
    if answer.error is None or len(answer.error) <= LONGEST_ERROR:
        return answer
    return replace(answer, error=answer.error[:LONGEST_ERROR])


def redirected(
    call: HttpCall, reply: Reply, tls_by_host: Mapping[str, TlsFiles] | None = None
) -> HttpCall | None:
    """Return the request that a redirect asks for, None if there is none to follow.

    A POST answered 301, 302 or 303 continues as GET without a body; 307 and 308 repeat the request.
    Another origin gets only harmless headers: no credentials, keys, signatures or callback address,
    and no certificate of ``tls_by_host``.
    A call that contains secrets is not redirected to another origin. The change of a host from
    ``http`` to ``https`` is not another origin. A header says that the request was redirected.

    Raises:
        GatewayError: The redirect leaves HTTP, or would send secrets, or show a certificate, to
            another origin.
    """
    location = reply.headers.get("location")
    if reply.status not in REDIRECTS or not location:
        return None
    try:
        target = parse_http_url(join_url(call.url, location.strip()))
    except (GatewayError, ValueError) as error:
        raise GatewayError(f"{FAILS}a redirect to an address that is not HTTP") from error
    is_same = is_same_origin(target, call.origin)
    if call.is_secret and not is_same:
        raise GatewayError(f"{FAILS}a redirect that would take secrets to {target.origin}")
    headers, user_info = call.headers, target.user_info
    if is_same:
        user_info = user_info or call.user_info
    else:
        refuse_certificate(target, tls_by_host or {})
        headers = foreign_headers(headers)
    method, body = call.method, call.body
    if _becomes_get(method, reply.status):
        method, body = "GET", None
        headers = tuple(pair for pair in headers if pair[0].lower() not in _BODY_HEADERS)
    query = f"?{target.query}" if target.query else ""
    url = f"{target.origin}{target.path}{query}"
    return HttpCall(method, url, redirected_headers(headers), body, call.is_secret, user_info)


def poll_url(reply: Reply, url: str) -> str | None:
    """Return the address at which an accepted call can be polled, None if there is none.

    ``Location`` (HTTP), ``statusQueryGetUri`` (Azure Durable Functions) or ``activationId``
    (OpenWhisk, beside the action that was called).
    """
    said = _json_object(reply.body) or {}
    location = reply.headers.get("location") or said.get("statusQueryGetUri")
    activation = said.get("activationId")
    if not location and isinstance(activation, str) and "/actions/" in url:
        location = f"{url.partition('/actions/')[0]}/activations/{activation}"
    if not isinstance(location, str) or not location:
        return None
    try:
        return join_url(url, location)
    except ValueError:
        return None


def _text(reply: Reply) -> bytes:
    """Return the body as UTF-8 text, as declared by its charset, without a byte order mark."""
    return in_utf8(reply.body, reply.headers.get("content-type", ""))


def _status_text(reply: Reply, body: bytes | None) -> str:
    shown = (body or b"")[:_SHOWN_BYTES].decode(errors="replace").strip()
    line = f"{reply.status} {reply.reason}".strip()
    return f"{line}: {shown}" if shown else line


def _json_object(body: bytes | None) -> JsonObject | None:
    if not body:
        return None
    try:
        value = decode_untrusted_json(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _becomes_get(method: str, status: int) -> bool:
    if method in ("GET", "HEAD"):
        return False
    return status == 303 or (status in (301, 302) and method == "POST")
