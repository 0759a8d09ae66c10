"""A probe of the callback address that functions are given.

An execution actor calls it at its start, and repeats calls whose callbacks may be lost only when
callbacks can arrive.

Used by `actors/execution_actor.py`.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from rillflow.errors import GatewayError
from rillflow.gateways.http_client.transport import HttpTransport, PooledTransport
from rillflow.gateways.outbound.exchange import HttpCall
from rillflow.gateways.outbound.settings import HttpSettings, TlsFiles
from rillflow.gateways.outbound.targets import parse_http_url

CALLBACKS: Final = "/flow/trigger.json"
NOT_YET: Final = frozenset({404, 502, 503, 504})
"""Statuses of a proxy whose API is still starting."""
PAUSE_S: Final = 0.1
ANSWER_S: Final = 2.0
MOST_BYTES: Final = 65_536


async def until_callbacks_come(
    base_url: str,
    tls: Mapping[str, TlsFiles],
    *,
    patience_s: float,
    pause_s: float = PAUSE_S,
) -> bool:
    """Wait until the callback route below an address answers; False if it does not in time.

    It is asked again after each pause.

    The request has no parameters, so the route refuses it; any refusal of its own is an answer.
    """
    give_up = time.monotonic() + patience_s
    transport = PooledTransport(HttpSettings(connect_timeout_s=ANSWER_S, tls_by_host=tls))
    try:
        while time.monotonic() < give_up:
            if await _answers(transport, base_url + CALLBACKS):
                return True
            await asyncio.sleep(pause_s)
    finally:
        await transport.close()
    return False


async def _answers(transport: HttpTransport, url: str) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await _status(transport, url) not in NOT_YET
    except (GatewayError, TimeoutError):
        return False


async def _status(transport: HttpTransport, url: str) -> int:
    """Return the status of the answer; GatewayError if there is none."""
    target = parse_http_url(url)
    call = HttpCall("GET", f"{target.origin}{target.path}", ())
    return (await transport.exchange(call, most_bytes=MOST_BYTES)).status
