"""Compares the HTTP options of a deployment file with those of the Serve that runs.

Serve reads them when it starts, and only warns in its log that a later file has others.

Used by `serve/stack/cluster_check.py`.
"""

from collections.abc import Iterator
from typing import Final

import ray
from ray.serve.config import ProxyLocation
from ray.serve.exceptions import RayServeException
from ray.serve.schema import HTTPOptionsSchema, ServeDeploySchema

from rillflow.private_apis.ray_serve.listening import Listening, listening_of_serve
from rillflow.runtime.process.environment_findings import Finding

_ANEW: Final = (
    "only when it starts anew: end it with `rillflow cluster stop` (or `serve shutdown`, if other"
    " applications keep it), and deploy then"
)
_MAY_DIFFER: Final = ("keep_alive_timeout_s", "request_timeout_s")
"""Serve may replace these by variables of its own. So they are told, and not refused."""


def unchangeable(schema: ServeDeploySchema) -> list[Finding]:
    """Return what a file asks for that the Serve of this cluster does not do until it is ended."""
    if schema.proxy_location == ProxyLocation.Disabled:
        return []
    try:
        running = listening_of_serve()
    except (ray.exceptions.RayError, RayServeException):
        return []
    wanted = schema.http_options
    address = (running.options.host, running.options.port)
    return [*listening_elsewhere(address, wanted), *other_options(running, schema)]


def listening_elsewhere(listens: tuple[str, int], wanted: HTTPOptionsSchema) -> Iterator[Finding]:
    """Yield that Serve listens on another address than wanted."""
    if listens != (wanted.host, wanted.port):
        is_at, to_be = (":".join(map(str, each)) for each in (listens, (wanted.host, wanted.port)))
        sentence = (
            f"http_options: Serve runs and listens on {is_at}, and starts to listen on {to_be}"
            f" {_ANEW}"
        )
        yield Finding(sentence, is_error=True)


def other_options(running: Listening, schema: ServeDeploySchema) -> Iterator[Finding]:
    """Yield the other options that differ; values are not told, as one may be a password."""
    wanted = schema.http_options
    names = [name for name in type(wanted).model_fields if name not in ("host", "port")]
    differ = [name for name in names if getattr(wanted, name) != getattr(running.options, name)]
    fixed = [f"http_options.{name}" for name in differ if name not in _MAY_DIFFER]
    if running.proxy_location not in ("", schema.proxy_location.value):
        fixed.append("proxy_location")
    timeouts = [f"http_options.{name}" for name in differ if name in _MAY_DIFFER]
    for found, is_error in ((fixed, True), (timeouts, False)):
        if found:
            sentence = (
                f"{', '.join(found)}: Serve runs with another value than the file has, and takes"
                f" that {_ANEW}"
            )
            yield Finding(sentence, is_error)
