"""A patch of uvicorn: a connection that its peer resets is released at once.

uvicorn cancels the keep-alive timer of a connection that is closed, but not of one that is reset,
and holds 20 kB for it until the timer is due (seen in 0.54). HAProxy resets every connection that
it does not need any more: after a burst, hundreds a second.

Used by `serve/deployment.py`.
"""

from collections.abc import Iterator
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rillflow.private_apis.assumption import (
    Assumption,
    missing,
    not_in_source,
    other_parameters,
)

_connection_lost: Final = HttpToolsProtocol.connection_lost
_ONLY_IF_CLOSED: Final = """
        if exc is None:
            self.transport.close()
            self._unset_keepalive_if_required()
"""


def let_go_of_reset_connections() -> None:
    """Patch the servers of this process; doing it again changes nothing."""
    HttpToolsProtocol.connection_lost = _lost_for_good  # type: ignore[method-assign] # the mending


def _lost_for_good(self: HttpToolsProtocol, exc: Exception | None) -> None:
    _connection_lost(self, exc)
    self._unset_keepalive_if_required()


def _differences() -> Iterator[str]:
    yield from missing(HttpToolsProtocol, "_unset_keepalive_if_required")
    yield from other_parameters(_connection_lost, "exc")
    yield from not_in_source(_connection_lost, _ONLY_IF_CLOSED)


RELIES_ON: Final = (
    Assumption(
        library="uvicorn",
        relies_on="HttpToolsProtocol.connection_lost leaves the keep-alive timer, and"
        " _unset_keepalive_if_required cancels it",
        seen_with="0.54",
        if_it_changes="loud where the method is gone: a connection that is reset logs an error;"
        " silent otherwise: 20 kB for each reset connection stay until its timer is due, or, where"
        " uvicorn always cancels it, this module is no longer needed",
        differences=_differences,
    ),
)
