"""Whether callbacks can come: does anybody answer at the address that functions are given?"""

import asyncio
import time
from typing import Final

import aiohttp

CALLBACKS: Final = "/flow/trigger.json"
NOT_YET: Final = frozenset({404, 502, 503, 504})
"""What a front answers while the API behind it is still starting, or starting again."""
PAUSE_S: Final = 0.1
ANSWER_S: Final = 2.0


async def until_callbacks_come(base_url: str, *, patience_s: float) -> bool:
    """Wait until the callback route below an address answers; False when it does not in time.

    It is asked without parameters, which it refuses: any word of its own will do.
    """
    give_up = time.monotonic() + patience_s
    limit = aiohttp.ClientTimeout(total=ANSWER_S)
    async with aiohttp.ClientSession(timeout=limit) as session:
        while time.monotonic() < give_up:
            if await _answers(session, base_url + CALLBACKS):
                return True
            await asyncio.sleep(PAUSE_S)
    return False


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, allow_redirects=False) as response:
            return response.status not in NOT_YET
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False
