"""The address and the port on which Serve listens, read inside a replica."""

from collections.abc import Iterator
from typing import Final

from ray.serve import context
from ray.serve._private.client import ServeControllerClient
from ray.serve.config import HTTPOptions

from rillflow.private_apis.assumption import Assumption, missing


def address_of_serve() -> tuple[str, int]:
    """Return the address and the port that the HTTP proxies of this cluster listen on."""
    options = context._get_global_client().http_config  # noqa: SLF001 - see RELIES_ON
    return str(options.host), int(options.port)


def _differences() -> Iterator[str]:
    yield from missing(context, "_get_global_client")
    yield from missing(ServeControllerClient, "http_config")
    yield from missing(HTTPOptions(), "host", "port")


RELIES_ON: Final = (
    Assumption(
        library="ray[serve]",
        relies_on="ray.serve.context._get_global_client().http_config has host and port",
        seen_with="2.60.0",
        if_it_changes="loud: no replica starts",
        differences=_differences,
    ),
)
