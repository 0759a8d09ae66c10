"""The environment in which Ray and Serve run as Rillflow wants them.

It must be set before Ray is imported.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rillflow.private_apis.haproxy import write_haproxy
from rillflow.settings import Settings

PREFERENCES: Final[Mapping[str, str]] = {
    # HAProxy instead of Serve's own proxy, which manages a tenth of the requests.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Headers that are a little too large reach the API, which says so with 431.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "32768",
    # Its log would have each request line in it, with the seals of callbacks, and go to UDP 514.
    "RAY_SERVE_HAPROXY_LOG_TARGET": "/dev/null",
    # Requests that are accepted are on disk, so nothing has to be drained.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    # Three checks in a row must fail before a dead HAProxy is replaced: 3 s instead of 30.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # One that hangs while it starts HAProxy is replaced after 20 s instead of 35.
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "5",
    # A busy machine takes longer than 5 s to start HAProxy, which was given up then.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
    # Hot requests go around what Serve does for every request.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "rillflow.private_apis.serve_shortcut:middlewares",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The exporter of Ray's agent listens without asking for the token, whatever the Host.
    "RAY_enable_metrics_collection": "0",
    # Otherwise an idle worker for every processor waits for tasks that do not come.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # Ray's workers give way to every other process (nice 15). Beside two busy ones a start took
    # 120 s instead of 23, and under load tasks took half as much processor time again.
    "RAY_worker_niceness": "0",
}
"""Variables that are set where the user has not set them."""

INGRESS_PORTS: Final = 100
PORTS_WANTED: Final = 4
"""How many free ports ``own_places`` needs."""


def own_places(run_dir: Path, ports: list[int], haproxy: Path) -> Mapping[str, str]:
    """Return the variables that let a stack share its machine with others.

    HAProxy's files and the ports, which are the same everywhere by default, become the
    stack's own.

    Args:
        run_dir: Folder for sockets; its path must be short.
        ports: Free ports, ``PORTS_WANTED`` of them.
        haproxy: What to start as HAProxy, see ``front_program``.
    """
    statistics, prometheus, fallback, ingress = ports
    ingress = min(ingress, 65_535 - INGRESS_PORTS)
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(run_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(run_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(run_dir / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(run_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(run_dir / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(prometheus),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ingress),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ingress + INGRESS_PORTS),
    }


def front_program(run_dir: Path, binary: str, settings: Settings) -> Path:
    """Write the program that Serve starts as HAProxy, with the limits of the settings."""
    limits = (
        settings.connections_per_address,
        settings.body_start_timeout_s,
        settings.body_timeout_s,
        settings.body_min_bytes_per_s,
    )
    return write_haproxy(run_dir, binary, host=settings.host, limits=limits)
