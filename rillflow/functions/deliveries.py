"""Posts outcomes and progress to callback addresses (spec 4.5, 5.2).

Used by `functions/calls.py`.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from rillflow.backoff import Backoff
from rillflow.exchange_limits.connections import with_limits
from rillflow.exchange_limits.limit import ExchangeLimit
from rillflow.functions.call_logs import CallLog
from rillflow.functions.callback_rules import expiry_s
from rillflow.functions.running import Outcome
from rillflow.jsontypes import encode_json
from rillflow.progress_reports import Send
from rillflow.task_set import TaskSet

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 30.0
LOG_PAUSE_S: Final = 2.0
"""What a function logs is posted so long after the first new line, with what came meanwhile."""
POST_S: Final = 30.0
"""How long one answer to a small outcome is waited for."""
_CONNECT_S: Final = 5.0
_LATER: Final = frozenset({408, 425, 429})
"""Statuses below 500 after which the same request may be taken."""
_TOO_LARGE: Final = 413
_LONGEST_NUMBER: Final = 6

logger = logging.getLogger("rillflow.functions")


class Address(NamedTuple):
    """Where an outcome goes, and what is said of the call."""

    url: str
    function: str
    call_id: str


class Deliveries:
    """Posts to callback addresses; redirects are not followed, and no proxy is used."""

    def __init__(self, patience_s: float, *, post_s: float = POST_S) -> None:
        self._patience_s = patience_s
        self._post_s = post_s
        self._http: httpx.AsyncClient | None = None
        self._reports = TaskSet[None]()

    async def deliver(self, where: Callable[[], Address], outcome: Outcome) -> bool:
        """Post an outcome until it is taken; tell whether it was.

        It is given up when the server refuses it for good, when the time of the address is over,
        or when patience ends.

        Args:
            where: Returns the address, which may change meanwhile.
            outcome: What is posted.
        """
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        began_s = time.monotonic()
        while True:
            address = where()
            give_up_s = min(began_s + self._patience_s, _end_s(address.url))
            status, asked_s = await self._post_outcome(address, outcome)
            if status is not None and status < 300:
                return True
            if status == _TOO_LARGE and outcome.succeeded:
                outcome = _too_large(outcome)
                continue
            is_final = status is not None and status < 500 and status not in _LATER
            # Not all at once, when a server has come back.
            pause_s = max(asked_s, backoff.next_s() * random.uniform(0.5, 1))  # noqa: S311
            if is_final or time.monotonic() + pause_s > give_up_s:
                logger.error(
                    "outcome_not_taken", extra={"function": address.function, "status": status}
                )
                return False
            await asyncio.sleep(pause_s)

    def reporter(self, url: str) -> tuple[Send, CallLog]:
        """Return what posts the progress of a call, and its log; both are used in any thread."""
        loop = asyncio.get_running_loop()
        reporter = _ReportSender(self, url)

        def send(fraction: float | None, message: str) -> None:
            loop.call_soon_threadsafe(reporter.take, fraction, message)

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended before a thread of the function
                loop.call_soon_threadsafe(reporter.note_log)

        reporter.log = CallLog(tell)
        return send, reporter.log

    async def post_progress(
        self, url: str, fraction: float | None, message: str, log: str = ""
    ) -> None:
        """Post a report once; if it is lost, the next one follows."""
        said = {"progress": "" if fraction is None else f"{fraction:.4f}", "message": message}
        headers = {"Content-Type": "text/plain; charset=utf-8"} if log else {}
        await self._post(_with(url, said), log.encode(errors="replace"), headers)

    def start(self, reporter: "_ReportSender") -> None:
        """Have a reporter post what it has, beside this task."""
        self._reports.start(reporter.post())

    async def close(self) -> None:
        """Close all connections."""
        await self._reports.stop()
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _post_outcome(self, address: Address, outcome: Outcome) -> tuple[int | None, float]:
        url = _with(address.url, {"status": "success" if outcome.succeeded else "failed"})
        headers = {
            "Content-Type": "application/json",
            "X-Function-Status": "200" if outcome.succeeded else "500",
            "X-Function-Name": address.function,
            "X-Duration-Seconds": f"{outcome.duration_s:.6f}",
        }
        if address.call_id:
            headers["X-Call-Id"] = address.call_id
        if outcome.log:
            headers["X-Function-Log"] = outcome.log
        return await self._post(url, outcome.body, headers)

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int | None, float]:
        """Post once; return the status, None without an answer, and the pause asked for."""
        if self._http is None:
            timeout = httpx.Timeout(self._post_s, connect=_CONNECT_S)
            made = httpx.AsyncClient(
                timeout=timeout,
                trust_env=False,
                verify=httpx.create_ssl_context(),  # no proxies, but SSL_CERT_FILE
                headers={"User-Agent": "rillflow-functions"},
            )
            self._http = with_limits(made)
        try:
            with ExchangeLimit(self._post_s, len(body)):
                async with self._http.stream("POST", url, content=body, headers=headers) as answer:
                    return answer.status_code, _pause_s(answer.headers.get("retry-after", ""))
        except (httpx.HTTPError, httpx.InvalidURL):
            return None, 0.0


class _ReportSender:
    """Posts the latest report of a call, and the end of its log, one at a time."""

    def __init__(self, deliveries: Deliveries, url: str) -> None:
        self._deliveries = deliveries
        self._url = url
        self._latest: tuple[float | None, str] | None = None
        self._is_posting = False
        self._is_noted = False
        self.log: CallLog | None = None

    def take(self, fraction: float | None, message: str) -> None:
        self._latest = fraction, message
        if not self._is_posting:
            self._is_posting = True
            self._deliveries.start(self)

    def note_log(self) -> None:
        """Post the log in a while."""
        if not self._is_noted:
            self._is_noted = True
            asyncio.get_running_loop().call_later(LOG_PAUSE_S, self._take_log)

    def _take_log(self) -> None:
        self._is_noted = False
        if self._latest is None:
            self.take(None, "")

    async def post(self) -> None:
        try:
            while self._latest is not None:
                (fraction, message), self._latest = self._latest, None
                log = self.log.news() if self.log is not None else ""
                if log or message or fraction is not None:
                    await self._deliveries.post_progress(self._url, fraction, message, log)
        finally:
            self._is_posting = False


def _with(url: str, fields: Mapping[str, str]) -> str:
    """Add parameters to an address, whose own are kept as they are."""
    parts = urlsplit(url)
    query = f"{parts.query}&{urlencode(fields)}" if parts.query else urlencode(fields)
    return urlunsplit(parts._replace(query=query, fragment=""))


def _end_s(url: str) -> float:
    """Return when the time of a sealed address is over, by the monotonic clock."""
    expires = expiry_s(dict(parse_qsl(urlsplit(url).query)))
    if expires is None:
        return math.inf
    return time.monotonic() + expires - time.time()  # noqa: TID251 - the kit has no clock port


def _pause_s(retry_after: str) -> float:
    text = retry_after.strip()
    is_number = text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER
    return min(float(text), LONGEST_PAUSE_S) if is_number else 0.0


def _too_large(outcome: Outcome) -> Outcome:
    message = f"the server does not take a result of {len(outcome.body)} bytes"
    error = {"type": "FunctionResultError", "message": message}
    body = encode_json({"result_type": "FAILED", "error_msg": message, "error": error})
    return Outcome(body, succeeded=False, duration_s=outcome.duration_s)
