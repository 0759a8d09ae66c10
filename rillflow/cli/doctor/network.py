"""Findings about addresses: the server, callbacks, and the hosts of gateways.

Only what the settings name is asked. Of answers little is read, and none is waited for long.

Used by `cli/doctor/examination.py`.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx

from rillflow.cli.doctor.finding import Finding, error, fine, one_line, one_line_of, warning
from rillflow.definition.addresses import without_user_info
from rillflow.errors import GatewayError
from rillflow.gateways.http_client.request_head import origin_of
from rillflow.gateways.http_client.tls import TlsContexts
from rillflow.gateways.outbound.settings import TlsFiles
from rillflow.jsontypes import JsonObject, decode_untrusted_json
from rillflow.local_keys import EVERYWHERE
from rillflow.runtime.process.clock import SystemClock
from rillflow.settings import Settings
from rillflow.tls_settings import with_own

SERVER: Final = "server"
CALLBACKS: Final = "callbacks"
HOSTS: Final = "gateway hosts"
CLOCK: Final = "clock"

PATIENCE_S: Final = 5.0
MOST_ANSWER_BYTES: Final = 256 * 1024
MOST_HOSTS: Final = 100
MOST_REASONS: Final = 20
AT_ONCE: Final = 16
CLOCK_TOLERANCE_S: Final = 5.0
STARTING: Final = (502, 503, 504)
"""What a proxy answers for a server that it does not reach yet."""


class Answer(NamedTuple):
    """What a server has answered; ``status`` is 0 and ``problem`` says why where it has not.

    ``ahead_s`` is by how many seconds its clock is ahead of this machine's; None if it is not told.
    """

    status: int
    body: Any = None
    problem: str = ""
    ahead_s: float | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is how Rillflow tells that it lives."""
        return self.status != 0 and isinstance(self.body, dict) and "status" in self.body


def ask(url: str, tls: Mapping[str, TlsFiles]) -> Answer:
    """Get an address, of which little is read; a server that listens everywhere is asked here.

    Args:
        url: The address.
        tls: The files for HTTPS with single hosts.
    """
    return asyncio.run(_ask(url, tls))


