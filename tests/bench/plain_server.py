"""A server that answers every request with the same JSON: uvicorn, and nothing behind it.

python plain_server.py    (the first line printed tells its address)
"""

from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
import uvloop

ANSWER = {"type": "http.response.body", "body": b'{"ok":true}'}
HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"11")],
}


async def answer(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Read the request and answer it."""
    while scope["type"] == "http" and (await receive()).get("more_body"):
        continue
    await send(HEAD)
    await send(ANSWER)


async def main() -> None:
    """Serve until killed."""
    config = uvicorn.Config(answer, port=0, lifespan="off", log_level="error", access_log=False)
    socket = config.bind_socket()
    print(f"ready 127.0.0.1:{socket.getsockname()[1]}", flush=True)
    await uvicorn.Server(config).serve([socket])


if __name__ == "__main__":
    uvloop.run(main())
