"""The address on which Serve listens, read inside a replica."""

from collections.abc import Iterator
from typing import Final

from ray.serve import context
from ray.serve._private.client import ServeControllerClient
from ray.serve.config import HTTPOptions

from rillflow.private_apis.assumption import Assumption, missing


def host_of_serve() -> str:
    """Return the address that the HTTP proxies of this cluster listen on."""
    return str(context._get_global_client().http_config.host)  # noqa: SLF001 - see RELIES_ON


def _differences() -> Iterator[str]:
    yield from missing(context, "_get_global_client")
    yield from missing(ServeControllerClient, "http_config")
    yield from missing(HTTPOptions(), "host")


RELIES_ON: Final = (
    Assumption(
        library="ray[serve]",
        relies_on="ray.serve.context._get_global_client().http_config.host",
        seen_with="2.60.0",
        if_it_changes="loud: no replica starts",
        differences=_differences,
    ),
)
