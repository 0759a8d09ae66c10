"""The environment variables of Ray and Serve in a stack.

They must be set before Ray is imported.

Used by `serve/stack/standalone.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rillflow.private_apis.haproxy.start import write_haproxy
from rillflow.settings import Settings

PREFERENCES: Final[Mapping[str, str]] = {
    # HAProxy instead of Serve's own proxy, which handles a tenth of the requests.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Headers slightly above the limit reach the API, which answers 431.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "32768",
    # HAProxy's log would contain each request line, with the seals of callbacks, and go to UDP 514.
    "RAY_SERVE_HAPROXY_LOG_TARGET": "/dev/null",
    # Accepted requests are on disk, so nothing has to be drained.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    # Three checks in a row must fail before a dead HAProxy is replaced: 3 s instead of 30.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # A proxy that hangs while it starts HAProxy is replaced after 20 s instead of 35.
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "5",
    # A busy machine takes longer than 5 s to start HAProxy, after which Serve gave up.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
    # Hot requests bypass the work that Serve does for every request.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": (
        "rillflow.private_apis.ray_serve.shortcut:middlewares"
    ),
    # Earlier logs of each process of Ray's own, of up to 512 MiB. The output of workers is not
    # rotated, see log_bounds.py.
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The exporter of Ray's agent listens without a token, for any Host.
    "RAY_enable_metrics_collection": "0",
    # Otherwise one idle worker for every processor waits for tasks that never come.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # Ray's workers get a low priority (nice 15). Beside two busy processes a start took 120 s
    # instead of 23, and under load tasks took half as much processor time again.
    "RAY_worker_niceness": "0",
    # Ray's GCS keeps some 40 kB of each actor that has ended, as that of each dedicated execution:
    # of 100,000 where nothing is set.
    "RAY_maximum_gcs_destroyed_actor_cached_count": "1000",
}
"""Variables that are set unless the user has set them."""

INGRESS_PORTS: Final = 100


def own_places(run_dir: Path, fallback: int, ingress: int, haproxy: Path) -> Mapping[str, str]:
    """Return the variables that let a stack share its machine with others.

    HAProxy's files and the ports, which are the same everywhere by default, become the stack's own.

    Args:
        run_dir: Folder for sockets; its path must be short.
        fallback: A free port.
        ingress: The first of ``INGRESS_PORTS`` free ports.
        haproxy: The program to start as HAProxy, see ``front_program``.
    """
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(run_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(run_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(run_dir / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(run_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(run_dir / "server-state"),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ingress),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ingress + INGRESS_PORTS - 1),
    }


def front_program(run_dir: Path, binary: str, settings: Settings) -> Path:
    """Write the program that Serve starts as HAProxy, with the limits of the settings."""
    limits = (
        settings.connections_per_address,
        settings.body_start_timeout_s,
        settings.body_timeout_s,
        settings.body_min_bytes_per_s,
    )
    certificate = None if settings.tls_cert is None else _linked(run_dir, settings)
    return write_haproxy(
        run_dir, binary, host=settings.host, limits=limits, certificate=certificate
    )


def _linked(run_dir: Path, settings: Settings) -> Path:
    """Link certificate and key where HAProxy finds both; it reads them anew when it reloads."""
    certificate = run_dir / "front.pem"
    certificate.symlink_to(str(settings.tls_cert))
    if settings.tls_key is not None:
        certificate.with_name("front.pem.key").symlink_to(settings.tls_key)
    return certificate
