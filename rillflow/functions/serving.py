"""Serves an application in a process of its own.

Used by `cli/commands/functions.py`.
"""

import ipaddress
import logging
import os
import sys
from typing import Final

from rillflow.function_calls.loading import load_named
from rillflow.functions.application import Functions
from rillflow.functions.call_logs import keep_call_logs
from rillflow.functions.requests import Receive, Scope, Send
from rillflow.listening import listening_sockets
from rillflow.private_apis.uvicorn_server.server import run
from rillflow.runtime.process.log_lines import LineFormatter

APPLICATION: Final = "app"
_STOP_S: Final = 5
_FOREIGN: Final = b'{"result_type":"FAILED","error_msg":"the Host is no address of this machine"}'


def load_application(text: str) -> Functions:
    """Load an application from ``module[:NAME]`` or ``path/file.py[:NAME]``.

    Raises:
        ImportError: There is no such module.
        OSError: There is no such file.
        AttributeError: The module has nothing of this name.
        TypeError: What has that name is no application.
    """
    application = load_named(text, APPLICATION)
    if not isinstance(application, Functions):
        raise TypeError(
            f"{text.partition(':')[2] or APPLICATION} is no rillflow.functions.Functions"
        )
    return application


def serve(application: Functions, *, host: str, port: int, quiet: bool = False) -> None:
    """Serve an application until SIGINT or SIGTERM, and then end the calls under way.

    The first line on standard output names the address, once it answers.

    Raises:
        StackError: It cannot listen there.
    """
    sockets = listening_sockets(host, port)
    _log(quiet=quiet)

    def listening(where: str, number: int) -> None:
        shown = f"[{where}]" if ":" in where else where
        sys.stdout.write(f"functions at http://{shown}:{number}: {', '.join(application.names)}\n")
        sys.stdout.flush()

    try:
        run(
            _LoopbackOnly(application) if _is_loopback(host) else application,
            sockets=sockets,
            most_calls=application.limits.concurrency + application.limits.queue,
            drain_s=_STOP_S + round(application.limits.drain_s),
            listening=listening,
        )
    finally:
        if application.calls_given_up:
            # Functions in threads cannot be ended, and Python would wait for them.
            sys.stderr.flush()
            os._exit(1)


class _LoopbackOnly:
    """Refuses requests for names of elsewhere, which a page could have resolve to this machine."""

    def __init__(self, application: Functions) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_of_this_machine(scope):
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _FOREIGN})
        else:
            await self._application(scope, receive, send)


def _is_of_this_machine(scope: Scope) -> bool:
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in {"", "localhost"} or _is_address(name.strip("[]"))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _log(*, quiet: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    keep_call_logs()  # what the application added when it was made is gone by that
    logging.getLogger("rillflow.functions").setLevel(logging.WARNING if quiet else logging.INFO)
