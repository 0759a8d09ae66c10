"""The executions of a stack as they end, from its stream of changes.

Used by `cli/output`.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from rillflow.client.http_transport.transport import client_options
from rillflow.exchange_limits.connections import with_limits
from rillflow.exchange_limits.limit import ExchangeLimit
from rillflow.ids import is_execution_id

_STREAM: Final = "/flow/console/v1/executions.stream"
SILENCE_S: Final = 30.0
"""The server writes a comment after 15 s without an event."""
MOST_LINE_BYTES: Final = 16 << 20
_PAUSE_S: Final = 1.0
_ENDED: Final = ("succeeded", "failed")


def ended_executions(
    url: str,
    api_key: str | None,
    stopped: threading.Event,
    certificate: Path | None = None,
    silence_s: float = SILENCE_S,
) -> Iterator[str]:
    """Yield the ids of executions that have ended, until told to stop.

    One may come again, for instance after a redo. Those that end while the stream is cut off,
    and those with an actor of their own, are not told.
    """
    timeout = httpx.Timeout(silence_s, connect=_PAUSE_S)
    headers = {"Accept": "text/event-stream"}
    while not stopped.is_set():
        try:
            with (
                with_limits(httpx.Client(**client_options(url, api_key, certificate))) as http,
                ExchangeLimit(silence_s) as limit,
                http.stream("GET", _STREAM, headers=headers, timeout=timeout) as response,
            ):
                limit.note_answer()
                response.raise_for_status()
                for line in _lines(response, limit):
                    if stopped.is_set():
                        return
                    yield from _ended_in(line)
        except (httpx.HTTPError, httpx.InvalidURL):
            pass  # the stack starts or ends, and is asked again
        stopped.wait(_PAUSE_S)


def _lines(response: httpx.Response, limit: ExchangeLimit) -> Iterator[str]:
    """Yield lines; each has its own time, and a size.

    Raises:
        httpx.HTTPError: One has not come whole in time, or is too large.
    """
    begun = bytearray()
    for part in response.iter_raw():
        begun += part
        whole: list[bytearray] = []
        if b"\n" in part:  # else all that has come of a long line would be copied for each part
            *whole, begun = begun.split(b"\n")
        if len(begun) > MOST_LINE_BYTES:
            raise httpx.ReadError("a line of the stream is too large")
        if whole:
            limit.begin_again()
        for line in whole:
            yield line.decode(errors="replace")


def _ended_in(line: str) -> Iterator[str]:
    """Yield what a line of the stream says to have ended; other lines say nothing of it."""
    if not line.startswith("data:"):
        return
    try:
        said: Any = json.loads(line[5:])
    except ValueError:
        return
    listed = said.get("executions") if isinstance(said, dict) else None
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("status") in _ENDED:
            execution_id = each.get("execution_id")
            if isinstance(execution_id, str) and is_execution_id(execution_id):
                yield execution_id
