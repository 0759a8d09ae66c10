"""Commands that are run in this process, and a server that answers them as a test says."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from typer.testing import CliRunner

from rillflow.cli import app
from tests.loopback import web_server


def run(*arguments: str, said: str = "") -> tuple[int, str, str]:
    """Run a command in this process; return exit code, output and errors."""
    result = CliRunner().invoke(app, arguments, input=said)
    return result.exit_code, result.stdout, result.stderr


@contextmanager
def stand_in(**answers: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server in a thread that answers each path as told, and the requests it got."""
    requests: list[dict[str, Any]] = []

    def handler(answer: Any) -> Any:
        async def answered(request: web.Request) -> web.Response:
            requests.append({"query": dict(request.query), "body": await request.text()})
            status, value = answer if isinstance(answer, tuple) else (200, answer)
            return web.json_response(value, status=status)

        return answered

    with asyncio.Runner() as runner:
        serving = web_server(**{path.replace("__", "/"): handler(a) for path, a in answers.items()})
        url = runner.run(serving.__aenter__())
        loop = runner.get_loop()
        with _turning(loop):
            yield url, requests
        runner.run(serving.__aexit__(None, None, None))


@contextmanager
def _turning(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def path(name: str) -> str:
    return f"flow__{name}.json"
