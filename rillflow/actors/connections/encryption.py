"""TLS between nodes, by the certificates of Ray, where Ray encrypts its calls.

What encrypts a connection takes some 280 KB from its first moment on, and until it is encrypted
anybody may have opened it. So connections are accepted, and counted, before that.

Used by `actors/connections/network.py`.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol, cast

from rillflow.task_set import TaskSet

log = logging.getLogger("rillflow.peers")

MOST_NOT_ACCEPTED: Final = 1_024
"""How many connections the system holds until they are accepted."""
PAUSE_S: Final = 1.0
"""Before the next is accepted after one could not be."""


class Encryption(NamedTuple):
    """With what connections are encrypted, and how long that may take."""

    context: ssl.SSLContext
    patience_s: float


class Accepted(Protocol):
    """A connection that counts from when it was accepted."""

    has_begun: bool
    """Whether it has begun, so that its transport closes it."""

    def accepted(self, close: Callable[[], object]) -> None:
        """Count it; ``close`` closes it until it has begun."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class EncryptedListener:
    """Accepts connections one at a time, and encrypts them."""

    def __init__(
        self, listener: socket.socket, accept: Callable[[], Accepted], encryption: Encryption
    ) -> None:
        """Accept what comes to a socket that listens; each goes on as ``accept`` says."""
        self._listener = listener
        self._accept = accept
        self._encryption = encryption
        self._tasks: TaskSet[None] = TaskSet()
        self._tasks.start(self._accept_all())

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Accept no new connections."""
        self._tasks.cancel()
        self._listener.close()

    async def _accept_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._listener.fileno() >= 0:
            try:
                line, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                if self._listener.fileno() >= 0:  # no descriptor is left, for example
                    log.warning("not_accepted", extra={"reason": str(error)})
                    await asyncio.sleep(PAUSE_S)
                continue
            self._begin(line)
            await asyncio.sleep(0)  # Others have their turn, however many come.

    def _begin(self, line: socket.socket) -> None:
        connection = self._accept()
        task = self._tasks.start(self._encrypt(line, connection))
        task.add_done_callback(lambda _: None if connection.has_begun else line.close())
        connection.accepted(task.cancel)

    async def _encrypt(self, line: socket.socket, connection: Accepted) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: cast("asyncio.Protocol", connection),
                line,
                ssl=self._encryption.context,
                ssl_handshake_timeout=self._encryption.patience_s,
            )
        except OSError:
            connection.abort()


async def listening_socket(host: str) -> socket.socket:
    """Return a socket that listens at an address, on a port that the system chooses.

    Raises:
        OSError: Nothing can listen there.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    family, _, _, _, at = found[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.settimeout(0)
        listener.bind(at)
        listener.listen(MOST_NOT_ACCEPTED)
    except BaseException:
        listener.close()
        raise
    return listener


def is_tls_of_ray(environment: Mapping[str, str]) -> bool:
    """Tell whether Ray encrypts its calls."""
    return environment.get("RAY_USE_TLS", "").lower() in {"1", "true"}


def tls_of_ray(environment: Mapping[str, str], purpose: ssl.Purpose) -> ssl.SSLContext | None:
    """Return what a connection is encrypted with: Ray's certificates, where Ray encrypts.

    Both ends show the certificate, which the authority of the cluster has signed; it need not have
    the address of the node, as for Ray.

    Raises:
        OSError: A file cannot be read.
    """
    if not is_tls_of_ray(environment):
        return None
    context = ssl.create_default_context(purpose, cafile=environment.get("RAY_TLS_CA_CERT"))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    certificate = environment.get("RAY_TLS_SERVER_CERT", "")
    context.load_cert_chain(certificate, environment.get("RAY_TLS_SERVER_KEY"))
    return context
