"""A mended uvicorn: a connection that its peer resets is let go of at once.

uvicorn cancels the keep-alive timer of a connection that is closed, but not of one that is
reset, and holds 20 kB for it until the timer is due (seen in 0.54). HAProxy resets every
connection that it has no more use for: after a burst, hundreds a second.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_connection_lost: Final = HttpToolsProtocol.connection_lost


def let_go_of_reset_connections() -> None:
    """Mend the servers of this process; doing it again changes nothing."""
    HttpToolsProtocol.connection_lost = _lost_for_good  # type: ignore[method-assign] # the mending


def _lost_for_good(self: HttpToolsProtocol, exc: Exception | None) -> None:
    _connection_lost(self, exc)
    self._unset_keepalive_if_required()