async def _ask(url: str, tls: Mapping[str, TlsFiles]) -> Answer:
    try:
        trust = _trust(url, tls)
        async with (
            asyncio.timeout(PATIENCE_S),
            httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, verify=trust) as client,
            client.stream("GET", _here(url)) as response,
        ):
            content = b""
            async for part in response.aiter_raw():
                content += part
                if len(content) > MOST_ANSWER_BYTES:
                    break
            return Answer(response.status_code, _json(content), ahead_s=_ahead_s(response))
    except TimeoutError:
        return Answer(0, problem=f"its answer has not come whole within {PATIENCE_S:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, GatewayError, OSError, ValueError) as problem:
        return Answer(0, problem=_reason(problem))


def _reason(problem: BaseException) -> str:
    """Return what the system has said; "all connection attempts failed" does not tell why."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            # asyncio says "Connect call failed"; of names and of TLS the text says more.
            is_of_system = cause.errno > 0 and not isinstance(cause, ssl.SSLError)
            return one_line_of(os.strerror(cause.errno) if is_of_system else cause.strerror)
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        else:
            cause = cause.__cause__ or cause.__context__
    return one_line(problem)


def server(url: str, ready: Answer) -> Iterator[Finding]:
    """Yield what a server says of itself at ``/readyz``."""
    shown = without_user_info(url)
    body = ready.body if isinstance(ready.body, dict) else {}
    reasons = _objects(body.get("reasons"))
    for each in reasons:
        why = one_line_of(each.get("message", each.get("code", "no reason")))
        told = f"{shown} takes no requests: {why}"
        yield error(SERVER, told, "look into its log: rillflow up prints where; see also /readyz")
    if not ready.status:
        told = f"{shown} does not answer: {ready.problem}"
        remedy = (
            "rillflow up starts a server here; `serve status` tells of one on a Ray cluster;"
            " --url or RILLFLOW_URL names another address"
        )
        yield error(SERVER, told, remedy)
    elif ready.status not in STARTING and not isinstance(body.get("ready"), bool):
        told = f"{shown} answers {ready.status}, as another program than Rillflow would"
        yield error(SERVER, told, "correct --url or RILLFLOW_URL")
    elif not reasons and not body.get("ready"):
        told = f"{shown} answers {ready.status}, and is not ready"
        yield error(SERVER, told, "wait for its start to end, or look into its log")
    for each in _objects(body.get("warnings")):
        told = one_line_of(each.get("message", ""))
        yield warning(SERVER, f"{shown}: {told}", "rillflow cluster status tells more")
    if not reasons and body.get("ready"):
        yield fine(SERVER, f"{shown} is ready")


def _objects(value: object) -> list[JsonObject]:
    """Return the first objects of a list that another program has answered."""
    found = value if isinstance(value, list) else []
    return [each for each in found[:MOST_REASONS] if isinstance(each, dict)]


def clock(name: str, ahead_s: float | None) -> Iterator[Finding]:
    """Yield whether the clock of another machine is that of this one."""
    if ahead_s is None:
        return
    told = f"the clock of {name} is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    if abs(ahead_s) > CLOCK_TOLERANCE_S:
        follows = "timers and triggers fire at other times, and signed addresses expire wrongly"
        yield warning(CLOCK, f"{told}: {follows}", "synchronize both clocks, for example by chrony")
    else:
        yield fine(CLOCK, f"the same as that of {name}, within {CLOCK_TOLERANCE_S:.0f} s")


def callbacks(settings: Settings, *, is_running: bool) -> Iterator[Finding]:
    """Yield whether functions can call back."""
    url = settings.callback_base_url
    shown = without_user_info(url)
    remedy = "set RILLFLOW_SERVER_HOST to an address at which functions reach this server"
    host = urlsplit(url).hostname or ""
    if host in EVERYWHERE:
        told = f"functions are told to call {shown}, which is no address of a machine"
        yield error(CALLBACKS, told, remedy)
        return
    if not is_running:
        problem = _lookup_problem(host)
        if problem:
            told = f"functions are told to call {shown}, and {host} is not found ({problem})"
            yield error(CALLBACKS, told, remedy)
        else:
            yield fine(CALLBACKS, f"functions are told to call {shown}; no server runs to ask")
        return
    answer = ask(f"{url}/healthz", with_own(settings))
    if answer.is_ours:
        yield fine(CALLBACKS, f"{shown} answers")
    else:
        why = answer.problem or f"it answers {answer.status}, as another program would"
        told = f"{shown} does not answer ({why}): results of asynchronous functions do not arrive"
        yield error(CALLBACKS, told, remedy)


def gateway_hosts(settings: Settings) -> Iterator[Finding]:
    """Yield whether the hosts of calls that the settings name can be found, and be reached."""
    named = named_hosts(settings)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(_reach, named[:MOST_HOSTS]))
    for place, problem in zip(named, found, strict=False):
        if problem:
            told = f"{place} cannot be reached: {problem}"
            remedy = "correct the name in the settings, or start the gateway; calls to it fail"
            yield warning(HOSTS, told, remedy)
    reached = [place for place, problem in zip(named, found, strict=False) if not problem]
    if reached:
        yield fine(HOSTS, f"found: {', '.join(reached)}")
    elif not named:
        yield fine(HOSTS, "the settings name none")


def named_hosts(settings: Settings) -> list[str]:
    """Return the hosts that settings name, with their ports where they have some, by name."""
    by_rules = {
        *settings.rates_by_host,
        *settings.egress_allow,
        *(host for hosts in settings.secret_hosts.values() for host in hosts),
    }
    # Without a dot or port, it may be a protocol; *.suffix and CIDRs are many hosts.
    return sorted(
        each
        for each in by_rules
        if ("." in each or ":" in each) and not each.startswith("*") and "/" not in each
    )


def _reach(place: str) -> str:
    """Return why a host, or its port if there is one, cannot be reached; empty if it can."""
    parts = urlsplit(f"//{place}")
    host = parts.hostname or place
    if parts.port is None:
        return _lookup_problem(host)
    try:
        socket.create_connection((host, parts.port), timeout=PATIENCE_S).close()
    except OSError as problem:
        return problem.strerror or one_line(problem)
    return ""


def _lookup_problem(host: str) -> str:
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as problem:
        return getattr(problem, "strerror", None) or one_line(problem)
    return ""


def _trust(url: str, tls: Mapping[str, TlsFiles]) -> ssl.SSLContext | bool:
    """Return what vouches for a server, as for calls of functions."""
    return TlsContexts(tls).of(origin_of(url)) if url.startswith("https:") else False


def _here(url: str) -> str:
    parts = urlsplit(url)
    host = EVERYWHERE.get(parts.hostname or "")
    if host is None:
        return url
    authority = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{authority}{port}").geturl()


def _json(content: bytes) -> Any:
    try:
        return decode_untrusted_json(content)
    except ValueError:
        return None


def _ahead_s(response: httpx.Response) -> float | None:
    try:
        told_s = parsedate_to_datetime(response.headers["Date"]).timestamp()
        return told_s - SystemClock().now_ms() / 1000
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
