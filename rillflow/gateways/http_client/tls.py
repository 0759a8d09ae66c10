"""TLS of outbound connections: which authorities are trusted, and which certificate is shown.

Used by `gateways/http_client` and `cli/doctor`.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path

from rillflow.gateways.http_client.request_head import Origin
from rillflow.gateways.outbound.settings import TlsFiles


class TlsContexts:
    """The contexts of hosts, each made when it is first needed."""

    def __init__(self, by_host: Mapping[str, TlsFiles]) -> None:
        """Use files for these hosts, by ``host`` or ``host:port``, and the system's for others."""
        self._by_host = by_host
        self._made: dict[str, ssl.SSLContext] = {}

    def of(self, place: Origin) -> ssl.SSLContext:
        """Return the context for an origin.

        Raises:
            OSError: A file cannot be read, or holds nothing of the kind.
        """
        name = name_of(self._by_host, place)
        context = self._made.get(name)
        if context is None:
            context = self._made[name] = context_of(self._by_host.get(name, TlsFiles()))
        return context


def name_of(by_host: Mapping[str, TlsFiles], place: Origin) -> str:
    """Return the name by which files are set for an origin, empty if there are none for it."""
    host = place.host.rstrip(".")  # a dot at the end names the same host
    return next((each for each in (f"{host}:{place.port}", host) if each in by_host), "")


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that trusts the CA of the files, if they name one, and nobody else.

    Raises:
        OSError: A file cannot be read, or holds nothing of the kind.
    """
    context = ssl.create_default_context(cafile=files.ca)
    if files.ca is not None:
        # A certificate that is named is trusted itself, whoever has issued it.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(("http/1.1",))
    if files.certificate is not None:
        load_pair(context, Path(files.certificate), None if files.key is None else Path(files.key))
    return context


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Load a certificate with its key, which may be in the same file.

    Raises:
        OSError: They cannot be read, are no pair, or the key needs a password.
    """

    def no_password() -> str:
        raise OSError("the key needs a password: keep it without one, for its owner only")

    context.load_cert_chain(certificate, key, password=no_password)
